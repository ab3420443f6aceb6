/**
 * The places of an API's clients. A connection that has not shown the token yet is a stranger: it has `STRANGER_MILLIS`
 * to show it, and where all places are taken, the oldest stranger makes room for a new connection. So whoever holds
 * connections without knowing the token keeps nobody out. Known clients keep their places.
 */

/** Milliseconds in which a connection has to show the token. */
const STRANGER_MILLIS = 10_000;

/** A connection, as far as its place is concerned. */
export interface Seated {
  once(event: "close", listener: () => void): unknown;
  destroy(): unknown;
}

export class ClientPlaces<T extends Seated> {
  readonly #most: number;
  readonly #refused: () => void;
  #known = 0;
  /** Each with its time-out; the oldest first. */
  readonly #strangers: Map<T, NodeJS.Timeout> = new Map();

  /** There are `most` places. `refused` is called for each connection that is ended because they are all taken. */
  constructor(most: number, refused: () => void) {
    this.#most = most;
    this.#refused = refused;
  }

  /** A new connection. If all places have known clients, it is ended. */
  arrived(client: T): void {
    if (this.#known + this.#strangers.size >= this.#most) {
      this.#refused();
      const [oldest] = this.#strangers.keys();
      if (oldest === undefined) return void client.destroy();
      this.#leaves(oldest);
      oldest.destroy();
    }
    const timeout = setTimeout(() => {
      this.#strangers.delete(client);
      client.destroy();
    }, STRANGER_MILLIS);
    this.#strangers.set(client, timeout.unref());
    client.once("close", () => this.#leaves(client));
  }

  /** The connection may be used, because it has shown the token or needs none. */
  known(client: T): void {
    if (!this.#leaves(client)) return;
    this.#known++;
    client.once("close", () => this.#known--);
  }

  #leaves(stranger: T): boolean {
    clearTimeout(this.#strangers.get(stranger));
    return this.#strangers.delete(stranger);
  }
}
