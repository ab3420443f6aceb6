/**
 * Signals of the first moments. Until a command is loaded and listens, the system's default would end the process, on
 * SIGHUP, too, which asks a running command to read its rules again. So signals are held from the first line on, and
 * given to the first listener. A second SIGINT or SIGTERM ends the process at once. A command that does not listen
 * releases them: then they have the system's effect again.
 *
 * SIGUSR1 has no effect. Without a listener Node would open its debugger at 127.0.0.1:9229, which guests reach by the
 * gateway's address: somebody who sends SIGUSR1 in the belief that we reopen a log would let guests run code in this
 * process.
 */
import { constants } from "node:os";

const KEPT = ["SIGHUP", "SIGINT", "SIGTERM"] as const;
type Kept = (typeof KEPT)[number];

/** For each signal that is held, whether it has come. Released signals are not in the map. */
const came: Map<Kept, boolean> = new Map();

/** From now on signals wait for a listener. */
export function holdSignals(): void {
  process.on("SIGUSR1", nothing);
  for (const signal of KEPT) {
    came.set(signal, false);
    process.on(signal, keep);
  }
  process.on("newListener", handOver);
}

/** For a command that does not listen: signals that have come take effect now, and later ones at once. */
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
  // Runs once the listener is added. Until then `keep` listens, and no signal is delivered before this turn ends.
  process.nextTick(() => {
    process.off(signal, keep);
    if (did) process.emit(signal, signal);
    if (came.size === 0) process.off("newListener", handOver);
  });
}
