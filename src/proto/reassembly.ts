/**
 * Reassembly of fragments from guests (RFC 791 section 3.2, RFC 8200 section 4.5), safe against hostile guests. Both
 * families share the caps.
 *
 * A datagram is put together in one buffer that grows with the bytes that have arrived, never with an offset that a
 * fragment claims. Fragments that overlap, or that contradict each other about the end, drop the whole datagram (RFC
 * 5722 demands that for IPv6; in IPv4 there is no honest reason for them either). An exact repetition is accepted,
 * because a network may cause it. A datagram that is incomplete after `TIMEOUT_MS` is dropped. When there are too many
 * bytes or datagrams, the oldest is dropped; when one guest has too many, its own oldest.
 */
import type { ByteShare } from "../core/byte-budget.ts";
import { DEFAULT_LIMITS, type Limits } from "../core/limits.ts";
import { Quota } from "../core/quota.ts";
import { get16, get32, put16 } from "../wire/bytes.ts";
import { finish, sum } from "../wire/checksum.ts";
import { ICMP6_QUOTE_MAX } from "../wire/icmp6.ts";
import {
  ipv4Dst,
  ipv4FragmentOffset,
  ipv4HeaderLength,
  ipv4Id,
  ipv4MoreFragments,
  ipv4Proto,
  ipv4Src,
  ipv4TotalLength,
} from "../wire/ipv4.ts";
import { IPV6_HEADER, ipv6Dst, ipv6Src } from "../wire/ipv6.ts";
import { type Ipv6Walk, ipv6FragmentId } from "../wire/ipv6-extensions.ts";

/** RFC 1122 section 3.3.2: a fixed value between 60 and 120 seconds. */
const TIMEOUT_MS = 60_000;
const MAX_FRAGMENTS = 1_024;
/** How much of an IPv4 datagram's payload an error quotes (RFC 792). */
const QUOTED = 8;
/** The most that a length field can express. */
const MAX_LENGTH = 65_535;

/** A datagram's first fragment, or its beginning, as it came: an error about the datagram quotes it. */
export interface FirstFragment {
  readonly packet: Uint8Array;
  /** The upper layer's protocol, and where its bytes begin in `packet`. */
  readonly proto: number;
  readonly at: number;
}

interface Partial {
  readonly key: string;
  /** The cable that the datagram counts for. */
  readonly cable: object;
  readonly since: number;
  first: FirstFragment | null;
  header: Uint8Array | null;
  /** Arrived ranges, sorted: offset and end in turn; ranges that touch are joined. */
  ranges: number[];
  /** Each fragment's offset and end, for repetitions. */
  readonly seen: Set<number>;
  bytes: Uint8Array;
  /** Length of the whole payload, once the last fragment is here; -1 before. */
  total: number;
  /** A part of the datagram was wrong: all its later fragments are dropped, too. */
  poisoned: boolean;
}

export class Reassembler {
  readonly #partials: Map<string, Partial> = new Map();
  readonly #onEvicted: () => void;
  readonly #count: Quota;
  readonly #bytes: Quota;

  /** `onEvicted` is told of each datagram that had to make room for another. */
  constructor(limits: Limits = DEFAULT_LIMITS, onEvicted: () => void = () => {}, bytes: ByteShare | null = null) {
    this.#onEvicted = onEvicted;
    this.#count = new Quota(limits.reassemblies, limits.reassembliesPerGuest);
    this.#bytes = new Quota(limits.reassemblyBytes, limits.reassemblyBytesPerGuest, bytes);
  }

  /** How many datagrams wait for fragments. */
  get size(): number {
    return this.#partials.size;
  }

  /** When `poll` has work: never later than the oldest datagram's end. */
  pollAt(): number {
    const oldest = this.#partials.values().next().value;
    return oldest === undefined ? Number.POSITIVE_INFINITY : oldest.since + TIMEOUT_MS;
  }

