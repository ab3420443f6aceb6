/**
 * QEMU as our child: it has our terminal, gets our signals, and we end when it does.
 *
 * A signal that ends us is passed on, and we wait for QEMU; keys typed at the terminal reach QEMU directly, too, which
 * does no harm. SIGHUP ends us unless it makes us read rules again; when a terminal hangs up, QEMU gets SIGHUP itself,
 * ends, and we end with it. A second signal kills QEMU. SIGKILL cannot be handled, so a small shell in a session of its
 * own waits for the end of a pipe from us: unless we wrote to the pipe before, the shell ends QEMU and removes the
 * folder.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:os";
import { whenLauncherEnds } from "../launcher.ts";
import { environmentFor } from "../other-bytes.ts";
import { startError } from "./version.ts";

const ENDING = ["SIGINT", "SIGTERM", "SIGQUIT"] as const;
const HANGUP = ["SIGHUP"] as const;
const OTHERS = ["SIGUSR1", "SIGUSR2"] as const;

/**
 * Windows has neither SIGQUIT nor SIGUSR1 and SIGUSR2, and Node refuses to listen for signals that a platform lacks.
 */
export function knownSignals<S extends NodeJS.Signals>(
  signals: readonly S[],
  platform: NodeJS.Platform = process.platform,
): readonly S[] {
  return platform === "win32" ? signals.filter((signal) => !/QUIT|USR/.test(signal)) : signals;
}

/** Waits for a line, or for the pipe's end. $1 is the folder; the line before the last is QEMU's process id. */
const WATCH = `
pid=
while read -r word; do
  [ "$word" != over ] || exit 0
  pid=$word
done
if [ -n "$pid" ] && kill -TERM "$pid"; then
  for second in 1 2 3; do
    kill -0 "$pid" || break
    sleep 1
  done
  kill -KILL "$pid"
fi
rm -rf "$1"
`;

/** Handles signals from the first moment on, and the child once it runs. */
export class Custody implements Disposable {
  readonly #ended: AbortController = new AbortController();
  readonly #watch: ChildProcess;
  readonly #handlers: readonly [NodeJS.Signals, () => void][];
  readonly #forget: () => void;
  #child: ChildProcess | null = null;

  /** `folder` is removed if this process dies without `dispose`. With `rereads`, SIGHUP does not end QEMU. */
  constructor(folder: string, rereads: boolean) {
    this.#watch = spawn("/bin/sh", ["-c", WATCH, "sh", folder], {
      detached: true,
      stdio: ["pipe", "ignore", "ignore"],
    });
    // Without a shell, nobody cleans up after a SIGKILL of ours. Every other end is handled here.
    this.#watch.on("error", () => {});
    this.#watch.stdin?.on("error", () => {});
    this.#handlers = [
      ...knownSignals([...ENDING, ...(rereads ? [] : HANGUP)]).map(
        (signal) => [signal, () => this.#end(signal)] as const,
      ),
      ...knownSignals(OTHERS).map((signal) => [signal, () => void this.#child?.kill(signal)] as const),
    ].map(([signal, handler]) => [signal, handler]);
    for (const [signal, handler] of this.#handlers) process.on(signal, handler);
    this.#forget = whenLauncherEnds(() => this.#end("SIGTERM"));
  }

  /** Aborted by the first signal that is to end us. The reason is the exit status. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  /**
   * Runs QEMU with our terminal. Resolves with its exit status; if a signal ended QEMU, with 128 plus its number, as
   * in shells. Rejects with an `Error` of one line when QEMU cannot be started.
   */
  run(program: string, args: readonly string[]): Promise<number> {
    return new Promise((resolve, reject) => {
      const child = spawn(program, args, { stdio: "inherit", env: environmentFor("qemu") });
      this.#child = child;
      if (child.pid !== undefined) this.#watch.stdin?.write(`${child.pid}\n`);
      child.once("error", (error) => {
        if (child.pid === undefined) reject(startError(program, error));
      });
      child.once("exit", (code, signal) => {
        this.#child = null;
        resolve(code ?? 128 + constants.signals[signal!]);
      });
    });
  }

  [Symbol.dispose](): void {
    this.#forget();
    for (const [signal, handler] of this.#handlers) process.off(signal, handler);
    this.#watch.stdin?.end("over\n");
    this.#watch.unref();
  }

  #end(signal: NodeJS.Signals): void {
    this.#child?.kill(this.ended.aborted ? "SIGKILL" : signal);
    this.#ended.abort(128 + constants.signals[signal]);
  }
}
