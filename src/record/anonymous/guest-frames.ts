/**
 * Replaces addresses and names in a guest's frame, and leaves out payload. The frame keeps its length, and right
 * checksums stay right. Bytes of a kind unknown here become zeros.
 */
import { get16, put16 } from "../../wire/bytes.ts";
import { finish, sum, valid } from "../../wire/checksum.ts";
import { ETH_ARP, ETH_HEADER, ETH_IPV4 } from "../../wire/ethernet.ts";
import { type FrameFacts, frameFacts, readFacts } from "../../wire/frame-facts.ts";
import { ICMP_HEADER } from "../../wire/icmp.ts";
import { IPV4_HEADER, PROTO_ICMP, PROTO_TCP, PROTO_UDP } from "../../wire/ipv4.ts";
import { IPV6_HEADER, PROTO_ICMP6 } from "../../wire/ipv6.ts";
import { EXT_FRAGMENT, type Ipv6Walk, ipv6Look, newIpv6Walk } from "../../wire/ipv6-extensions.ts";
import { TCP_HEADER, tcpHeaderLength } from "../../wire/tcp.ts";
import { UDP_HEADER } from "../../wire/udp.ts";
import { isSealed, messageField, seal } from "../frames.ts";
import { changeDhcp, changeDhcp6, changeDns, changeDnsStream, changeTftp } from "./messages.ts";
import type { Others } from "./others.ts";

const facts: FrameFacts = frameFacts();
const walk: Ipv6Walk = newIpv6Walk();

/**
 * Changes a frame, or its recorded part, in place. `whole` says that nothing was left out or left undone. Returns how
 * many of its bytes stay; the bytes behind them are payload.
 */
export function changeFrame(frame: Uint8Array, whole: boolean, others: Others): number {
  const { length } = frame;
  others.mac(frame, 0);
  if (length >= 12) others.mac(frame, 6);
  if (length < ETH_HEADER) return length;
  readFacts(facts, frame, 0, length);
  const { ethType } = facts;
  if (facts.src < 0) return clear(frame, ETH_HEADER, length);
  if (ethType === ETH_ARP) return changeArp(frame, length, others);
  const sealed = isSealed(frame, 0, length);
  const kept = ethType === ETH_IPV4 ? changeIpv4(frame, length, others) : changeIpv6(frame, length, others);
  if (kept < length || whole === false) forgetSum(frame);
  else if (sealed) seal(frame, 0, length);
  return kept;
}

/**
 * Replaces a checksum that covers payload left out, because it tells something of the payload. The replay computes
 * another. Zero would mean that there is none.
 */
function forgetSum(frame: Uint8Array): void {
  const field = messageField(frame);
  if (field >= 0 && get16(frame, field) !== 0) put16(frame, field, 1);
}

function clear(buf: Uint8Array, at: number, end: number): number {
  if (at < end) buf.fill(0, at, end);
  return end;
}

function changeArp(buf: Uint8Array, end: number, others: Others): number {
  others.mac(buf, ETH_HEADER + 8);
  others.ip(buf, ETH_HEADER + 14, 4);
  others.mac(buf, ETH_HEADER + 18);
  others.ip(buf, ETH_HEADER + 24, 4);
  return clear(buf, ETH_HEADER + 28, end);
}

function changeIpv4(buf: Uint8Array, end: number, others: Others): number {
  const header = changeHeader4(buf, ETH_HEADER, end, others);
  const later = (get16(buf, ETH_HEADER + 6) & 0x1fff) !== 0;
  const first = !later && (get16(buf, ETH_HEADER + 6) & 0x2000) !== 0;
  const at = ETH_HEADER + header;
  if (at >= end) return end;
  if (facts.proto === PROTO_ICMP) {
    if (!later) changeIcmp(buf, at, end, others);
    else clear(buf, at, end);
    // The further fragments become zeros, which add nothing to the sum.
    if (first && at + ICMP_HEADER <= end) {
      put16(buf, at + 2, 0);
      put16(buf, at + 2, finish(sum(buf, at, ICMP_HEADER)));
    }
    return end;
  }
  return changeTransport(buf, at, end, later, others);
}

/** Changes an IPv4 header, whose checksum stays right if it was. Returns the header's length. */
function changeHeader4(buf: Uint8Array, at: number, end: number, others: Others): number {
  const size = Math.max(IPV4_HEADER, (buf[at]! & 15) * 4);
  const whole = at + size <= end;
  const right = whole && valid(sum(buf, at, size));
  others.ip(buf, at + 12, 4);
  others.ip(buf, at + 16, 4);
  // Options may record routes.
  if (size > IPV4_HEADER) clear(buf, at + IPV4_HEADER, Math.min(end, at + size));
  if (right) {
    put16(buf, at + 10, 0);
    put16(buf, at + 10, finish(sum(buf, at, size)));
  }
  return size;
}

function changeIpv6(buf: Uint8Array, end: number, others: Others): number {
  const at = changeHeaders6(buf, ETH_HEADER, end, others);
  if (at >= end) return end;
  const { fragmentAt } = walk;
  const later = fragmentAt >= 0 && (get16(buf, fragmentAt + 2) & 0xfff8) !== 0;
  if (walk.proto === PROTO_ICMP6) {
    if (later) return clear(buf, at, end);
    changeIcmp6(buf, at, end, others);
    return end;
  }
  return changeTransport(buf, at, end, later, others);
}

