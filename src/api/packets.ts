/**
 * Frames in words for API clients: so many a second, and the count of the others. Once a second's share is used up, the
 * cables are not watched until the next second begins. So a running list costs the packet path the same, however much
 * passes. With a filter every frame has to be checked.
 */
import type { FrameWatcher } from "../attach/tap.ts";
import { type FrameFilter, parseFrameFilter } from "../control/frame-filter.ts";
import type { Link } from "../core/link.ts";
import type { Network } from "../network.ts";
import { INBOUND } from "../wire/pcapng.ts";
import { printFrame } from "../wire/print.ts";

/** How many frames a second are shown: nobody reads more. */
const PER_SECOND = 100;
const MAX_PRINTED = 2048;

type Write = (event: string, data: object) => void;

export class PacketWatcher implements FrameWatcher {
  readonly #network: Network;
  readonly #filter: FrameFilter | null;
  readonly #write: Write;
  readonly #timer: NodeJS.Timeout;
  #left = PER_SECOND;
  #skipped = 0;
  #unwatch: (() => void) | null;
  /** How many frames had passed when this second's share was used up, give or take one. */
  #passed = 0;

  /** Watches from now on. `filter` comes from `packetFilter`. */
  constructor(network: Network, filter: FrameFilter | null, write: Write) {
    this.#network = network;
    this.#filter = filter;
    this.#write = write;
    this.#unwatch = network.watch(this);
    this.#timer = setInterval(() => this.#nextSecond(), 1000).unref();
  }

  end(): void {
    clearInterval(this.#timer);
    this.#unwatch?.();
  }

  frame(link: Link, direction: number, bytes: Uint8Array, at: number, len: number): void {
    if (this.#filter !== null && !this.#filter(bytes, at, len)) return;
    if (this.#left === 0) {
      this.#skipped++;
      return;
    }
    const printed = printFrame(bytes, at, Math.min(len, MAX_PRINTED));
    const seen = { time: Date.now(), cable: link.name, direction: direction === INBOUND ? "in" : "out", length: len };
    this.#write("packet", { ...seen, ...printed });
    if (--this.#left > 0 || this.#filter !== null) return;
    this.#unwatch?.();
    this.#unwatch = null;
    this.#passed = this.#frames();
  }

  #nextSecond(): void {
    if (this.#unwatch === null) {
      this.#skipped += this.#frames() - this.#passed;
      this.#unwatch = this.#network.watch(this);
    }
    if (this.#skipped > 0) this.#write("skipped", { count: this.#skipped });
    this.#skipped = 0;
    this.#left = PER_SECOND;
  }

  #frames(): number {
    const { framesIn, framesOut } = this.#network.stats();
    return framesIn + framesOut;
  }
}

/** Throws `ConfigError`. */
export function packetFilter(text: string | undefined): FrameFilter | null {
  return text === undefined ? null : parseFrameFilter("filter", text);
}
