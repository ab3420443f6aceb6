/**
 * A DHCPv6 client for packet scripts: builds messages from named fields, and reads replies with a reader of its own, so
 * that a fault in `wire/dhcp6.ts` cannot hide behind itself.
 */
import { expect } from "vitest";
import { DEFAULT_LIMITS } from "../../src/core/limits.ts";
import { DHCP6_MAX_REPLY, type Dhcp6Config, Dhcp6Server } from "../../src/proto/dhcp6.ts";
import { bytesOf, ip6, ip6Text, mac, u16, u32, view } from "../support/frames/bytes.ts";
import { RecordingTrace } from "../support/recording-trace.ts";

export const SOLICIT = 1;
export const ADVERTISE = 2;
export const REQUEST = 3;
export const CONFIRM = 4;
export const RENEW = 5;
export const REBIND = 6;
export const REPLY = 7;
export const RELEASE = 8;
export const DECLINE = 9;
export const INFORMATION_REQUEST = 11;

export const MAC = "52:54:00:12:34:56";
export const SERVER_MAC = "52:56:00:00:00:02";
/** DUID-LL (RFC 8415 section 11.4) of the server. */
export const SERVER_ID: readonly number[] = [0, 3, 0, 1, ...mac(SERVER_MAC)];
export const CONFIG: Dhcp6Config = {
  limits: DEFAULT_LIMITS,
  net6: "fec0::",
  prefix6: 64,
  host6: "fec0::2",
  dns6: "fec0::3",
  dnssearch: [],
  bootfile: null,
  restrict: false,
};

export interface IaSend {
  readonly iaid?: number;
  readonly addresses?: readonly string[];
  /** 3 unless it is a temporary (4) or a prefix's (25) one. */
  readonly code?: number;
}
export interface Send {
  readonly type: number;
  readonly xid?: number;
  readonly mac?: string;
  /** Null leaves it out. */
  readonly duid?: readonly number[] | null;
  readonly serverId?: readonly number[];
  readonly ia?: readonly IaSend[];
  readonly ask?: readonly number[];
  readonly rapid?: boolean;
  /** Further options, as they stand on the wire. */
  readonly raw?: readonly number[];
  readonly multicast?: boolean;
}

export interface IaGot {
  readonly code: number;
  readonly iaid: number;
  readonly t1: number;
  readonly t2: number;
  readonly addresses: readonly { ip: string; preferred: number; valid: number }[];
  readonly status: number | null;
}
export interface Got {
  readonly type: number;
  readonly xid: number;
  readonly options: ReadonlyMap<number, readonly number[]>;
  readonly status: number | null;
  readonly ia: readonly IaGot[];
  readonly len: number;
}

/** The MAC of the n-th of many guests. */
export function guestMac(n: number): string {
  return `52:54:00:00:${(n >> 8).toString(16).padStart(2, "0")}:${(n & 255).toString(16).padStart(2, "0")}`;
}

export function duid(name: string): number[] {
  return [0, 2, 0, 0, 0, 0, ...bytesOf(name)];
}

export function option(code: number, data: readonly number[]): number[] {
  return [...u16(code), ...u16(data.length), ...data];
}

export function iaAddr(ip: string, preferred = 0, valid = 0): number[] {
  return option(5, [...ip6(ip), ...u32(preferred), ...u32(valid)]);
}

/** A client's message as UDP payload. */
export function message(send: Send): Uint8Array {
  const { xid = 0x123456, ia = [] } = send;
  const bytes = [send.type, xid >>> 16, ...u16(xid)];
  const id = send.duid === undefined ? duid(send.mac ?? MAC) : send.duid;
  if (id !== null) bytes.push(...option(1, id));
  if (send.serverId) bytes.push(...option(2, send.serverId));
  for (const { code = 3, iaid = 1, addresses = [] } of ia) {
    const times = code === 4 ? [] : new Array<number>(8).fill(0);
    bytes.push(...option(code, [...u32(iaid), ...times, ...addresses.flatMap((ip) => iaAddr(ip))]));
  }
  if (send.ask) bytes.push(...option(6, send.ask.flatMap(u16)));
  if (send.rapid) bytes.push(...option(14, []));
  return Uint8Array.from([...bytes, ...(send.raw ?? [])]);
}

