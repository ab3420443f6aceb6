/**
 * IPv6 extension headers (RFC 8200 section 4): from the fixed header to the upper layer.
 *
 * Headers form a chain in which each names the next. The chain ends at an upper layer, or at a fragment, whose rest
 * cannot be read before reassembly. Lengths count in units of 8 bytes, so every step moves on by 8 bytes at least, and
 * no step leaves the packet. The number of headers is limited as RFC 8504 section 5.3 allows.
 *
 * One walk serves two kinds of readers. The stack, to which packets are addressed, judges as it goes (`ipv6Walk`): an
 * error that a host must report with a Parameter Problem (RFC 4443 section 3.4) comes back with its code and pointer,
 * any other error as a drop. The guard and filters look at packets for others (`ipv6Look`): they judge no option, skip
 * headers that only others may know, and read on behind the first fragment's header. Both readers find the same upper
 * layer at the same place, if both reach it.
 */
import { get16, get32 } from "./bytes.ts";
import {
  IPV6_HEADER,
  IPV6_PAYLOAD_LENGTH_FIELD,
  ipv6Dst,
  ipv6IsMulticast,
  ipv6IsUpperLayer,
  ipv6NextHeader,
  ipv6PayloadLength,
} from "./ipv6.ts";

export const EXT_HOP_BY_HOP = 0;
export const EXT_ROUTING = 43;
export const EXT_FRAGMENT = 44;
const EXT_AUTHENTICATION = 51;
export const EXT_DESTINATION = 60;
export const FRAGMENT_HEADER = 8;

/** Parameter Problem codes (RFC 4443 section 3.4). */
export const PROBLEM_FIELD = 0;
export const PROBLEM_NEXT_HEADER = 1;
export const PROBLEM_OPTION = 2;

/** An upper layer was reached. */
export const WALK_UPPER = 0;
/** A fragment was reached. */
export const WALK_FRAGMENT = 1;
/** The packet is dropped, and a Parameter Problem sent if the packet may be answered with an error. */
export const WALK_PROBLEM = 2;
/**
 * The packet is dropped in silence: a header leaves the packet, there are too many headers, or an option asks for it.
 */
export const WALK_DROP = 3;

const MOST_HEADERS = 8;
/** The most headers that `ipv6Look` follows: another host may accept more than we do. */
const MOST_LOOKED_AT = 16;
const ANSWER_MULTICAST_TOO = 2;

/** The result of a walk. One object is made and filled again and again; offsets count from the same byte as `at`. */
export interface Ipv6Walk {
  /**
   * The upper layer's protocol. For a fragment: the protocol that the fragment header names, maybe another extension
   * header.
   */
  proto: number;
  /** Where that protocol's bytes begin, and how many there are: never more than the IPv6 header's length says. */
  payloadAt: number;
  payloadLen: number;
  /** The offset of the byte that names `proto`; for a fragment, of the byte that names the fragment header. */
  nextHeaderAt: number;
  /** The offset of the fragment header; -1 when the packet has none. */
  fragmentAt: number;
  /** The fragment offset, in bytes. */
  fragmentOffset: number;
  moreFragments: boolean;
  /** Whether a routing header has addresses left to visit, so that the final destination is not the header's. */
  routed: boolean;
  /** The code of the Parameter Problem, and its pointer as an offset from the IPv6 header. */
  problemCode: number;
  problemPointer: number;
  /**
   * Whether the problem is reported even if the packet's destination is a multicast address (RFC 4443 section 2.4 e.3).
   */
  problemMulticastToo: boolean;
}

export function newIpv6Walk(): Ipv6Walk {
  return {
    proto: 0,
    payloadAt: 0,
    payloadLen: 0,
    nextHeaderAt: 0,
    fragmentAt: -1,
    fragmentOffset: 0,
    moreFragments: false,
    routed: false,
    problemCode: 0,
    problemPointer: 0,
    problemMulticastToo: false,
  };
}

/** The identification field of a fragment header, signed. */
export function ipv6FragmentId(buf: Uint8Array, fragmentAt: number): number {
  return get32(buf, fragmentAt + 4);
}

/**
 * Follows the headers of a checked packet and fills `walk`. A fragment that is a whole packet counts as no fragment
 * (RFC 6946). Returns `WALK_UPPER`, `WALK_FRAGMENT`, `WALK_PROBLEM` or `WALK_DROP`; fields that do not belong to the
 * result are undefined.
 */
export function ipv6Walk(buf: Uint8Array, at: number, walk: Ipv6Walk): number {
  return follow(buf, at, at + IPV6_HEADER + ipv6PayloadLength(buf, at), walk, true);
}

/**
 * Follows the headers of a packet for another host, whose fixed header is present and whose bytes end at `end`. Returns
 * `WALK_UPPER` (with `fragmentAt` for a first fragment), `WALK_FRAGMENT` for a later one, or `WALK_DROP` where the
 * chain does not end within the bytes; then `proto` and `payloadAt` say where the walk stopped.
 */
export function ipv6Look(buf: Uint8Array, at: number, end: number, walk: Ipv6Walk): number {
  return follow(buf, at, end, walk, false);
}

