/**
 * ICMP errors to guests, of both families (RFC 792, RFC 4443). Each quotes the packet that caused it, and there is a
 * limit on how many go out a second (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4 f).
 */
import type { IpAddress } from "../../core/address.ts";
import type { Clock } from "../../core/clock.ts";
import type { Trace } from "../../core/trace.ts";
import type { Neighbour } from "../../proto/neighbours.ts";
import { put32 } from "../../wire/bytes.ts";
import { ICMP_ECHO } from "../../wire/icmp.ts";
import { ICMP6_QUOTE_MAX, icmp6IsError } from "../../wire/icmp6.ts";
import { IPV4_DF, IPV4_HEADER, ipv4Dst, ipv4Write, PROTO_ICMP } from "../../wire/ipv4.ts";
import { IPV6_HEADER, ipv6Dst, ipv6IsMulticast, ipv6Write, PROTO_ICMP6 } from "../../wire/ipv6.ts";
import type { Egress } from "../egress.ts";
import type { Policy } from "../rules/policy.ts";
import type { IcmpCause } from "./icmp-cause.ts";

const PER_SECOND = 100;
/** How much of the packet's payload an error quotes: ports, and a sequence number or length (RFC 792). */
const QUOTED = 8;

/** The facts that are kept about a packet in case an error has to quote it. */
export interface RecalledPacket {
  readonly to: IpAddress;
  readonly proto: number;
  /** Bytes behind the IP header, and the first eight of them. */
  readonly size: number;
  readonly first: number;
  readonly second: number;
}

export class IcmpErrors {
  readonly #policy: Policy;
  readonly #egress: Egress;
  readonly #clock: Clock;
  readonly #trace: Trace;
  readonly #quote: Uint8Array = new Uint8Array(IPV6_HEADER + QUOTED);
  #second = 0;
  #sent = 0;

  constructor(policy: Policy, egress: Egress, clock: Clock, trace: Trace) {
    this.#policy = policy;
    this.#egress = egress;
    this.#clock = clock;
    this.#trace = trace;
  }

  /**
   * Reports `cause` about the guest's packet at `ip`, whose upper layer is `proto` (-1 if it was not reached) with
   * `size` bytes at `at`. No error answers an ICMP error or a packet to a group (RFC 1122 section 3.2.2, RFC 4443
   * section 2.4 e).
   */
  about(
    guest: Neighbour,
    from: IpAddress,
    cause: IcmpCause,
    buf: Uint8Array,
    ip: number,
    proto: number,
    at: number,
    size: number,
    word = 0,
  ): void {
    if (guest.family === 4) {
      const dst = ipv4Dst(buf, ip);
      if (this.#policy.isBroadcast(dst) || dst >>> 28 === 14) return;
      if (proto === PROTO_ICMP && buf[at] !== ICMP_ECHO) return;
      this.#send(guest, from, cause.v4, word, buf, ip, at - ip + Math.min(QUOTED, size));
      return;
    }
    // If `proto` is -1, the caller has found a problem with a header, and has judged that case itself (section 2.4
    // e.3).
    if (proto >= 0 && ipv6IsMulticast(buf, ipv6Dst(buf, ip))) return;
    if (proto === PROTO_ICMP6 && (size === 0 || icmp6IsError(buf[at]!))) return;
    this.#send(guest, from, cause.v6, word, buf, ip, Math.min(ICMP6_QUOTE_MAX, at + size - ip));
  }

  /**
   * Reports `cause` about a packet of the guest's that is no longer there: the quote is made anew. `word` is the
   * error's own field, such as the MTU for a packet that is too big.
   */
  recalled(guest: Neighbour, from: IpAddress, cause: IcmpCause, packet: RecalledPacket, word = 0): void {
    const { to, proto, size, first, second } = packet;
    const q = this.#quote;
    const v4 = guest.family === 4;
    const header = v4 ? IPV4_HEADER : IPV6_HEADER;
    if (v4) ipv4Write(q, 0, guest.key, to.ip, proto, size, 64, 0, IPV4_DF);
    else ipv6Write(q, 0, guest.address.bytes, 0, to.bytes, 0, proto, size, 64);
    put32(q, header, first);
    put32(q, header + 4, second);
    this.#send(guest, from, v4 ? cause.v4 : cause.v6, word, q, 0, header + QUOTED);
  }

  #send(
    guest: Neighbour,
    from: IpAddress,
    what: readonly [number, number],
    word: number,
    buf: Uint8Array,
    at: number,
    len: number,
  ): void {
    const second = Math.floor(this.#clock.now() / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#sent = 0;
    }
    if (++this.#sent > PER_SECOND) return this.#trace.drop("icmp-rate");
    this.#egress.icmp(guest, from, what[0], what[1], word, buf, at, len);
  }
}
