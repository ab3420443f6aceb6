/**
 * The fields of a frame of any kind that filters test: one reusable record, filled by `readFacts` from unchecked bytes.
 * A field that the frame lacks is -1; nothing is read beyond `len`.
 */
import { get16 } from "./bytes.ts";
import { ETH_ARP, ETH_HEADER, ETH_IPV4, ETH_IPV6 } from "./ethernet.ts";
import { PROTO_TCP, PROTO_UDP } from "./ipv4.ts";
import { type Ipv6Walk, ipv6Look, newIpv6Walk, WALK_FRAGMENT } from "./ipv6-extensions.ts";

export interface FrameFacts {
  buf: Uint8Array;
  /** The frame's first byte: destination MAC, then source MAC. */
  eth: number;
  ethType: number;
  /** Offsets of the source and destination address (4 or 16 bytes, by `ethType`; ARP's are its protocol addresses). */
  src: number;
  dst: number;
  /** The protocol of the header behind IP's headers. */
  proto: number;
  srcPort: number;
  dstPort: number;
  /** The first byte behind IP's headers, even if it lies beyond the frame. */
  payload: number;
}

export function frameFacts(): FrameFacts {
  return {
    buf: new Uint8Array(0),
    eth: 0,
    ethType: -1,
    src: -1,
    dst: -1,
    proto: -1,
    srcPort: -1,
    dstPort: -1,
    payload: -1,
  };
}

const walk: Ipv6Walk = newIpv6Walk();

/** Fills `facts` from the frame of `len` bytes at `at`. */
export function readFacts(facts: FrameFacts, buf: Uint8Array, at: number, len: number): void {
  facts.buf = buf;
  facts.eth = at;
  facts.ethType = -1;
  facts.src = -1;
  facts.dst = -1;
  facts.proto = -1;
  facts.srcPort = -1;
  facts.dstPort = -1;
  facts.payload = -1;
  if (len < ETH_HEADER) return;
  facts.ethType = get16(buf, at + 12);
  const packet = at + ETH_HEADER;
  const end = at + len;
  if (facts.ethType === ETH_IPV4 && packet + 20 <= end) readIpv4(facts, buf, packet, end);
  else if (facts.ethType === ETH_IPV6 && packet + 40 <= end) readIpv6(facts, buf, packet, end);
  else if (facts.ethType === ETH_ARP && packet + 28 <= end) {
    facts.src = packet + 14;
    facts.dst = packet + 24;
  }
}

function readIpv4(facts: FrameFacts, buf: Uint8Array, at: number, end: number): void {
  facts.src = at + 12;
  facts.dst = at + 16;
  facts.proto = buf[at + 9]!;
  facts.payload = at + (buf[at]! & 15) * 4;
  if ((get16(buf, at + 6) & 0x1fff) === 0) readPorts(facts, buf, facts.payload, end);
}

function readIpv6(facts: FrameFacts, buf: Uint8Array, at: number, end: number): void {
  facts.src = at + 8;
  facts.dst = at + 24;
  const later = ipv6Look(buf, at, end, walk) === WALK_FRAGMENT;
  facts.proto = walk.proto;
  facts.payload = walk.payloadAt;
  if (!later) readPorts(facts, buf, facts.payload, end);
}

function readPorts(facts: FrameFacts, buf: Uint8Array, at: number, end: number): void {
  if ((facts.proto !== PROTO_TCP && facts.proto !== PROTO_UDP) || at + 4 > end) return;
  facts.srcPort = get16(buf, at);
  facts.dstPort = get16(buf, at + 2);
}