/** Changes the IPv6 headers. Returns the offset behind them. */
function changeHeaders6(buf: Uint8Array, at: number, end: number, others: Others): number {
  others.ip(buf, at + 8, 16);
  others.ip(buf, at + 24, 16);
  ipv6Look(buf, at, end, walk);
  // Routing headers and options hold addresses. Their first two bytes, the next header and the length, stay; a fragment
  // header identifies nobody.
  let next = buf[at + 6]!;
  for (let i = at + IPV6_HEADER; i + 8 <= Math.min(end, walk.payloadAt); ) {
    const size = next === EXT_FRAGMENT ? 8 : 8 + 8 * buf[i + 1]!;
    const isFragment = next === EXT_FRAGMENT;
    next = buf[i]!;
    // Zeros are padding (Pad1), and a route without an address.
    if (!isFragment) clear(buf, i + 2, Math.min(end, i + size));
    i += size;
  }
  return walk.payloadAt;
}

function changeTransport(buf: Uint8Array, at: number, end: number, later: boolean, others: Others): number {
  const { proto, srcPort, dstPort } = facts;
  if (proto !== PROTO_TCP && proto !== PROTO_UDP) return clear(buf, at, end);
  if (later || srcPort < 0) return Math.min(at, end);
  if (proto === PROTO_TCP) {
    if (at + TCP_HEADER > end) return end;
    const data = at + tcpHeaderLength(buf, at);
    if ((srcPort === 53 || dstPort === 53) && data < end) return changeDnsStream(buf, data, end, others) ? end : data;
    return Math.min(data, end);
  }
  const data = at + UDP_HEADER;
  if (data >= end) return end;
  const isOf = (...ports: readonly number[]): boolean => ports.includes(srcPort) || ports.includes(dstPort);
  if (isOf(53)) changeDns(buf, data, end, others);
  else if (isOf(67, 68)) changeDhcp(buf, data, end, others);
  else if (isOf(546, 547)) changeDhcp6(buf, data, end, others);
  else if (isOf(69)) changeTftp(buf, data, end, others);
  // TFTP's acknowledgements stay whole.
  else if (end - data > 4 || get16(buf, data) !== 4) return data;
  return end;
}

function changeIcmp(buf: Uint8Array, at: number, end: number, others: Others): void {
  const type = buf[at]!;
  const data = at + ICMP_HEADER;
  if (data > end) return;
  if (type === 5) others.ip(buf, at + 4, 4);
  const isError = type === 3 || type === 4 || type === 5 || type === 11 || type === 12;
  if (isError && data + IPV4_HEADER <= end) {
    const proto = buf[data + 9]!;
    const transport = data + changeHeader4(buf, data, end, others);
    clear(buf, transport + quotedLength(proto), end);
  } else clear(buf, data, end);
}

function changeIcmp6(buf: Uint8Array, at: number, end: number, others: Others): void {
  const type = buf[at]!;
  const data = at + ICMP_HEADER;
  if (data > end) return;
  if (type < 128) {
    if (data + IPV6_HEADER > end) return void clear(buf, data, end);
    const transport = changeHeaders6(buf, data, end, others);
    clear(buf, transport + quotedLength(walk.proto), end);
  } else if (type === 143) changeReport(buf, data, end, others);
  else if (type >= 130 && type <= 132 && data + 16 <= end) {
    others.ip(buf, data, 16);
    clear(buf, data + 16, end);
  } else if (type >= 133 && type <= 137) changeNdp(buf, type, at, end, others);
  else clear(buf, data, end);
}

/** How many bytes of a quoted transport header hold its ports and number. */
function quotedLength(proto: number): number {
  return proto === PROTO_TCP || proto === PROTO_UDP
    ? 8
    : proto === PROTO_ICMP || proto === PROTO_ICMP6
      ? ICMP_HEADER
      : 0;
}

/** Changes the groups in a report of groups that a guest listens to (RFC 3810 section 5.2). */
function changeReport(buf: Uint8Array, at: number, end: number, others: Others): void {
  let i = at;
  while (i + 20 <= end) {
    const sources = get16(buf, i + 2);
    if (buf[i + 1] !== 0 || i + 20 + 16 * sources > end) break;
    for (let k = 0; k <= sources; k++) others.ip(buf, i + 4 + 16 * k, 16);
    i += 20 + 16 * sources;
  }
  clear(buf, i, end);
}

function changeNdp(buf: Uint8Array, type: number, at: number, end: number, others: Others): void {
  let i = at + ({ 133: 8, 134: 16, 137: 40 }[type] ?? 24);
  if (i > end) return void clear(buf, at + ICMP_HEADER, end);
  for (let k = at + 8; type !== 134 && k + 16 <= i; k += 16) others.ip(buf, k, 16);
  while (i + 8 <= end && buf[i + 1]! > 0 && i + 8 * buf[i + 1]! <= end) {
    const option = buf[i]!;
    const next = i + 8 * buf[i + 1]!;
    if (option === 1 || option === 2) {
      others.mac(buf, i + 2);
      clear(buf, i + 8, next);
    } else if (option === 3 && next - i === 32) others.ip(buf, i + 16, 16);
    // A nonce (RFC 3971, RFC 7527) identifies nobody, and the network compares it.
    else if (option !== 14) clear(buf, i + 2, next);
    i = next;
  }
  clear(buf, i, end);
}
