/**
 * Tells of refusals, and tells of a DNS query once, however many forms it is asked in.
 *
 * A program that looks up a name asks for A, AAAA and perhaps HTTPS, of the server of each family, by UDP and TCP. So
 * a refused query waits for `WAIT_MS`. Further queries of the same guest (and process) for the same name, refused for
 * the same reason, only add their type to it. At most `MOST_WAITING` queries wait; any beyond are told at once, each
 * by itself.
 */
import { dnsTypeName } from "../control/dns-words.ts";
import type { TraceEvent } from "../core/trace.ts";
import type { Refusal } from "./network-events.ts";

const WAIT_MS = 250;
const MOST_WAITING = 256;
/** How many types one refusal names. A guest may ask for every type that exists. */
const MOST_TYPES = 16;

interface Waiting {
  readonly refusal: Refusal;
  readonly types: Set<string>;
}

export class Refusals {
  readonly #tell: (refusal: Refusal) => void;
  /** The oldest first. */
  readonly #waiting: Map<string, Waiting> = new Map();
  #timer: NodeJS.Timeout | null = null;

  constructor(tell: (refusal: Refusal) => void) {
    this.#tell = tell;
  }

  /** `guest` is the guest's name, whichever of its addresses has sent the query. */
  add({ type: _, qtype = 0, ...refusal }: Extract<TraceEvent, { type: "flow-refused" }>, guest: string): void {
    if (refusal.proto !== "dns") return this.#tell(refusal);
    const key = JSON.stringify([guest, refusal.host, refusal.reason, refusal.process]);
    const known = this.#waiting.get(key);
    if (known !== undefined) {
      if (known.types.size < MOST_TYPES) known.types.add(dnsTypeName(qtype));
      return;
    }
    const waiting = { refusal, types: new Set([dnsTypeName(qtype)]) };
    if (this.#waiting.size >= MOST_WAITING) return this.#told(waiting);
    this.#waiting.set(key, waiting);
    this.#timer ??= setTimeout(() => this.flush(), WAIT_MS).unref();
  }

  /** Tells of the queries that wait. */
  flush(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const all = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const each of all) this.#told(each);
  }

  #told({ refusal, types }: Waiting): void {
    this.#tell({ ...refusal, types: [...types] });
  }
}
