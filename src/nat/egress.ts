/**
 * The way out to guests: puts Ethernet and IP headers in front of the messages that the protocols write, and cuts a
 * packet that exceeds the guest's MTU into fragments.
 *
 * Each datagram is written between `#begin` and `#end`. `#begin` reserves room on the cable, or gives a buffer of our
 * own when the datagram will have to be fragmented. `#end` commits the frame, or cuts the buffer into fragments.
 */
import { type Family, type IpAddress, ipv4Address } from "../core/address.ts";
import { type Link, SUM_UNDONE } from "../core/link.ts";
import type { Random } from "../core/random.ts";
import type { DropReason, Trace } from "../core/trace.ts";
import type { Neighbour } from "../proto/neighbours.ts";
import { put16, put32 } from "../wire/bytes.ts";
import { copySum, finish, sum } from "../wire/checksum.ts";
import { ETH_HEADER, ETH_IPV4, ETH_IPV6, ethWrite, MAC_BROADCAST } from "../wire/ethernet.ts";
import { ICMP_HEADER, icmpWrite } from "../wire/icmp.ts";
import { IPV4_DF, IPV4_HEADER, ipv4Write, PROTO_ICMP, PROTO_UDP } from "../wire/ipv4.ts";
import { IPV6_HEADER, ipv6Write, PROTO_ICMP6 } from "../wire/ipv6.ts";
import { EXT_FRAGMENT, FRAGMENT_HEADER } from "../wire/ipv6-extensions.ts";
import { UDP_HEADER, udpWriteSummed, udpWriteUndone } from "../wire/udp.ts";

const TTL = 64;
/** The MTU of every guest that has not shown that it takes more: Ethernet's 1500 bytes. */
export const DATAGRAM_MTU = 1500;
const MAX_PACKET = 65_535;
const HEADERS4: number = ETH_HEADER + IPV4_HEADER;
const HEADERS6: number = ETH_HEADER + IPV6_HEADER;
/** Up to this many bytes, a copying loop is faster than `set` with a view made for it. */
const SHORT = 128;
/** A datagram that has to be fragmented is put together here. Used within one call only. */
const whole = new Uint8Array(MAX_PACKET);

export class Egress {
  /** Our MACs, the source addresses of frames that carry IPv4 and of frames that carry IPv6. */
  readonly mac: Uint8Array;
  readonly mac6: Uint8Array;
  readonly #random: Random;
  readonly #trace: Trace;
  readonly #touch: (link: Link) => void;
  readonly #mtuOf: (guest: Neighbour) => number;
  /** The array that the current datagram is written to: the cable's, or `whole`. */
  #buf: Uint8Array = whole;

  /**
   * `touch` is told which cable has a frame to flush. `mtuOf` gives the largest packet that a guest takes, in bytes.
   */
  constructor(
    mac: Uint8Array,
    mac6: Uint8Array,
    random: Random,
    trace: Trace,
    touch: (link: Link) => void,
    mtuOf: (guest: Neighbour) => number,
  ) {
    this.mac = mac;
    this.mac6 = mac6;
    this.#random = random;
    this.#trace = trace;
    this.#touch = touch;
    this.#mtuOf = mtuOf;
  }

  drop(reason: DropReason): void {
    this.#trace.drop(reason);
  }

  /**
   * The 34 or 54 bytes of Ethernet and IP headers in front of every segment of a flow, without the length and the
   * header checksum. `patchHeaders` copies them and fills those in.
   */
  template(guest: Neighbour, src: IpAddress, proto: number): Uint8Array {
    const t = new Uint8Array(headersOf(guest.family));
    if (guest.family === 4) {
      ethWrite(t, 0, guest.mac, this.mac, ETH_IPV4);
      ipv4Write(t, ETH_HEADER, src.ip, guest.key, proto, 0, TTL, 0, IPV4_DF);
      put16(t, ETH_HEADER + 2, 0);
      put16(t, ETH_HEADER + 10, 0);
    } else {
      ethWrite(t, 0, guest.mac, this.mac6, ETH_IPV6);
      ipv6Write(t, ETH_HEADER, src.bytes, 0, guest.address.bytes, 0, proto, 0, TTL);
    }
    return t;
  }

