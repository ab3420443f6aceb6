/**
 * Finds the packet of a capture to which a flow's event belongs. If the event is reported while its cause is handled
 * (a SYN, a RST), that packet is the last one captured. If the event is reported before the packet that it causes
 * (the SYN to a guest behind a forward), its comment waits for that packet for up to `WAIT_MILLIS`.
 */
import { endpointText } from "../core/address.ts";
import type { TraceEvent } from "../core/trace.ts";
import { get32 } from "../wire/bytes.ts";
import { ETH_IPV4, ETH_IPV6 } from "../wire/ethernet.ts";
import { type FrameFacts, frameFacts, readFacts } from "../wire/frame-facts.ts";
import { ipv4ToString } from "../wire/ipv4.ts";
import { ipv6ToString } from "../wire/ipv6.ts";

const WAIT_MILLIS = 1000;
const MAX_WAITING = 64;

interface Comment {
  readonly guest: string;
  readonly remote: string;
  readonly text: string;
  readonly until: number;
}

export class FlowComments {
  readonly #facts: FrameFacts = frameFacts();
  #waiting: Comment[] = [];

  /**
   * Returns the event's comment if the frame at `at`, the last one captured, belongs to its flow. Otherwise returns
   * null, and the comment waits. `len` is 0 when no frame has been captured.
   */
  ofEvent(event: TraceEvent, buf: Uint8Array, at: number, len: number, now: number): string | null {
    const comment = commentOf(event, now + WAIT_MILLIS);
    if (comment === null) return null;
    if (len > 0 && this.#isFlow(comment, this.#ends(buf, at, len))) return comment.text;
    if (this.#waiting.length === MAX_WAITING) this.#waiting.shift();
    this.#waiting.push(comment);
    return null;
  }

  /** Returns the comment that waited for the frame at `at`, which has just been captured; null if none did. */
  ofFrame(buf: Uint8Array, at: number, len: number, now: number): string | null {
    if (this.#waiting.length === 0) return null;
    this.#waiting = this.#waiting.filter((comment) => comment.until > now);
    const ends = this.#ends(buf, at, len);
    const found = this.#waiting.findIndex((comment) => this.#isFlow(comment, ends));
    return found < 0 ? null : this.#waiting.splice(found, 1)[0]!.text;
  }

  #isFlow(comment: Comment, ends: readonly [string, string] | null): boolean {
    if (ends === null) return false;
    const [src, dst] = ends;
    return (src === comment.guest && dst === comment.remote) || (src === comment.remote && dst === comment.guest);
  }

  /** Source and destination, written as events write them. */
  #ends(buf: Uint8Array, at: number, len: number): readonly [string, string] | null {
    const f = this.#facts;
    readFacts(f, buf, at, len);
    if (f.srcPort < 0) return null;
    const text = f.ethType === ETH_IPV4 ? (o: number) => ipv4ToString(get32(buf, o)) : null;
    const host = text ?? (f.ethType === ETH_IPV6 ? (o: number) => ipv6ToString(buf, o) : null);
    if (host === null) return null;
    return [endpointText({ host: host(f.src), port: f.srcPort }), endpointText({ host: host(f.dst), port: f.dstPort })];
  }
}

function commentOf(event: TraceEvent, until: number): Comment | null {
  if (event.type !== "flow-open" && event.type !== "flow-close") return null;
  const { guest, remote, proto } = event;
  const ends =
    event.type === "flow-open" && event.direction === "in" ? `${remote} -> ${guest}` : `${guest} -> ${remote}`;
  const what =
    event.type === "flow-open"
      ? "flow opened"
      : `flow closed (${event.reason}), ${event.bytesUp} bytes up, ${event.bytesDown} down`;
  return { guest, remote, text: `${proto} ${ends}: ${what}`, until };
}