  /** Forgets what has waited too long, and tells of each; null when the first fragment has not come or was wrong. */
  poll(now: number, onTimeout: (first: FirstFragment | null) => void): void {
    for (const partial of this.#partials.values()) {
      if (partial.since + TIMEOUT_MS > now) break;
      this.#forget(partial);
      onTimeout(partial.first);
    }
  }

  /**
   * Takes a checked IPv4 fragment from `cable` whose header stands at `ip`. Returns the whole packet, header first and without
   * fragment fields, once it is complete; "kept" before that; "dropped" when the fragment cannot be used.
   */
  receive(cable: object, buf: Uint8Array, ip: number, now: number): Uint8Array | "kept" | "dropped" {
    const header = ipv4HeaderLength(buf, ip);
    const offset = ipv4FragmentOffset(buf, ip);
    // Fragments are rare: a text as a key costs less than a table of its own.
    const key = `${ipv4Src(buf, ip)},${ipv4Dst(buf, ip)},${ipv4Id(buf, ip)},${ipv4Proto(buf, ip)}`;
    const len = ipv4TotalLength(buf, ip) - header;
    const partial = this.#take(cable, key, buf, ip + header, len, offset, ipv4MoreFragments(buf, ip), now);
    if (typeof partial === "string") return partial;
    // The header is the first fragment's, whatever the others' were.
    if (offset === 0) {
      partial.header = buf.slice(ip, ip + header);
      const packet = buf.slice(ip, ip + header + Math.min(len, QUOTED));
      partial.first = { packet, proto: ipv4Proto(buf, ip), at: header };
    }
    const packet = this.#whole(partial, MAX_LENGTH);
    if (typeof packet === "string") return packet;
    const first = partial.header!.length;
    put16(packet, 2, packet.length);
    put16(packet, 6, get16(packet, 6) & 0x4000);
    put16(packet, 10, 0);
    put16(packet, 10, finish(sum(packet, 0, first)));
    return packet;
  }

  /** The same for IPv6, with what `ipv6Walk` found; the fragment header is left out of the whole packet. */
  receive6(cable: object, buf: Uint8Array, ip: number, walk: Ipv6Walk, now: number): Uint8Array | "kept" | "dropped" {
    const { fragmentAt, fragmentOffset: offset, payloadAt, payloadLen, moreFragments, nextHeaderAt } = walk;
    let key = `${ipv6FragmentId(buf, fragmentAt)}`;
    for (let i = ipv6Src(buf, ip); i < ipv6Dst(buf, ip) + 16; i += 4) key += `,${get32(buf, i)}`;
    const partial = this.#take(cable, key, buf, payloadAt, payloadLen, offset, moreFragments, now);
    if (typeof partial === "string") return partial;
    if (offset === 0) {
      partial.header = buf.slice(ip, fragmentAt);
      partial.header[nextHeaderAt - ip] = walk.proto;
      const packet = buf.slice(ip, Math.min(payloadAt + payloadLen, ip + ICMP6_QUOTE_MAX));
      partial.first = { packet, proto: walk.proto, at: payloadAt - ip };
    }
    const packet = this.#whole(partial, IPV6_HEADER + MAX_LENGTH);
    if (typeof packet === "string") return packet;
    put16(packet, 4, packet.length - IPV6_HEADER);
    return packet;
  }