  /** A UDP datagram to a guest. The payload is copied. */
  udp(
    guest: Neighbour,
    src: IpAddress,
    srcPort: number,
    dstPort: number,
    buf: Uint8Array,
    at: number,
    len: number,
  ): void {
    const { link, address: dst } = guest;
    if (link === null) return this.#trace.drop("guest-unreachable");
    this.#udp(link, guest.mac, src, dst, srcPort, dstPort, buf, at, len, this.#mtuOf(guest));
  }

  /** A DHCP reply: to everyone on the cable, or to one MAC. */
  dhcp(link: Link, mac: Uint8Array | null, src: IpAddress, dstIp: number, payload: Uint8Array, len: number): void {
    this.#udp(link, mac ?? MAC_BROADCAST, src, ipv4Address(dstIp), 67, 68, payload, 0, len, DATAGRAM_MTU);
  }

  #udp(
    link: Link,
    mac: Uint8Array,
    src: IpAddress,
    dst: IpAddress,
    srcPort: number,
    dstPort: number,
    buf: Uint8Array,
    at: number,
    len: number,
    mtu: number,
  ): void {
    const size = UDP_HEADER + len;
    const o = this.#begin(link, mac, src, dst, PROTO_UDP, size, mtu);
    if (o < 0) return;
    const out = this.#buf;
    const undone = out !== whole && (link.offload ?? null)?.sums === true;
    const pseudo = src.sum + dst.sum + PROTO_UDP + size;
    if (undone) {
      if (len > SHORT && link.gather !== undefined) link.gather(o + UDP_HEADER, buf, at, len);
      else copy(buf, at, len, out, o + UDP_HEADER);
      udpWriteUndone(out, o, srcPort, dstPort, len, pseudo);
      link.commit(headersOf(dst.family) + size, SUM_UNDONE);
      return;
    }
    const payloadSum = copySum(buf, at, len, out, o + UDP_HEADER);
    udpWriteSummed(out, o, srcPort, dstPort, len, pseudo, payloadSum);
    this.#end(link, mac, src, dst, PROTO_UDP, size, mtu);
  }

  /** An ICMP or ICMPv6 message with `len` bytes of body taken from `buf`. */
  icmp(
    guest: Neighbour,
    src: IpAddress,
    type: number,
    code: number,
    word: number,
    buf: Uint8Array,
    at: number,
    len: number,
  ): void {
    const { link, mac, address: dst } = guest;
    if (link === null) return this.#trace.drop("guest-unreachable");
    const proto = guest.family === 4 ? PROTO_ICMP : PROTO_ICMP6;
    const size = ICMP_HEADER + len;
    const mtu = this.#mtuOf(guest);
    const o = this.#begin(link, mac, src, dst, proto, size, mtu);
    if (o < 0) return;
    const out = this.#buf;
    copy(buf, at, len, out, o + ICMP_HEADER);
    // Only ICMPv6's checksum covers a pseudo-header (RFC 4443 section 2.3).
    icmpWrite(out, o, type, code, word, len, guest.family === 4 ? 0 : src.sum + dst.sum + proto + size);
    this.#end(link, mac, src, dst, proto, size, mtu);
  }

  /**
   * Where to write `len` bytes of IP payload, or -1 when the packet cannot be sent (counted as a drop). Call `#end`
   * after it.
   */
  #begin(link: Link, mac: Uint8Array, src: IpAddress, dst: IpAddress, proto: number, len: number, mtu: number): number {
    const v4 = dst.family === 4;
    if ((v4 ? IPV4_HEADER : IPV6_HEADER) + len > mtu) {
      if (len > MAX_PACKET - (v4 ? IPV4_HEADER : FRAGMENT_HEADER)) {
        this.#trace.drop("frame-too-long");
        return -1;
      }
      this.#buf = whole;
      return 0;
    }
    const at = link.reserve(headersOf(dst.family) + len);
    this.#touch(link);
    if (at < 0) {
      this.#trace.drop("cable-full");
      return -1;
    }
    const tx = link.tx;
    this.#buf = tx;
    if (v4) {
      ethWrite(tx, at, mac, this.mac, ETH_IPV4);
      ipv4Write(tx, at + ETH_HEADER, src.ip, dst.ip, proto, len, TTL, this.#random.u32() & 0xffff, 0);
      return at + HEADERS4;
    }
    ethWrite(tx, at, mac, this.mac6, ETH_IPV6);
    ipv6Write(tx, at + ETH_HEADER, src.bytes, 0, dst.bytes, 0, proto, len, TTL);
    return at + HEADERS6;
  }

  #end(link: Link, mac: Uint8Array, src: IpAddress, dst: IpAddress, proto: number, len: number, mtu: number): void {
    if (this.#buf !== whole) link.commit(headersOf(dst.family) + len);
    else if (dst.family === 4) this.#cut4(link, mac, src, dst, proto, len, mtu);
    else this.#cut6(link, mac, src, dst, proto, len, mtu);
  }

  /** Cuts the datagram in `whole` into fragments on 8-byte boundaries (RFC 791 section 3.2). */
  #cut4(link: Link, mac: Uint8Array, src: IpAddress, dst: IpAddress, proto: number, len: number, mtu: number): void {
    const id = this.#random.u32() & 0xffff;
    const most = (mtu - IPV4_HEADER) & ~7;
    for (let from = 0; from < len; from += most) {
      const n = Math.min(most, len - from);
      const at = link.reserve(HEADERS4 + n);
      this.#touch(link);
      if (at < 0) return this.#trace.drop("cable-full");
      ethWrite(link.tx, at, mac, this.mac, ETH_IPV4);
      const more = from + n < len ? 0x2000 : 0;
      ipv4Write(link.tx, at + ETH_HEADER, src.ip, dst.ip, proto, n, TTL, id, more | (from >> 3));
      copy(whole, from, n, link.tx, at + HEADERS4);
      link.commit(HEADERS4 + n);
    }
  }

  /** Cuts the datagram in `whole` into packets with a fragment header (RFC 8200 section 4.5). */
  #cut6(link: Link, mac: Uint8Array, src: IpAddress, dst: IpAddress, proto: number, len: number, mtu: number): void {
    const id = this.#random.u32() | 0;
    const most = (mtu - IPV6_HEADER - FRAGMENT_HEADER) & ~7;
    for (let from = 0; from < len; from += most) {
      const n = Math.min(most, len - from);
      const at = link.reserve(HEADERS6 + FRAGMENT_HEADER + n);
      this.#touch(link);
      if (at < 0) return this.#trace.drop("cable-full");
      const { tx } = link;
      ethWrite(tx, at, mac, this.mac6, ETH_IPV6);
      ipv6Write(tx, at + ETH_HEADER, src.bytes, 0, dst.bytes, 0, EXT_FRAGMENT, FRAGMENT_HEADER + n, TTL);
      const o = at + HEADERS6;
      tx[o] = proto;
      tx[o + 1] = 0;
      put16(tx, o + 2, from | (from + n < len ? 1 : 0));
      put32(tx, o + 4, id);
      copy(whole, from, n, tx, o + FRAGMENT_HEADER);
      link.commit(HEADERS6 + FRAGMENT_HEADER + n);
    }
  }
}

