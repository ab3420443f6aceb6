/** The way to the guests: Ethernet and IPv4 headers in front of what the protocols write, fragments where it is too long. */
import type { Link } from "../core/link.ts";
import type { Random } from "../core/random.ts";
import type { DropReason, Trace } from "../core/trace.ts";
import type { Neighbour } from "../proto/neighbours.ts";
import { put16 } from "../wire/bytes.ts";
import { finish, sum } from "../wire/checksum.ts";
import { ETH_HEADER, ETH_IPV4, ethWrite, MAC_BROADCAST } from "../wire/ethernet.ts";
import { ICMP_HEADER, icmpWrite } from "../wire/icmp.ts";
import { IPV4_HEADER, ipv4Pseudo, ipv4Write, PROTO_ICMP, PROTO_UDP } from "../wire/ipv4.ts";
import { UDP_HEADER, udpWrite } from "../wire/udp.ts";

const TTL = 64;
/** A guest's MSS tells what segments it takes; nothing tells that of datagrams, so they keep to Ethernet's own size. */
export const DATAGRAM_MTU = 1500;
export const HEADERS: number = ETH_HEADER + IPV4_HEADER;
/** A datagram that must be cut is put together here first; used within one call. */
const whole = new Uint8Array(65_535);

export class Egress {
  readonly mac: Uint8Array;
  readonly #random: Random;
  readonly #trace: Trace;
  readonly #touch: (link: Link) => void;

  /** `touch` is told which cable needs a flush. */
  constructor(mac: Uint8Array, random: Random, trace: Trace, touch: (link: Link) => void) {
    this.mac = mac;
    this.#random = random;
    this.#trace = trace;
    this.#touch = touch;
  }

  drop(reason: DropReason): void {
    this.#trace.drop(reason);
  }

  /**
   * The 34 bytes in front of every segment of a flow, with length and header checksum left out; the flow adds them
   * with `patchHeaders`.
   */
  template(guest: Neighbour, src: number, proto: number): Uint8Array {
    const t = new Uint8Array(HEADERS);
    ethWrite(t, 0, guest.mac, this.mac, ETH_IPV4);
    ipv4Write(t, ETH_HEADER, src, guest.ip, proto, 0, TTL, 0, 0x4000);
    put16(t, ETH_HEADER + 2, 0);
    put16(t, ETH_HEADER + 10, 0);
    return t;
  }

  /** A UDP datagram to a guest. The payload is copied. */
  udp(guest: Neighbour, src: number, srcPort: number, dstPort: number, buf: Uint8Array, at: number, len: number): void {
    if (guest.link === null) return this.#trace.drop("guest-unreachable");
    this.#datagram(guest.link, guest.mac, src, guest.ip, PROTO_UDP, UDP_HEADER + len, (tx, o) => {
      tx.set(buf.subarray(at, at + len), o + UDP_HEADER);
      udpWrite(tx, o, srcPort, dstPort, len, ipv4Pseudo(src, guest.ip, PROTO_UDP, UDP_HEADER + len));
    });
  }

  /** A DHCP reply: to everyone on the cable, or to one MAC. */
  dhcp(link: Link, mac: Uint8Array | null, src: number, dst: number, payload: Uint8Array, len: number): void {
    this.#datagram(link, mac ?? MAC_BROADCAST, src, dst, PROTO_UDP, UDP_HEADER + len, (tx, o) => {
      tx.set(payload.subarray(0, len), o + UDP_HEADER);
      udpWrite(tx, o, 67, 68, len, ipv4Pseudo(src, dst, PROTO_UDP, UDP_HEADER + len));
    });
  }

  /** An ICMP message with `len` bytes of body taken from `buf`. */
  icmp(
    guest: Neighbour,
    src: number,
    type: number,
    code: number,
    word: number,
    buf: Uint8Array,
    at: number,
    len: number,
  ): void {
    if (guest.link === null) return this.#trace.drop("guest-unreachable");
    this.#datagram(guest.link, guest.mac, src, guest.ip, PROTO_ICMP, ICMP_HEADER + len, (tx, o) => {
      tx.set(buf.subarray(at, at + len), o + ICMP_HEADER);
      icmpWrite(tx, o, type, code, word, len);
    });
  }

  /** One frame when the datagram fits, otherwise fragments (RFC 791 section 3.2) on 8-byte boundaries. */
  #datagram(
    link: Link,
    mac: Uint8Array,
    src: number,
    dst: number,
    proto: number,
    len: number,
    fill: (tx: Uint8Array, at: number) => void,
  ): void {
    this.#touch(link);
    if (IPV4_HEADER + len <= DATAGRAM_MTU) {
      const at = link.reserve(HEADERS + len);
      if (at < 0) return this.#trace.drop("cable-full");
      ethWrite(link.tx, at, mac, this.mac, ETH_IPV4);
      ipv4Write(link.tx, at + ETH_HEADER, src, dst, proto, len, TTL, this.#random.u32() & 0xffff, 0);
      fill(link.tx, at + HEADERS);
      link.commit(HEADERS + len);
      return;
    }
    if (len > 65_535 - IPV4_HEADER) return this.#trace.drop("frame-too-long");
    fill(whole, 0);
    const id = this.#random.u32() & 0xffff;
    const most = (DATAGRAM_MTU - IPV4_HEADER) & ~7;
    for (let from = 0; from < len; from += most) {
      const n = Math.min(most, len - from);
      const at = link.reserve(HEADERS + n);
      if (at < 0) return this.#trace.drop("cable-full");
      ethWrite(link.tx, at, mac, this.mac, ETH_IPV4);
      const more = from + n < len ? 0x2000 : 0;
      ipv4Write(link.tx, at + ETH_HEADER, src, dst, proto, n, TTL, id, more | (from >> 3));
      link.tx.set(whole.subarray(from, from + n), at + HEADERS);
      link.commit(HEADERS + n);
    }
  }
}

/** Copies a flow's template to `at` and completes it for `payload` bytes. `base` is the sum of the template's IPv4 header. */
export function patchHeaders(template: Uint8Array, base: number, tx: Uint8Array, at: number, payload: number): void {
  tx.set(template, at);
  put16(tx, at + ETH_HEADER + 2, IPV4_HEADER + payload);
  put16(tx, at + ETH_HEADER + 10, finish(base + IPV4_HEADER + payload));
}

/** The sum that `patchHeaders` wants. */
export function templateSum(template: Uint8Array): number {
  return sum(template, ETH_HEADER, IPV4_HEADER);
}