  /** Keeps `len` bytes of payload at `at`. */
  #take(
    cable: object,
    key: string,
    buf: Uint8Array,
    at: number,
    len: number,
    offset: number,
    more: boolean,
    now: number,
  ): Partial | "kept" | "dropped" {
    const end = offset + len;
    if (len === 0 || end > MAX_LENGTH || (more && len % 8 !== 0)) return "dropped";
    const partial = this.#partials.get(key) ?? this.#open(cable, key, now);
    if (partial.poisoned) return "dropped";
    const range = offset * 65_536 + end;
    if (partial.seen.has(range)) return "kept";
    if (
      partial.seen.size >= MAX_FRAGMENTS ||
      !fits(partial, offset, end, more) ||
      !this.#insert(partial, offset, end)
    ) {
      this.#poison(partial);
      return "dropped";
    }
    partial.seen.add(range);
    if (!more) partial.total = end;
    this.#store(partial, buf.subarray(at, at + len), offset);
    return partial;
  }

  /** The packet of at most `most` bytes, header and payload, when all of it is there. */
  #whole(partial: Partial, most: number): Uint8Array | "kept" | "dropped" {
    const { ranges, total, key, cable } = partial;
    if (total < 0 || ranges.length !== 2 || ranges[0] !== 0 || ranges[1] !== total) {
      while (this.#bytes.over(cable)) this.#evict(cable, this.#bytes);
      return this.#partials.has(key) ? "kept" : "dropped";
    }
    this.#forget(partial);
    const header = partial.header!;
    if (header.length + total > most) return "dropped";
    const packet = new Uint8Array(header.length + total);
    packet.set(header);
    packet.set(partial.bytes.subarray(0, total), header.length);
    return packet;
  }

  #open(cable: object, key: string, now: number): Partial {
    if (!this.#count.allows(cable)) this.#evict(cable, this.#count);
    const bytes = new Uint8Array(0);
    const partial = {
      key,
      cable,
      since: now,
      first: null,
      header: null,
      ranges: [],
      seen: new Set<number>(),
      bytes,
      total: -1,
      poisoned: false,
    };
    this.#partials.set(key, partial);
    this.#count.take(cable);
    return partial;
  }

  /** False when the range overlaps bytes that are there. */
  #insert(partial: Partial, offset: number, end: number): boolean {
    const r = partial.ranges;
    let i = 0;
    while (i < r.length && r[i + 1]! < offset) i += 2;
    // The first range that ends at or after our start.
    if (i < r.length && r[i + 1]! > offset && r[i]! < end) return false;
    const joinsLeft = i < r.length && r[i + 1] === offset;
    const next = joinsLeft ? i + 2 : i;
    if (next < r.length && r[next]! < end) return false;
    const joinsRight = next < r.length && r[next] === end;
    if (joinsLeft && joinsRight) r.splice(i + 1, 2);
    else if (joinsLeft) r[i + 1] = end;
    else if (joinsRight) r[next] = offset;
    else r.splice(i, 0, offset, end);
    return true;
  }

  #store(partial: Partial, payload: Uint8Array, offset: number): void {
    const end = offset + payload.length;
    if (end > partial.bytes.length) {
      const size = Math.min(MAX_LENGTH, Math.max(end, 2 * partial.bytes.length));
      const grown = new Uint8Array(size);
      grown.set(partial.bytes);
      this.#bytes.take(partial.cable, size - partial.bytes.length);
      partial.bytes = grown;
    }
    partial.bytes.set(payload, offset);
  }

  /** Frees the datagram's bytes. Its key stays until its time is over, so that late fragments start no new datagram. */
  #poison(partial: Partial): void {
    this.#bytes.give(partial.cable, partial.bytes.length);
    partial.bytes = new Uint8Array(0);
    partial.ranges = [];
    partial.seen.clear();
    partial.header = null;
    partial.first = null;
    partial.poisoned = true;
  }

  /** Drops the oldest datagram: the guest's own, if it has one or has too many. */
  #evict(cable: object, quota: Quota): void {
    let oldest: Partial | null = null;
    for (const partial of this.#partials.values()) {
      // A poisoned datagram has no bytes to free.
      if (quota === this.#bytes && partial.bytes.length === 0) continue;
      if (partial.cable === cable) {
        oldest = partial;
        break;
      }
      oldest ??= partial;
    }
    this.#forget(oldest!);
    this.#onEvicted();
  }

  #forget(partial: Partial): void {
    this.#count.give(partial.cable);
    this.#bytes.give(partial.cable, partial.bytes.length);
    this.#partials.delete(partial.key);
  }
}

/** Whether a fragment agrees with what is known about the end. */
function fits(partial: Partial, offset: number, end: number, more: boolean): boolean {
  const reached = partial.ranges.length === 0 ? 0 : partial.ranges[partial.ranges.length - 1]!;
  if (partial.total >= 0) return more && end <= partial.total && offset < partial.total;
  return more || end >= reached;
}
