/**
 * How much of its limits each guest has used. A rule's limits hold for each guest by itself, so a guest that exhausts
 * them takes nothing from another. A guest is whatever is on one cable, because it can use any MAC it likes.
 */
import type { Link } from "../../core/link.ts";

/** Caps and rates; null for none. Rates are per second; `up` and `down` are in bytes. */
export interface Limit {
  /** The text as its author wrote it. */
  readonly text: string;
  readonly up: number | null;
  readonly down: number | null;
  /** How many TCP connections and UDP flows may be open at once, and how many may begin each second. */
  readonly conns: number | null;
  readonly opens: number | null;
  readonly queries: number | null;
}

/** How much of one limit one guest has used. */
export interface LimitState {
  /** The guest's cable. */
  readonly cable: string;
  /** The rule that sets the limits. */
  readonly rule: string;
  /** TCP connections and UDP flows that are open. */
  readonly conns: number;
  /** TCP connections, UDP flows and DNS queries refused by the limit since the cable was plugged in. */
  readonly refused: number;
  /** Datagrams dropped by the limit. TCP is slowed down instead. */
  readonly dropped: number;
}

/** A rate's bucket holds a tenth of a second's bytes, and at least two large segments. */
const BURST_S = 0.1;
const LEAST_BURST = 131_072;
/**
 * TCP stops at an empty bucket. Datagrams may take it this far below zero, or a busy connection would leave them
 * nothing.
 */
const DATAGRAM_CREDIT = 131_072;

export class Bucket {
  readonly burst: number;
  readonly #perMs: number;
  #level: number;
  #at: number;

  constructor(perSecond: number, burst: number, now: number) {
    this.#perMs = perSecond / 1000;
    this.burst = burst;
    this.#level = burst;
    this.#at = now;
  }

  /** Bytes that may be taken; below zero after more have been taken. */
  level(now: number): number {
    this.#level = Math.min(this.burst, this.#level + (now - this.#at) * this.#perMs);
    this.#at = now;
    return this.#level;
  }

  take(amount: number): void {
    this.#level -= amount;
  }
}

export class Meter {
  readonly limit: Limit;
  readonly up: Bucket | null;
  readonly down: Bucket | null;
  conns = 0;
  refused = 0;
  dropped = 0;
  readonly #opens: Bucket | null;
  readonly #queries: Bucket | null;

  constructor(limit: Limit, now: number) {
    this.limit = limit;
    const bytes = (rate: number | null): Bucket | null =>
      rate === null ? null : new Bucket(rate, Math.max(LEAST_BURST, rate * BURST_S), now);
    const events = (rate: number | null): Bucket | null => (rate === null ? null : new Bucket(rate, rate, now));
    this.up = bytes(limit.up);
    this.down = bytes(limit.down);
    this.#opens = events(limit.opens);
    this.#queries = events(limit.queries);
  }

  /** Why another TCP connection or UDP flow is too many; null when it is not. */
  full(now: number): string | null {
    const { conns, opens } = this.limit;
    if (conns !== null && this.conns >= conns) return `${conns} at once`;
    return this.#opens !== null && this.#opens.level(now) < 1 ? `${opens} a second` : null;
  }

  /** A TCP connection or UDP flow has begun. */
  enter(): void {
    this.conns++;
    this.#opens?.take(1);
  }

  leave(): void {
    this.conns--;
  }

  /** Why another query is too many; null when it is not, and then the query counts. */
  query(now: number): string | null {
    if (this.#queries === null) return null;
    if (this.#queries.level(now) < 1) return `${this.limit.queries} queries a second`;
    this.#queries.take(1);
    return null;
  }
}

export const NO_METERS: readonly Meter[] = [];

/** Whether a datagram may pass; if so, it counts. */
export function datagramPasses(meters: readonly Meter[], way: "up" | "down", len: number, now: number): boolean {
  for (const meter of meters) {
    const bucket = meter[way];
    if (bucket === null || bucket.level(now) > -DATAGRAM_CREDIT) continue;
    meter.dropped++;
    return false;
  }
  for (const meter of meters) meter[way]?.take(len);
  return true;
}

export function leaveAll(meters: readonly Meter[]): void {
  for (const meter of meters) meter.leave();
}

/** The meters of all guests, made at first use: at most one for each cable and rule. */
export class Meters {
  readonly #byLink: Map<Link, Map<string, Meter>> = new Map();
  /**
   * Meters of cables that are gone, by place: the next cable at that place takes one. Never more than were in use at
   * once.
   */
  readonly #left: Map<string, Map<string, Meter>[]> = new Map();

  of(link: Link, limit: Limit, now: number): Meter {
    let mine = this.#byLink.get(link);
    // A guest that ends its own cable and comes again keeps its counts.
    if (mine === undefined) this.#byLink.set(link, (mine = this.#left.get(placeOf(link))?.shift() ?? new Map()));
    let meter = mine.get(limit.text);
    if (meter === undefined) mine.set(limit.text, (meter = new Meter(limit, now)));
    return meter;
  }

  /** A cable is gone. */
  detached(link: Link): void {
    const mine = this.#byLink.get(link);
    if (mine === undefined) return;
    this.#byLink.delete(link);
    const left = this.#left.get(placeOf(link));
    if (left === undefined) this.#left.set(placeOf(link), [mine]);
    else left.push(mine);
  }

  /**
   * The rules have changed: forgets meters whose limits no rule has any more. Existing flows keep the meters they began
   * under.
   */
  keep(texts: ReadonlySet<string>): void {
    for (const mine of [...this.#byLink.values(), ...[...this.#left.values()].flat()])
      for (const text of [...mine.keys()]) if (!texts.has(text)) mine.delete(text);
  }

  list(): LimitState[] {
    const states: LimitState[] = [];
    for (const [link, mine] of this.#byLink)
      for (const [rule, { conns, refused, dropped }] of mine)
        states.push({ cable: link.name, rule, conns, refused, dropped });
    return states;
  }
}

/** The place where a cable came in: its name without its number. */
function placeOf({ name }: Link): string {
  return name.replace(/#\d+$/, "");
}
