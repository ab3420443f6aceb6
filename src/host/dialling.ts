/** Sockets whose connect has not been answered, in order of age. One timer serves all of them. */

/** A socket that is to connect. */
export interface Dialled {
  /** The connect has taken too long. */
  timedOut(): void;
}

export class Dialling {
  readonly #millis: number;
  readonly starved: (code: string) => void;
  readonly #since: Map<Dialled, number> = new Map();
  #timer: NodeJS.Timeout | null = null;

  /** `millis`: how long a connect may take. `starved` is called when one failed for want of descriptors. */
  constructor(millis: number, starved: (code: string) => void) {
    this.#millis = millis;
    this.starved = starved;
  }

  add(socket: Dialled): void {
    this.#since.set(socket, performance.now());
    this.#timer ??= setTimeout(() => this.#sweep(), this.#millis).unref();
  }

  remove(socket: Dialled): void {
    this.#since.delete(socket);
  }

  #sweep(): void {
    this.#timer = null;
    const now = performance.now();
    for (const [socket, since] of this.#since) {
      const left = since + this.#millis - now;
      if (left > 0) {
        // An unanswered connect may be a twentieth late: so one timer serves a burst of them.
        this.#timer = setTimeout(() => this.#sweep(), Math.max(left, this.#millis / 20)).unref();
        return;
      }
      socket.timedOut();
    }
  }
}
