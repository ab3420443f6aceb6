/**
 * A DHCP client for packet scripts: builds messages from named fields, and reads replies with a reader of its own, so
 * that a fault in `wire/dhcp.ts` cannot hide behind itself.
 */
import type { StackConfig } from "../../src/core/config.ts";
import { DEFAULT_LIMITS } from "../../src/core/limits.ts";
import type { DropReason, TraceEvent } from "../../src/core/trace.ts";
import { DHCP_MAX_REPLY, DhcpServer } from "../../src/proto/dhcp.ts";
import { hexFixture } from "../support/hex-fixture.ts";

export const DISCOVER = 1;
export const OFFER = 2;
export const REQUEST = 3;
export const DECLINE = 4;
export const ACK = 5;
export const NAK = 6;
export const RELEASE = 7;
export const INFORM = 8;

export const CONFIG: StackConfig = {
  net: "10.0.2.0",
  prefix: 24,
  host: "10.0.2.2",
  dns: "10.0.2.3",
  dhcpStart: "10.0.2.15",
  dhcpCount: 16,
  ipv4: true,
  ipv6: true,
  net6: "fec0::",
  prefix6: 64,
  host6: "fec0::2",
  dns6: "fec0::3",
  firstGuest: "10.0.2.15",
  hostname: null,
  domainname: null,
  dnssearch: [],
  tftpServerName: null,
  bootfile: null,
  staticLeases: new Map(),
  mtu: 1500,
  restrict: false,
  hostOnly: false,
  isolate: false,
  reserved: [],
  hostLoopback: true,
  dnsRebind: true,
  dnsHosts: [],
  dnsZones: [],
  gateway: true,
  dhcp: true,
  forwards: [],
  limits: DEFAULT_LIMITS,
};

export interface Send {
  /** 0 leaves option 53 out (BOOTP). */
  type?: number;
  mac?: string;
  xid?: number;
  flags?: number;
  ciaddr?: string;
  giaddr?: string;
  srcIp?: string;
  requestedIp?: string;
  serverId?: string;
  maxSize?: number;
  /** Option 55. */
  ask?: readonly number[];
  clientId?: readonly number[];
  hostname?: string;
  vendorClass?: string;
  op?: number;
  hlen?: number;
  cookie?: boolean;
  /** Further options, as they stand on the wire. */
  raw?: readonly number[];
  /** The message is padded to this length. */
  pad?: number;
}

export interface Got {
  readonly type: number | null;
  readonly xid: number;
  readonly flags: number;
  readonly ciaddr: string;
  readonly yiaddr: string;
  readonly siaddr: string;
  readonly chaddr: string;
  readonly sname: string;
  readonly file: string;
  /** The codes in the order of the option field. */
  readonly order: readonly number[];
  /** All options, those in `file` and `sname` included. */
  readonly options: ReadonlyMap<number, readonly number[]>;
  readonly len: number;
  readonly to: string;
  readonly broadcast: boolean;
}

export const MAC = "52:54:00:12:34:56";

/** The MAC of the n-th of many guests. */
export function guestMac(n: number): string {
  return `52:54:00:00:${(n >> 8).toString(16).padStart(2, "0")}:${(n & 255).toString(16).padStart(2, "0")}`;
}

export function ip4(text: string): number[] {
  return text.split(".").map(Number);
}

export function ascii(text: string): number[] {
  return [...text].map((c) => c.charCodeAt(0));
}

function number(text: string): number {
  return new DataView(Uint8Array.from(ip4(text)).buffer).getInt32(0);
}

function dotted(value: number): string {
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join(".");
}

/** A client's message as UDP payload. */
export function message(send: Send): Uint8Array {
  const bytes = new Array<number>(240).fill(0);
  const put = (at: number, values: readonly number[]): void => {
    for (const [i, value] of values.entries()) bytes[at + i] = value;
  };
  const xid = send.xid ?? 0x12345678;
  put(0, [send.op ?? 1, 1, send.hlen ?? 6, 0, xid >>> 24, (xid >>> 16) & 255, (xid >>> 8) & 255, xid & 255]);
  put(10, [(send.flags ?? 0) >>> 8, (send.flags ?? 0) & 255]);
  put(12, ip4(send.ciaddr ?? "0.0.0.0"));
  put(24, ip4(send.giaddr ?? "0.0.0.0"));
  put(
    28,
    (send.mac ?? MAC).split(":").map((part) => Number.parseInt(part, 16)),
  );
  if (send.cookie ?? true) {
    put(236, [99, 130, 83, 99]);
    const option = (code: number, data: readonly number[] | undefined): void => {
      if (data !== undefined) bytes.push(code, data.length, ...data);
    };
    const type = send.type ?? DISCOVER;
    option(53, type === 0 ? undefined : [type]);
    option(50, send.requestedIp === undefined ? undefined : ip4(send.requestedIp));
    option(54, send.serverId === undefined ? undefined : ip4(send.serverId));
    option(57, send.maxSize === undefined ? undefined : [send.maxSize >> 8, send.maxSize & 255]);
    option(61, send.clientId);
    option(12, send.hostname === undefined ? undefined : ascii(send.hostname));
    option(60, send.vendorClass === undefined ? undefined : ascii(send.vendorClass));
    option(55, send.ask);
    bytes.push(...(send.raw ?? []), 255);
  }
  while (bytes.length < (send.pad ?? 0)) bytes.push(0);
  return Uint8Array.from(bytes);
}