function optionsOf(bytes: Uint8Array): [number, Uint8Array][] {
  const list: [number, Uint8Array][] = [];
  for (let i = 0; i < bytes.length; ) {
    const length = view(bytes).getUint16(i + 2);
    expect(i + 4 + length).toBeLessThanOrEqual(bytes.length);
    list.push([view(bytes).getUint16(i), bytes.subarray(i + 4, i + 4 + length)]);
    i += 4 + length;
  }
  return list;
}

function statusOf(options: readonly [number, Uint8Array][]): number | null {
  const status = options.find(([code]) => code === 13);
  return status === undefined ? null : view(status[1]).getUint16(0);
}

function iaOf(code: number, data: Uint8Array): IaGot {
  const fixed = code === 4 ? 4 : 12;
  const inner = optionsOf(data.subarray(fixed));
  const words = view(data);
  const addresses = inner.flatMap(([kind, a]) => {
    if (kind !== 5) return [];
    return [{ ip: ip6Text(a, 0), preferred: view(a).getUint32(16), valid: view(a).getUint32(20) }];
  });
  const [t1, t2] = fixed === 4 ? [0, 0] : [words.getUint32(4), words.getUint32(8)];
  return { code, iaid: words.getUint32(0), t1, t2, addresses, status: statusOf(inner) };
}

/** One server, told the time. */
export class Script {
  readonly trace: RecordingTrace = new RecordingTrace();
  readonly server: Dhcp6Server;
  now = 1_000_000;
  /** By which messages come; null where many machines are. */
  cable: object | null = null;
  /** Addresses whose holders have been asked whether they are there. */
  readonly asked: string[] = [];

  constructor(config: Partial<Dhcp6Config> = {}) {
    this.server = new Dhcp6Server({ ...CONFIG, ...config }, Uint8Array.from(mac(SERVER_MAC)), this.trace, (address) => {
      return this.asked.push(ip6Text(address, 0)) > 0;
    });
  }

  send(send: Send): Got | null {
    return this.sendBytes(message(send), send.mac, send.multicast);
  }

  sendBytes(bytes: Uint8Array, from: string = MAC, multicast = true): Got | null {
    // The message stands in the middle of other bytes, and the reply must not touch what is behind it.
    const buf = new Uint8Array(bytes.length + 80).fill(0xee);
    buf.set(bytes, 40);
    const out = new Uint8Array(DHCP6_MAX_REPLY + 16).fill(0xdd);
    const len = this.server.receive(buf, 40, bytes.length, from, multicast, this.now, out, this.cable);
    expect(out.subarray(Math.max(len, 0)).every((byte) => byte === 0xdd)).toBe(true);
    if (len === 0) return null;
    const options = optionsOf(out.subarray(4, len));
    const codes = options.map(([code]) => code).filter((code) => ![3, 4, 25].includes(code));
    expect(new Set(codes).size).toBe(codes.length);
    return {
      type: out[0]!,
      xid: view(out).getUint32(0) & 0xffffff,
      options: new Map(options.map(([code, data]) => [code, [...data]])),
      status: statusOf(options),
      ia: options.flatMap(([code, data]) => ([3, 4, 25].includes(code) ? [iaOf(code, data)] : [])),
      len,
    };
  }

  /** Solicit and Request: the address that the client is given, or null. */
  acquire(client: Partial<Send> = {}): string | null {
    const offer = this.send({ type: SOLICIT, ia: [{}], ...client });
    const offered = offer?.ia[0]?.addresses[0]?.ip;
    if (offered === undefined) return null;
    const iaid = client.ia?.[0]?.iaid ?? 1;
    const ia = [{ iaid, addresses: [offered] }];
    const reply = this.send({ type: REQUEST, serverId: SERVER_ID, ...client, ia });
    return reply?.ia[0]?.addresses[0]?.ip ?? null;
  }
}
