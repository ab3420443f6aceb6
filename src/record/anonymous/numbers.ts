/**
 * Shifts sequence numbers of the network. A connection's first number is a hash of its addresses (RFC 6528), so it
 * changes with the addresses. The numbers that a guest acknowledges (ACK, SACK, and the quote in an ICMP error) must
 * change by as much.
 */
import { get16, get32, put32 } from "../../wire/bytes.ts";
import { ETH_IPV4, ETH_IPV6 } from "../../wire/ethernet.ts";
import { type FrameFacts, frameFacts, readFacts } from "../../wire/frame-facts.ts";
import { ICMP_HEADER } from "../../wire/icmp.ts";
import { PROTO_ICMP, PROTO_TCP } from "../../wire/ipv4.ts";
import { IPV6_HEADER, PROTO_ICMP6 } from "../../wire/ipv6.ts";
import { ACK, SYN, TCP_HEADER, tcpFlags, tcpHeaderLength, tcpSeq } from "../../wire/tcp.ts";
import type { Entry } from "../format.ts";
import { isSealed, seal } from "../frames.ts";
import { hexOf } from "./substitutes.ts";

const ACK_FIELD = 8;
const SEQ_FIELD = 4;
const OPTION_SACK = 5;

const facts: FrameFacts = frameFacts();

export class Numbers {
  /** For each connection, by its ends with the guest's first: the number to add to recorded sequence numbers. */
  readonly #shifts: Map<string, number> = new Map();

  /** Learns the shifts from segments that begin connections, as they were recorded and as they are sent now. */
  learn(recorded: readonly Uint8Array[], now: readonly Entry[]): void {
    const was = recorded.filter(begins);
    for (const { name, values } of now) {
      const head = values[3];
      if (name !== "sent" || !(head instanceof Uint8Array) || !begins(head)) continue;
      readFacts(facts, head, 0, head.length);
      const { payload } = facts;
      const ports = get32(head, payload);
      const at = was.findIndex((each) => {
        readFacts(facts, each, 0, each.length);
        return get32(each, facts.payload) === ports;
      });
      if (at < 0) continue;
      const [before] = was.splice(at, 1);
      readFacts(facts, before!, 0, before!.length);
      const first = tcpSeq(before!, facts.payload);
      readFacts(facts, head, 0, head.length);
      this.#shifts.set(this.#key(head, facts.dst, facts.src, payload, true), (tcpSeq(head, payload) - first) | 0);
    }
  }

  /**
   * Shifts the numbers in a guest's frame, in place. `whole` says that no bytes were left out, so the frame's checksum
   * can be recomputed.
   */
  shift(frame: Uint8Array, whole: boolean): void {
    readFacts(facts, frame, 0, frame.length);
    const { proto, payload, src, dst } = facts;
    if (src < 0 || payload < 0) return;
    const right = whole && isSealed(frame, 0, frame.length);
    const moved =
      proto === PROTO_TCP
        ? this.#segment(frame, src, dst, payload)
        : (proto === PROTO_ICMP || proto === PROTO_ICMP6) && this.#quote(frame, payload + ICMP_HEADER);
    if (moved && right) seal(frame, 0, frame.length);
  }

  #segment(frame: Uint8Array, src: number, dst: number, at: number): boolean {
    if (facts.srcPort < 0 || at + TCP_HEADER > frame.length || (tcpFlags(frame, at) & ACK) === 0) return false;
    const shift = this.#shifts.get(this.#key(frame, src, dst, at, false));
    if (shift === undefined) return false;
    add(frame, at + ACK_FIELD, shift);
    const end = Math.min(frame.length, at + tcpHeaderLength(frame, at));
    for (let i = at + TCP_HEADER; i + 1 < end && frame[i] !== 0; ) {
      if (frame[i] === 1) {
        i++;
        continue;
      }
      const next = i + frame[i + 1]!;
      if (next > end || next < i + 2) break;
      if (frame[i] === OPTION_SACK) for (let k = i + 2; k + 4 <= next; k += 4) add(frame, k, shift);
      i = next;
    }
    return true;
  }

  /** Shifts the number in a segment of ours that an error quotes at `at`. */
  #quote(frame: Uint8Array, at: number): boolean {
    const four = facts.ethType === ETH_IPV4;
    const transport = at + (four ? ((frame[at] ?? 0) & 15) * 4 : IPV6_HEADER);
    if (transport + 8 > frame.length || frame[at + (four ? 9 : 6)] !== PROTO_TCP) return false;
    const [src, dst] = four ? [at + 12, at + 16] : [at + 8, at + 24];
    const shift = this.#shifts.get(this.#key(frame, dst, src, transport, true));
    if (shift === undefined) return false;
    add(frame, transport + SEQ_FIELD, shift);
    return true;
  }

  /**
   * The key of a connection. `ours` says that the ports at `at` are those of a segment of ours, the far end's first.
   */
  #key(buf: Uint8Array, guest: number, far: number, at: number, ours: boolean): string {
    const size = get16(buf, 12) === ETH_IPV6 ? 16 : 4;
    const ports = [get16(buf, at), get16(buf, at + 2)];
    if (ours) ports.reverse();
    return `${hexOf(buf.subarray(guest, guest + size))} ${hexOf(buf.subarray(far, far + size))} ${ports.join(" ")}`;
  }
}

/** Whether a frame of ours begins a connection. */
function begins(head: Uint8Array): boolean {
  readFacts(facts, head, 0, head.length);
  const { proto, payload, srcPort } = facts;
  return (
    proto === PROTO_TCP && srcPort >= 0 && payload + TCP_HEADER <= head.length && (tcpFlags(head, payload) & SYN) !== 0
  );
}

function add(buf: Uint8Array, at: number, shift: number): void {
  put32(buf, at, (get32(buf, at) + shift) | 0);
}