/** Reads a reply, and fails on anything malformed in it. */
export function parse(out: Uint8Array, len: number, dstIp: number, broadcast: boolean): Got {
  const view = new DataView(out.buffer, out.byteOffset, len);
  if (view.getUint8(0) !== 2 || view.getUint8(2) !== 6) throw new Error("not a reply");
  if (view.getUint32(236) !== 0x63825363) throw new Error("no cookie");
  const options = new Map<number, readonly number[]>();
  const order: number[] = [];
  const read = (from: number, end: number): void => {
    let i = from;
    while (out[i] !== 255) {
      if (i >= end) throw new Error("no end option");
      const code = out[i]!;
      if (code === 0) {
        i++;
        continue;
      }
      const next = i + 2 + out[i + 1]!;
      if (next >= end) throw new Error(`option ${code} overruns`);
      options.set(code, [...(options.get(code) ?? []), ...out.subarray(i + 2, next)]);
      if (order.at(-1) !== code) order.push(code);
      i = next;
    }
    while (++i < end) if (out[i] !== 0) throw new Error(`byte ${i} behind the end option`);
  };
  read(240, len);
  const overload = options.get(52)?.[0] ?? 0;
  if (overload & 1) read(108, 236);
  if (overload & 2) read(44, 108);
  const text = (from: number, end: number): string =>
    String.fromCharCode(...out.subarray(from, end)).replace(/\0.*$/s, "");
  return {
    type: options.get(53)?.[0] ?? null,
    xid: view.getUint32(4),
    flags: view.getUint16(10),
    ciaddr: dotted(view.getInt32(12)),
    yiaddr: dotted(view.getInt32(16)),
    siaddr: dotted(view.getInt32(20)),
    chaddr: [...out.subarray(28, 34)].map((byte) => byte.toString(16).padStart(2, "0")).join(":"),
    sname: overload & 2 ? "" : text(44, 108),
    file: overload & 1 ? "" : text(108, 236),
    order,
    options,
    len,
    to: dotted(dstIp),
    broadcast,
  };
}

export class Script {
  readonly server: DhcpServer;
  readonly drops: DropReason[] = [];
  readonly events: TraceEvent[] = [];
  now = 1_000;
  /** By which messages come. */
  cable: object | null = null;
  /** Addresses whose holders have been asked whether they are there. */
  readonly asked: string[] = [];
  readonly #out = new Uint8Array(DHCP_MAX_REPLY);

  constructor(config: Partial<StackConfig> = {}) {
    this.server = new DhcpServer(
      { ...CONFIG, ...config },
      { drop: (reason) => this.drops.push(reason), event: (event) => this.events.push(event) },
      ({ ip }) => this.asked.push(dotted(ip)) > 0,
    );
  }

  /** Those who were asked and are there answer. */
  answer(...addresses: readonly string[]): void {
    for (const address of addresses) this.server.heard(number(address));
  }

  /** Sends a message; null is silence. */
  send(send: Send): Got | null {
    return this.sendBytes(message(send), send.srcIp ?? "0.0.0.0");
  }

  /** The message stands at an odd offset among foreign bytes, and the reply goes over a dirty buffer. */
  sendBytes(bytes: Uint8Array, srcIp = "0.0.0.0"): Got | null {
    const frame = new Uint8Array(bytes.length + 100).fill(0xff);
    frame.set(bytes, 43);
    this.#out.fill(0xa5);
    const reply = this.server.receive(frame, 43, bytes.length, number(srcIp), this.now, this.#out, this.cable);
    return reply === null ? null : parse(this.#out, reply.len, reply.dstIp, reply.broadcast);
  }

  /** DISCOVER and REQUEST; the address bound, or null. */
  acquire(send: Send = {}): string | null {
    const offer = this.send({ ...send, type: DISCOVER });
    if (offer === null) return null;
    const ack = this.send({ ...send, type: REQUEST, requestedIp: offer.yiaddr, serverId: "10.0.2.2" });
    return ack?.type === ACK ? ack.yiaddr : null;
  }

  /** The addresses bound now. */
  bound(): string[] {
    return this.server.leases(this.now).map((lease) => lease.ip);
  }
}

/** An annotated message from `fixtures/dhcp`. */
export function fixture(name: string): Uint8Array {
  return hexFixture(`dhcp/${name}`);
}
