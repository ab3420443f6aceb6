/** A DHCP client (RFC 2131): DISCOVER, OFFER, REQUEST, ACK. It takes the first offer and never renews its lease. */
import { get16, get32, put16, put32 } from "../../wire/bytes.ts";
import { macEquals } from "../../wire/ethernet.ts";
import { ipv4ToString } from "../../wire/ipv4.ts";
import type { Guest, GuestAddress } from "./guest.ts";

const BOOTP_LENGTH = 236;
const COOKIE = 0x63825363;
const DISCOVER = 1;
const OFFER = 2;
const REQUEST = 3;
const ACK = 5;
const NAK = 6;
/** Milliseconds before each repetition: a quarter of the times in RFC 2131 section 4.1. */
const RETRY_MS = [1_000, 2_000, 4_000, 8_000];

export interface GuestLease extends GuestAddress {
  readonly server: string;
  /** Seconds. */
  readonly leaseTime: number;
  readonly bootfile: string | null;
  readonly hostname: string | null;
}

/**
 * Gets a lease, under `hostname` if that is not empty, and configures the guest with it. Rejects when nobody offers a
 * lease, or when the server refuses.
 */
export function dhcp(guest: Guest, hostname = ""): Promise<GuestLease> {
  const socket = guest.udp(68);
  const xid = guest.random() | 0;
  let offer: Offer | null = null;
  let cancel = (): void => {};
  return new Promise<GuestLease>((resolve, reject) => {
    const send = (tries: number): void => {
      const pause = RETRY_MS[tries];
      if (pause === undefined) return reject(new Error("no DHCP server answered"));
      cancel();
      cancel = guest.timers.after(pause, () => send(tries + 1));
      socket.send(message(guest.mac, xid, offer, hostname), -1, 67);
    };
    socket.onDatagram = (bytes, _ip, port) => {
      const answer = port === 67 ? read(bytes, xid, guest.mac) : null;
      if (answer === null) return;
      if (answer.type === OFFER && offer === null) {
        offer = answer;
        send(0);
      } else if (answer.type === ACK && offer !== null) resolve(lease(answer));
      else if (answer.type === NAK && offer !== null) reject(new Error("the DHCP server refused the address"));
    };
    send(0);
  })
    .then((given) => {
      guest.configure(given);
      return given;
    })
    .finally(() => {
      cancel();
      socket.close();
    });
}

interface Offer {
  readonly type: number;
  readonly ip: number;
  readonly server: number;
  readonly file: string;
  readonly options: ReadonlyMap<number, Uint8Array>;
}

function message(mac: Uint8Array, xid: number, offer: Offer | null, hostname: string): Uint8Array {
  const options = [53, 1, offer === null ? DISCOVER : REQUEST, 55, 7, 1, 3, 6, 12, 15, 26, 67, 57, 2, 0x05, 0xdc];
  if (offer !== null) options.push(50, 4, ...word(offer.ip), 54, 4, ...word(offer.server));
  if (hostname !== "") options.push(12, hostname.length, ...Array.from(hostname, (c) => c.charCodeAt(0)));
  options.push(255);
  // Some relays drop messages shorter than BOOTP's 300 bytes (RFC 1542 section 2.1).
  const out = new Uint8Array(Math.max(300, BOOTP_LENGTH + 4 + options.length));
  out.set([1, 1, 6, 0]);
  put32(out, 4, xid);
  // The broadcast flag. This guest also hears unicasts, but must not depend on how the server answers.
  put16(out, 10, 0x8000);
  out.set(mac, 28);
  put32(out, BOOTP_LENGTH, COOKIE);
  out.set(options, BOOTP_LENGTH + 4);
  return out;
}

function word(value: number): number[] {
  return [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
}

function read(buf: Uint8Array, xid: number, mac: Uint8Array): Offer | null {
  if (buf.length < BOOTP_LENGTH + 4 || buf[0] !== 2 || get32(buf, 4) !== xid || !macEquals(buf, 28, mac)) return null;
  if (get32(buf, BOOTP_LENGTH) !== COOKIE) return null;
  const options = new Map<number, Uint8Array>();
  for (let i = BOOTP_LENGTH + 4; i < buf.length && buf[i] !== 255; ) {
    if (buf[i] === 0) {
      i++;
      continue;
    }
    const length = buf[i + 1] ?? 0;
    if (i + 2 + length > buf.length) break;
    options.set(buf[i]!, buf.slice(i + 2, i + 2 + length));
    i += 2 + length;
  }
  const server = options.get(54);
  return {
    type: options.get(53)?.[0] ?? 0,
    ip: get32(buf, 16),
    server: server?.length === 4 ? get32(server, 0) : 0,
    file: text(buf.subarray(108, 236)),
    options,
  };
}

function lease({ ip, server, file, options }: Offer): GuestLease {
  const address = (code: number): number | null => {
    const value = options.get(code);
    return value !== undefined && value.length >= 4 ? get32(value, 0) : null;
  };
  const dotted = (value: number | null): string | null => (value === null ? null : ipv4ToString(value));
  const mask = address(1) ?? -256;
  const mtu = options.get(26);
  const named = (code: number): string | null => (options.has(code) ? text(options.get(code)!) : null);
  return {
    ip: ipv4ToString(ip),
    prefix: Math.clz32(~mask),
    gateway: dotted(address(3)),
    dns: dotted(address(6)),
    mtu: mtu?.length === 2 ? get16(mtu, 0) : null,
    server: ipv4ToString(server),
    leaseTime: (address(51) ?? 0) >>> 0,
    bootfile: named(67) ?? (file || null),
    hostname: named(12),
  };
}

/** A text in Latin-1, up to the first NUL. */
function text(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return String.fromCharCode(...(end < 0 ? bytes : bytes.subarray(0, end)));
}