function follow(buf: Uint8Array, at: number, end: number, walk: Ipv6Walk, judges: boolean): number {
  let next = ipv6NextHeader(buf, at);
  let nameAt = at + 6;
  let i = at + IPV6_HEADER;
  walk.fragmentAt = -1;
  walk.routed = false;
  for (let count = 0; !ipv6IsUpperLayer(next); count++) {
    const known = judges ? isKnown(next, count) : isKnown(next, 0) || next === EXT_AUTHENTICATION;
    if (!known) {
      if (judges) return problem(walk, PROBLEM_NEXT_HEADER, nameAt - at, false);
      break;
    }
    if (count >= (judges ? MOST_HEADERS : MOST_LOOKED_AT) || i + 8 > end) return lost(walk, next, i);
    if (next === EXT_FRAGMENT) {
      if (walk.fragmentAt >= 0) return lost(walk, next, i);
      walk.fragmentAt = i;
      walk.fragmentOffset = get16(buf, i + 2) & 0xfff8;
      walk.moreFragments = (buf[i + 3]! & 1) !== 0;
      if (judges ? walk.fragmentOffset !== 0 || walk.moreFragments : walk.fragmentOffset !== 0)
        return fragment(buf, at, nameAt, i, end, walk, judges);
    }
    const length = lengthOf(next, buf[i + 1]!);
    if (i + length > end) return lost(walk, next, i);
    if (next === EXT_ROUTING) {
      // Every routing type is unknown here, type 0 by RFC 5095. A header is skipped if no addresses are left to visit
      // (section 4.4).
      if (buf[i + 3] !== 0) {
        if (judges) return problem(walk, PROBLEM_FIELD, i + 2 - at, false);
        walk.routed = true;
      }
    } else if (judges && next !== EXT_FRAGMENT) {
      const outcome = options(buf, at, i + 2, i + length, walk);
      if (outcome !== WALK_UPPER) return outcome;
    }
    next = buf[i]!;
    nameAt = i;
    i += length;
  }
  walk.proto = next;
  walk.nextHeaderAt = nameAt;
  walk.payloadAt = i;
  walk.payloadLen = end - i;
  return WALK_UPPER;
}

/** Whether the stack knows header `next` in place `count`. Hop-by-hop options must come first (section 4.1). */
function isKnown(next: number, count: number): boolean {
  return (
    next === EXT_DESTINATION ||
    next === EXT_ROUTING ||
    next === EXT_FRAGMENT ||
    (next === EXT_HOP_BY_HOP && count === 0)
  );
}

/**
 * A header's length in bytes, from its length field; authentication headers count in units of 4 (RFC 4302 section 2.2).
 */
function lengthOf(next: number, field: number): number {
  if (next === EXT_FRAGMENT) return FRAGMENT_HEADER;
  return next === EXT_AUTHENTICATION ? 4 * (field + 2) : 8 * (field + 1);
}

function lost(walk: Ipv6Walk, next: number, i: number): number {
  walk.proto = next;
  walk.payloadAt = i;
  return WALK_DROP;
}

function fragment(
  buf: Uint8Array,
  at: number,
  nameAt: number,
  i: number,
  end: number,
  walk: Ipv6Walk,
  judges: boolean,
): number {
  walk.proto = buf[i]!;
  walk.nextHeaderAt = nameAt;
  walk.payloadAt = i + FRAGMENT_HEADER;
  walk.payloadLen = end - walk.payloadAt;
  if (!judges) return WALK_FRAGMENT;
  // Fragments but the last have a length that is a multiple of 8, and the whole packet has at most 65535 bytes (section
  // 4.5).
  if (walk.moreFragments && walk.payloadLen % 8 !== 0) {
    return problem(walk, PROBLEM_FIELD, IPV6_PAYLOAD_LENGTH_FIELD, false);
  }
  const unfragmentable = i - at - IPV6_HEADER;
  if (unfragmentable + walk.fragmentOffset + walk.payloadLen > 0xffff) {
    return problem(walk, PROBLEM_FIELD, i + 2 - at, false);
  }
  return WALK_FRAGMENT;
}

/**
 * Walks the options of a hop-by-hop or destination header (section 4.2). Padding and router alerts pass; all others are
 * unknown.
 */
function options(buf: Uint8Array, at: number, i: number, end: number, walk: Ipv6Walk): number {
  while (i < end) {
    const type = buf[i]!;
    if (type === 0) {
      i++;
      continue;
    }
    if (i + 2 > end || i + 2 + buf[i + 1]! > end) return WALK_DROP;
    // The two highest bits tell a host that does not know the option how to proceed.
    const action = type >> 6;
    if (action === 1) return WALK_DROP;
    if (action !== 0) return problem(walk, PROBLEM_OPTION, i - at, action === ANSWER_MULTICAST_TOO);
    i += 2 + buf[i + 1]!;
  }
  return WALK_UPPER;
}

function problem(walk: Ipv6Walk, code: number, pointer: number, multicastToo: boolean): number {
  walk.problemCode = code;
  walk.problemPointer = pointer;
  walk.problemMulticastToo = multicastToo;
  return WALK_PROBLEM;
}

/** Whether a problem may be reported: not for a packet to a group, except for options that ask for it. */
export function ipv6ProblemReported(buf: Uint8Array, at: number, walk: Ipv6Walk): boolean {
  return walk.problemMulticastToo || !ipv6IsMulticast(buf, ipv6Dst(buf, at));
}
