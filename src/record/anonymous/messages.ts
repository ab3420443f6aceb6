/** Replaces addresses and names, in place, in messages that our own services read: DNS, DHCP, DHCPv6, TFTP. */
import { get16 } from "../../wire/bytes.ts";
import { DHCP_CHADDR, DHCP_HEADER, dhcpHasCookie } from "../../wire/dhcp.ts";
import * as dhcp6 from "../../wire/dhcp6.ts";
import { DNS_A, DNS_AAAA, DNS_CNAME, DNS_HEADER, DNS_OPT, DNS_PTR, dnsLabel } from "../../wire/dns.ts";
import type { Others } from "./others.ts";

const DNS_NS = 2;
const DNS_SOA = 6;
const DNS_MX = 15;
const DNS_SRV = 33;
const DNS_DNAME = 39;
/** How many bytes stand in front of the name in the data of each type of record. */
const NAMED: ReadonlyMap<number, number> = new Map([
  [DNS_NS, 0],
  [DNS_CNAME, 0],
  [DNS_SOA, 0],
  [DNS_PTR, 0],
  [DNS_MX, 2],
  [DNS_SRV, 6],
  [DNS_DNAME, 0],
]);

/** Changes a DNS message in place. Parts that cannot be read, or of a kind unknown here, become zeros. */
export function changeDns(buf: Uint8Array, at: number, end: number, others: Others): void {
  // Compression pointers may lead to any name, so names are read from an unchanged copy.
  const was = buf.slice(0, end);
  const records = (field: number): number => get16(was, at + field);
  if (end - at < DNS_HEADER) return void buf.fill(0, at, end);
  let i = at + DNS_HEADER;
  for (let n = records(4); n > 0; n--) {
    const after = changeName(was, buf, i, end, others);
    if (after < 0 || after + 4 > end) return void buf.fill(0, i, end);
    i = after + 4;
  }
  for (let n = records(6) + records(8) + records(10); n > 0; n--) {
    const type = changeName(was, buf, i, end, others);
    const data = type + 10;
    if (type < 0 || data > end || data + get16(was, type + 8) > end) return void buf.fill(0, i, end);
    i = data + get16(was, type + 8);
    changeRecord(was, buf, get16(was, type), data, i, others);
  }
  buf.fill(0, i, end);
}

function changeRecord(was: Uint8Array, buf: Uint8Array, type: number, at: number, end: number, others: Others): void {
  const named = NAMED.get(type);
  if ((type === DNS_A && end - at === 4) || (type === DNS_AAAA && end - at === 16)) return others.ip(buf, at, end - at);
  if (type === DNS_OPT) {
    // Options keep their codes and lengths only: they hold cookies and clients' networks.
    let i = at;
    while (i + 4 <= end && i + 4 + get16(was, i + 2) <= end) {
      buf.fill(0, i + 4, i + 4 + get16(was, i + 2));
      i += 4 + get16(was, i + 2);
    }
    return void buf.fill(0, i, end);
  }
  let i = named === undefined ? -1 : changeName(was, buf, at + named, end, others);
  if (type === DNS_SOA && i >= 0) {
    i = changeName(was, buf, i, end, others);
    if (i + 20 === end) return;
  }
  buf.fill(0, Math.max(at, i), end);
}

/** Changes the name at `at`, and returns its end; -1 if the name is malformed. */
function changeName(was: Uint8Array, buf: Uint8Array, at: number, end: number, others: Others): number {
  const places: number[] = [];
  const labels: string[] = [];
  let i = at;
  let whole = false;
  for (; i < end; i += was[i]! + 1) {
    const length = was[i]!;
    if (length === 0 || length >= 0xc0) {
      whole = length === 0;
      break;
    }
    if (length > 63 || i + length >= end) return -1;
    places.push(i + 1);
    labels.push(dnsLabel(was, i + 1, length));
  }
  if (i >= end || (!whole && i + 2 > end)) return -1;
  // The rest of a compressed name has been changed label by label where it stands, so this part must be, too.
  const changed = whole ? others.names.labels(labels) : labels.map((label) => others.names.label(label));
  for (const [n, label] of changed.entries())
    if (label !== labels[n]) for (let k = 0; k < label.length; k++) buf[places[n]! + k] = label.charCodeAt(k);
  return whole ? i + 1 : i + 2;
}

/**
 * Changes DNS messages over TCP, each preceded by its length. False if the bytes do not end with a message; then
 * nothing has changed.
 */
export function changeDnsStream(buf: Uint8Array, at: number, end: number, others: Others): boolean {
  let i = at;
  while (i + 2 <= end && i + 2 + get16(buf, i) <= end) i += 2 + get16(buf, i);
  if (i !== end) return false;
  for (i = at; i < end; i += 2 + get16(buf, i)) changeDns(buf, i + 2, i + 2 + get16(buf, i), others);
  return true;
}

const DHCP_SNAME = 44;
const DHCP_FILE = 108;
const DHCP_COOKIE = 236;
/** Options that identify nobody: masks, times, types, sizes, requested options, and the kind of machine. */
const PLAIN4: ReadonlySet<number> = new Set([1, 26, 51, 52, 53, 55, 57, 58, 59, 93, 94]);
const ADDRESSES4: ReadonlySet<number> = new Set([3, 6, 28, 50, 54]);
const TEXTS4: ReadonlySet<number> = new Set([12, 15, 66, 67]);
const VENDOR_CLASS = 60;
const CLIENT_ID = 61;
const CLIENT_NAME = 81;
const MACHINE_ID = 97;
/** Vendor classes that a DHCP server answers. */
const BOOT_CLASS = /^(?:PXE|HTTP)Client/;

