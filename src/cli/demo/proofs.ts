/** The results of a demo's tests, a line each: the claim, the result, and how many milliseconds it took. */
export interface Proof {
  readonly what: string;
  readonly result: string;
  readonly ok: boolean;
  readonly millis: number;
}

export class Proofs {
  readonly lines: Proof[] = [];
  readonly #signal: AbortSignal;

  /** Tests that have not ended when `signal` is aborted have failed. */
  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  /**
   * Runs `test` and notes its result or error, with the time since `started`. Never rejects; resolves with false if
   * it failed.
   */
  async prove(what: string, test: () => Promise<string>, started: number = performance.now()): Promise<boolean> {
    const line = (result: string, ok: boolean): boolean => {
      this.lines.push({ what, result, ok, millis: performance.now() - started });
      return ok;
    };
    try {
      return line(await unlessAborted(this.#signal, test()), true);
    } catch (error) {
      return line((error as Error).message, false);
    }
  }

  get allOk(): boolean {
    return this.lines.length > 0 && this.lines.every((line) => line.ok);
  }

  table(): string {
    const width = (of: (line: Proof) => string): number => Math.max(...this.lines.map((line) => of(line).length));
    const what = width((line) => line.what);
    const result = width((line) => line.result);
    return this.lines
      .map(
        (p) => `  ${p.ok ? "ok    " : "FAILED"}  ${p.what.padEnd(what)}  ${p.result.padEnd(result)}  ${time(p.millis)}`,
      )
      .join("\n");
  }
}

/** Settles as `promise` does, or rejects with the signal's reason if that is aborted first. */
export function unlessAborted<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason as Error);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

function time(millis: number): string {
  return (millis < 1_000 ? `${millis.toFixed(millis < 10 ? 1 : 0)} ms` : `${(millis / 1_000).toFixed(1)} s`).padStart(
    8,
  );
}