function copy(from: Uint8Array, at: number, len: number, to: Uint8Array, o: number): void {
  if (len > SHORT) to.set(from.subarray(at, at + len), o);
  else for (let i = 0; i < len; i++) to[o + i] = from[at + i]!;
}

/** Bytes in front of an IP packet's payload. */
export function headersOf(family: Family): number {
  return family === 4 ? HEADERS4 : HEADERS6;
}

/** Copies a flow's template to `at` and completes it for `payload` bytes. `base` is `templateSum` of the template. */
export function patchHeaders(template: Uint8Array, base: number, tx: Uint8Array, at: number, payload: number): void {
  // A loop, because `set` costs more than it saves for so few bytes.
  for (let i = 0; i < template.length; i++) tx[at + i] = template[i]!;
  if (template.length === HEADERS4) {
    put16(tx, at + ETH_HEADER + 2, IPV4_HEADER + payload);
    put16(tx, at + ETH_HEADER + 10, finish(base + IPV4_HEADER + payload));
  } else put16(tx, at + ETH_HEADER + 4, payload);
}

/** The partial sum of an IPv4 template's header, which `patchHeaders` takes as `base`. */
export function templateSum(template: Uint8Array): number {
  return template.length === HEADERS4 ? sum(template, ETH_HEADER, IPV4_HEADER) : 0;
}