export function changeDhcp(buf: Uint8Array, at: number, end: number, others: Others): void {
  if (end - at < DHCP_HEADER) return void buf.fill(0, at, end);
  for (const field of [12, 16, 20, 24]) others.ip(buf, at + field, 4);
  others.mac(buf, at + DHCP_CHADDR);
  buf.fill(0, at + DHCP_CHADDR + 6, at + DHCP_SNAME);
  if (!dhcpHasCookie(buf, at)) return void buf.fill(0, at + DHCP_SNAME, end);
  changeOptions4(buf, at + DHCP_SNAME, at + DHCP_FILE, others);
  changeOptions4(buf, at + DHCP_FILE, at + DHCP_COOKIE, others);
  changeOptions4(buf, at + DHCP_HEADER, end, others);
}

function changeOptions4(buf: Uint8Array, at: number, end: number, others: Others): void {
  let i = at;
  while (i + 1 < end && buf[i] !== 255) {
    const code = buf[i]!;
    if (code === 0) {
      i++;
      continue;
    }
    const data = i + 2;
    const next = data + buf[i + 1]!;
    if (next > end) break;
    changeOption4(buf, code, data, next, others);
    i = next;
  }
  buf.fill(0, i + (buf[i] === 255 ? 1 : 0), end);
}

function changeOption4(buf: Uint8Array, code: number, at: number, end: number, others: Others): void {
  if (PLAIN4.has(code)) return;
  if (ADDRESSES4.has(code) && (end - at) % 4 === 0) {
    for (let i = at; i < end; i += 4) others.ip(buf, i, 4);
  } else if (TEXTS4.has(code)) others.names.bytes(buf, at, end);
  else if (code === CLIENT_NAME && end - at > 3) others.names.bytes(buf, at + 3, end);
  else if (code === CLIENT_ID) buf.set(others.clientId(buf.slice(at, end)), at);
  else if (code === MACHINE_ID) others.opaque(buf, at + 1, end);
  else if (code !== VENDOR_CLASS || !BOOT_CLASS.test(String.fromCharCode(...buf.subarray(at, end))))
    buf.fill(0, at, end);
}

const OPT6_FQDN = 39;
/**
 * Options that identify nobody: requested options, preference, elapsed time, status, rapid commit, times, and the kind
 * of machine.
 */
const PLAIN6: ReadonlySet<number> = new Set([6, 7, 8, 14, 32, 61, 62, 82, 83]);

export function changeDhcp6(buf: Uint8Array, at: number, end: number, others: Others): void {
  const type = end - at < dhcp6.DHCP6_HEADER ? dhcp6.DHCP6_RELAY_FORWARD : buf[at]!;
  // A relay's message contains another message.
  if (type === dhcp6.DHCP6_RELAY_FORWARD || type === dhcp6.DHCP6_RELAY_FORWARD + 1)
    return void buf.fill(0, at + 1, end);
  changeOptions6(buf, at + dhcp6.DHCP6_HEADER, end, others);
}

function changeOptions6(buf: Uint8Array, at: number, end: number, others: Others): void {
  let i = at;
  while (i + 4 <= end && i + 4 + get16(buf, i + 2) <= end) {
    const next = i + 4 + get16(buf, i + 2);
    changeOption6(buf, get16(buf, i), i + 4, next, others);
    i = next;
  }
  buf.fill(0, Math.min(i, end), end);
}

function changeOption6(buf: Uint8Array, code: number, at: number, end: number, others: Others): void {
  const size = end - at;
  if (PLAIN6.has(code)) return;
  if (code === dhcp6.OPT6_CLIENT_ID || code === dhcp6.OPT6_SERVER_ID) buf.set(others.duid(buf.slice(at, end)), at);
  else if ((code === dhcp6.OPT6_IA_NA || code === dhcp6.OPT6_IA_PD) && size >= 12) {
    others.opaque(buf, at, at + 4);
    changeOptions6(buf, at + 12, end, others);
  } else if (code === dhcp6.OPT6_IA_TA && size >= 4) {
    others.opaque(buf, at, at + 4);
    changeOptions6(buf, at + 4, end, others);
  } else if (code === dhcp6.OPT6_IA_ADDR && size >= 24) {
    others.ip(buf, at, 16);
    changeOptions6(buf, at + 24, end, others);
  } else if (code === OPT6_FQDN && size > 1) {
    if (changeName(buf.slice(0, end), buf, at + 1, end, others) !== end) buf.fill(0, at + 1, end);
  } else if (
    code === dhcp6.OPT6_VENDOR_CLASS &&
    size > 6 &&
    BOOT_CLASS.test(String.fromCharCode(...buf.subarray(at + 6, end)))
  )
    return;
  else buf.fill(0, at, end);
}

const TFTP_READ = 1;
const TFTP_WRITE = 2;

/**
 * Replaces a request's file name; the words of the protocol behind it stay. Acknowledgements have no payload, and data
 * becomes zeros.
 */
export function changeTftp(buf: Uint8Array, at: number, end: number, others: Others): void {
  const operation = end - at < 2 ? 0 : get16(buf, at);
  const nul = buf.indexOf(0, at + 2);
  if ((operation === TFTP_READ || operation === TFTP_WRITE) && nul >= 0 && nul < end)
    others.names.bytes(buf, at + 2, nul);
  else buf.fill(0, Math.min(end, at + 4), end);
}
