/** Frames in words for those who look on: so many a second, and the count of the others. */
import type { FrameWatcher } from "../attach/tap.ts";
import { type FrameFilter, parseFrameFilter } from "../control/frame-filter.ts";
import type { Link } from "../core/link.ts";
import { INBOUND } from "../wire/pcapng.ts";
import { printFrame } from "../wire/print.ts";

/** More nobody reads, and making words of each is what a packet path cannot afford. */
const PER_SECOND = 100;
const MAX_PRINTED = 2048;

type Write = (event: string, data: object) => void;

export class PacketWatcher implements FrameWatcher {
  readonly #filter: FrameFilter | null;
  #write: Write | null = null;
  #left = PER_SECOND;
  #skipped = 0;
  #timer: NodeJS.Timeout | null = null;

  /** Throws `ConfigError` about a filter. */
  constructor(filter: string | undefined) {
    this.#filter = filter === undefined ? null : parseFrameFilter("filter", filter);
  }

  begin(write: Write): void {
    this.#write = write;
    this.#timer = setInterval(() => this.#nextSecond(), 1000).unref();
  }

  end(): void {
    this.#write = null;
    if (this.#timer !== null) clearInterval(this.#timer);
  }

  frame(link: Link, direction: number, bytes: Uint8Array, at: number, len: number): void {
    if (this.#write === null || (this.#left === 0 && this.#filter === null)) {
      this.#skipped++;
      return;
    }
    if (this.#filter !== null && !this.#filter(bytes, at, len)) return;
    if (this.#left === 0) {
      this.#skipped++;
      return;
    }
    this.#left--;
    const printed = printFrame(bytes, at, Math.min(len, MAX_PRINTED));
    const seen = { time: Date.now(), cable: link.name, direction: direction === INBOUND ? "in" : "out", length: len };
    this.#write("packet", { ...seen, ...printed });
  }

  #nextSecond(): void {
    if (this.#skipped > 0) this.#write?.("skipped", { count: this.#skipped });
    this.#skipped = 0;
    this.#left = PER_SECOND;
  }
}
