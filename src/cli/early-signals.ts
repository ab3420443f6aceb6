/**
 * Signals of the first moments. Until a command is loaded and listens, the system's own answer would end the process:
 * SIGHUP, too, which asks a running one to read its rules again. So they are kept from the first line on, and told to
 * whoever listens for them first. The second one of SIGINT and SIGTERM ends the process at once. A command that never listens
 * lets them go: they have the system's effect again.
 *
 * SIGUSR1 has none. Without a listener Node opens its debugger at 127.0.0.1:9229 then, which a guest reaches through the
 * gateway's address: whoever means another program's "open your log again" would let guests run what they like in here.
 */
import { constants } from "node:os";

const KEPT = ["SIGHUP", "SIGINT", "SIGTERM"] as const;
type Kept = (typeof KEPT)[number];

/** Whether each has come; those that are no longer kept are not there. */
const came: Map<Kept, boolean> = new Map();

/** What another process may send from now on waits for a listener. */
export function holdSignals(): void {
  process.on("SIGUSR1", nothing);
  for (const signal of KEPT) {
    came.set(signal, false);
    process.on(signal, keep);
  }
  process.on("newListener", handOver);
}

/** This command does not listen: what has come has its effect, and what comes will have. */
export function letSignalsGo(): void {
  process.off("newListener", handOver);
  for (const [signal, did] of came) {
    process.off(signal, keep);
    if (did) process.kill(process.pid, signal);
  }
  came.clear();
}

function nothing(): void {}

function keep(name: NodeJS.Signals): void {
  const signal = name as Kept;
  if (signal !== "SIGHUP" && (came.get("SIGINT") || came.get("SIGTERM"))) process.exit(128 + constants.signals[signal]);
  came.set(signal, true);
}

function handOver(name: string | symbol): void {
  const signal = name as Kept;
  const did = came.get(signal);
  if (did === undefined) return;
  came.delete(signal);
  // When the listener is there: there is one at every moment, and no signal is told before this turn ends.
  process.nextTick(() => {
    process.off(signal, keep);
    if (did) process.emit(signal, signal);
    if (came.size === 0) process.off("newListener", handOver);
  });
}
