/**
 * A host in memory for packet scripts: `HostNet` without sockets, turns or chance.
 *
 * What the code under test does to a socket shows at its far end at once. What the far end does is called back by
 * `run()` and nowhere else. To be as unforgiving as a real host: bytes handed to callbacks are overwritten afterwards,
 * and a write that has to wait reads its slab late, so whoever reuses a pinned slab sends wrong bytes.
 */
import type {
  AcceptedTcp,
  Endpoint,
  HostIcmpError,
  HostListener,
  HostNet,
  HostPing,
  HostPingEvents,
  HostTcp,
  HostTcpEvents,
  HostUdp,
  HostUdpEvents,
  IpText,
  UdpSender,
  UnixEndpoint,
} from "../../src/core/host-net.ts";
import type { Slab } from "../../src/core/link.ts";

export type Answer = "accept" | "hang" | { readonly refuse: string };

/** What a stalled far end's kernel and ours take together before there is a backlog. */
const KERNEL = 65_536;
const READ = 65_536;
/** A read of this many bytes lands in the flow's memory, except for so many at its beginning. */
const LANDS = 32_768;
const BEGINNING = 512;
const MAX_STEPS = 1_000_000;
const readBuffer = new Uint8Array(READ);

const END: unique symbol = Symbol("FIN");
const RESET: unique symbol = Symbol("RST");

/** The other side of a TCP connection. */
export class FakeFar {
  /** Where it was dialled, or the client's own address. */
  readonly at: Endpoint | UnixEndpoint;
  readonly #near: FakeTcp;
  readonly #chunks: Uint8Array[] = [];
  #stalled = false;
  /** Bytes that arrived while it was stalled. */
  #held = 0;
  /** It has seen FIN. */
  ended = false;
  /** `undefined` while open, `null` after both ends' FIN, else the code. */
  closed: string | null | undefined = undefined;

  constructor(at: Endpoint | UnixEndpoint, near: FakeTcp) {
    this.at = at;
    this.#near = near;
  }

  /** The dial has been answered. */
  get connected(): boolean {
    return this.#near.connected;
  }

  /** All bytes that have arrived. */
  get received(): Uint8Array {
    const all = Buffer.concat(this.#chunks);
    return new Uint8Array(all.buffer, all.byteOffset, all.length);
  }

  /** The same as text. */
  get text(): string {
    return Buffer.from(this.received).toString("latin1");
  }

  send(bytes: Uint8Array | string): void {
    if (this.closed !== undefined) return;
    this.#near.arrive(typeof bytes === "string" ? new TextEncoder().encode(bytes) : new Uint8Array(bytes));
  }

  end(): void {
    if (this.closed === undefined) this.#near.arrive(END);
  }

  reset(): void {
    if (this.closed !== undefined) return;
    this.closed = "ECONNRESET";
    this.#near.arrive(RESET);
  }

  /** A dial that nobody answers is given up, as kernels do after some time. */
  giveUp(): void {
    if (!this.connected) this.#near.close("ETIMEDOUT");
  }

  /** Reads no more: soon the near end has a backlog. */
  stall(): void {
    this.#stalled = true;
  }

  unstall(): void {
    this.#stalled = false;
    this.#held = 0;
    this.#near.drain();
  }

  /** Is gone in order, whether or not the near end has ended: what an end within this process may do. */
  leave(): void {
    this.closed = null;
    this.#near.leave();
  }

  /** Reads so many bytes, and no more after them. */
  trickle(len: number): void {
    this.#held -= len;
    this.#near.drain();
  }

  /** Whether it takes `len` bytes more. */
  takes(len: number): boolean {
    return !this.#stalled || this.#held + len <= KERNEL;
  }

  take(bytes: Uint8Array): void {
    if (this.closed !== undefined) return;
    if (this.#stalled) this.#held += bytes.length;
    this.#chunks.push(bytes);
  }
}

interface Pending {
  readonly slab: Slab | null;
  readonly bytes: Uint8Array;
}

class FakeTcp implements HostTcp {
  readonly #host: FakeHost;
  readonly #events: HostTcpEvents;
  readonly #inbox: (Uint8Array | typeof END | typeof RESET)[] = [];
  readonly #pending: Pending[] = [];
  readonly far: FakeFar;
  local: Endpoint | null = null;
  backlog = 0;
  connected = false;
  #paused = true;
  /** The last read left something. */
  #full = false;
  #endWanted = false;
  #endSent = false;
  #endSeen = false;
  #closed = false;

  constructor(host: FakeHost, at: Endpoint | UnixEndpoint, events: HostTcpEvents) {
    this.#host = host;
    this.#events = events;
    this.far = new FakeFar(at, this);
    host.open++;
  }

  open(local: Endpoint | null, tell: boolean): void {
    if (this.#closed) return;
    this.connected = true;
    this.local = local;
    if (tell) this.#events.onConnect();
    this.drain();
    this.#pump();
  }

  get takesElsewhere(): boolean {
    return this.#host.takesElsewhere;
  }

  write(slab: Slab, at: number, len: number): void {
    if (this.#host.takesElsewhere) slab.elsewhere?.fill(at, len);
    if (this.#closed || this.#endWanted || len === 0) return;
    const view = slab.bytes.subarray(at, at + len);
    if (this.far.closed !== undefined) {
      this.#host.defer(() => this.close("EPIPE"));
      return;
    }
    if (this.connected && this.backlog === 0 && this.far.takes(len)) {
      this.far.take(new Uint8Array(view));
      return;
    }
    const pinned = this.connected && this.backlog === 0 && !slab.scarce;
    if (pinned) slab.pin();
    this.#pending.push(pinned ? { slab, bytes: view } : { slab: null, bytes: new Uint8Array(view) });
    this.backlog += len;
  }

  writeMany(slab: Slab, at: Int32Array, len: Int32Array, count: number): void {
    for (let i = 0; i < count; i++) this.write(slab, at[i]!, len[i]!);
  }

  end(): void {
    this.#endWanted = true;
    this.#finish();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#host.defer(() => this.#pump());
  }

  reset(): void {
    if (this.#closed) return;
    this.#over();
    this.far.closed ??= "ECONNRESET";
  }

  arrive(what: Uint8Array | typeof END | typeof RESET): void {
    if (this.#closed) return;
    this.#inbox.push(what);
    this.#host.defer(() => this.#pump());
  }

  leave(): void {
    this.#host.defer(() => this.close(null));
  }

  /** The far end reads again. */
  drain(): void {
    let fell = false;
    while (this.#pending.length > 0 && this.far.takes(this.#pending[0]!.bytes.length) && !this.#closed) {
      const { slab, bytes } = this.#pending.shift()!;
      this.far.take(new Uint8Array(bytes));
      this.backlog -= bytes.length;
      slab?.unpin();
      fell = true;
    }
    this.#finish();
    if (fell) this.#host.defer(() => this.#closed || this.#events.onDrain());
  }

  close(code: string | null): void {
    if (this.#closed) return;
    this.#over();
    this.#events.onClose(code);
  }

  #finish(): void {
    if (!this.#endWanted || this.#endSent || this.#closed || !this.connected || this.backlog > 0) return;
    this.#endSent = true;
    this.far.ended = true;
    this.#bothEnded();
  }

  #bothEnded(): void {
    if (!this.#endSent || !this.#endSeen) return;
    this.far.closed = null;
    this.#host.defer(() => this.close(null));
  }

  #pump(): void {
    while (this.connected && !this.#paused && !this.#closed && this.#inbox.length > 0) {
      const next = this.#inbox[0]!;
      if (next === RESET) this.close("ECONNRESET");
      else if (next === END) {
        this.#inbox.shift();
        this.#endSeen = true;
        this.#bothEnded();
        this.#events.onEnd();
      } else {
        const len = Math.min(next.length, READ, this.#events.readMost?.(this.#full) ?? READ);
        this.#full = len < next.length;
        if (len === next.length) this.#inbox.shift();
        else this.#inbox[0] = next.subarray(len);
        readBuffer.set(next.subarray(0, len));
        if (len < LANDS || !this.#land(len)) this.#events.onData(readBuffer, 0, len);
        readBuffer.fill(0xee, 0, len);
      }
    }
  }

  /** A long read goes into the flow's own memory but for its beginning, as on a real host with the C library. */
  #land(len: number): boolean {
    const landing = this.#events.landing?.(readBuffer, 0, BEGINNING, len - BEGINNING) ?? null;
    if (landing === null) return false;
    let { at } = landing;
    let from = BEGINNING;
    const end = Math.min(len, BEGINNING + landing.len);
    for (let i = landing.first; i < landing.chunks.length && from < end; i++, at = 0) {
      const n = Math.min(end - from, landing.chunks[i]!.length - at);
      landing.chunks[i]!.set(readBuffer.subarray(from, from + n), at);
      from += n;
    }
    // Room for less than was asked for: what did not fit comes by the next read.
    if (from < len) this.#inbox.unshift(readBuffer.slice(from, len));
    this.#events.landed!(from - BEGINNING);
    return true;
  }

  #over(): void {
    this.#closed = true;
    this.#host.open--;
    for (const { slab } of this.#pending) slab?.unpin();
    this.#pending.length = 0;
    this.#inbox.length = 0;
    this.backlog = 0;
  }
}

export interface FakeDatagram {
  readonly bytes: Uint8Array;
  readonly from: Endpoint;
  readonly ttl: number;
  readonly df: boolean;
}

/** What the host says itself, without a packet. */
export function hostError(code: string, mtu = 0): HostIcmpError {
  return { code, from: null, type: -1, icmpCode: -1, mtu };
}

/** Somebody out there with a UDP socket. */
export class FakeUdpFar {
  readonly at: Endpoint;
  readonly received: FakeDatagram[] = [];
  readonly #host: FakeHost;

  constructor(host: FakeHost, at: Endpoint) {
    this.#host = host;
    this.at = at;
  }

  /** To a mapping or a forward of the host. */
  send(bytes: Uint8Array | string, to: Endpoint): void {
    const copy = typeof bytes === "string" ? new TextEncoder().encode(bytes) : new Uint8Array(bytes);
    this.#host.deliver(copy, this.at, to);
  }
}

class FakeUdp implements HostUdp, HostListener {
  readonly address: Endpoint;
  readonly #host: FakeHost;
  readonly #events: HostUdpEvents;
  #closed = false;

  constructor(host: FakeHost, address: Endpoint, events: HostUdpEvents) {
    this.#host = host;
    this.address = address;
    this.#events = events;
    host.open++;
  }

  send(bytes: Uint8Array, at: number, len: number, to: UdpSender, ttl: number, df: boolean): void {
    if (this.#closed || to.port === 0) return;
    if (this.#host.full) return this.#events.onUdpLost?.(1);
    const copy = new Uint8Array(bytes.subarray(at, at + len));
    this.#host.post(() => {
      const error = this.#host.carry(copy, { ...this.address, host: to.asked ?? this.address.host }, to, ttl, df);
      if (error !== null) this.#host.defer(() => this.#closed || this.#events.onUdpError(error, to));
    });
  }

  /** At all addresses it tells which one was asked. */
  deliver(bytes: Uint8Array, from: Endpoint, asked: string): void {
    if (this.#closed) return;
    const everywhere = this.address.host === "0.0.0.0" || this.address.host === "::";
    this.#events.onDatagram(bytes, 0, bytes.length, everywhere ? { ...from, asked } : from);
    bytes.fill(0xee);
  }

  close(): void {
    if (this.#closed) return;
    this.#host.postAll();
    this.#closed = true;
    this.#host.open--;
    this.#host.forgetUdp(this.address.port);
  }
}

/** An echo request that has left the host. */
export class FakeEcho {
  readonly seq: number;
  readonly bytes: Uint8Array;
  readonly ttl: number;
  readonly df: boolean;
  readonly to: IpText;
  readonly #ping: FakePing;

  constructor(ping: FakePing, seq: number, bytes: Uint8Array, ttl: number, df: boolean, to: IpText) {
    this.#ping = ping;
    this.seq = seq;
    this.bytes = bytes;
    this.ttl = ttl;
    this.df = df;
    this.to = to;
  }

  /** A reply comes in on this request's identifier, by default the right one. */
  answer(bytes: Uint8Array = this.bytes, from: IpText = this.to, seq: number = this.seq): void {
    this.#ping.later((events) => {
      const copy = new Uint8Array(bytes);
      events.onReply(seq, copy, 0, copy.length, from);
      copy.fill(0xee);
    });
  }

  fail(error: HostIcmpError): void {
    this.#ping.later((events) => events.onPingError(this.seq, this.to, error));
  }
}

class FakePing implements HostPing {
  readonly #host: FakeHost;
  readonly #events: HostPingEvents;
  #closed = false;

  constructor(host: FakeHost, events: HostPingEvents) {
    this.#host = host;
    this.#events = events;
    host.open++;
  }

  send(seq: number, bytes: Uint8Array, at: number, len: number, ttl: number, df: boolean, to: IpText): void {
    if (this.#closed) return;
    if (this.#host.full) return this.#events.onPingLost?.();
    const echo = new FakeEcho(this, seq, new Uint8Array(bytes.subarray(at, at + len)), ttl, df, to);
    this.#host.pings.push(echo);
    const what = this.#host.answerPing(to);
    if (what === "answer") echo.answer();
    else if (what !== "silence") echo.fail(what);
  }

  later(tell: (events: HostPingEvents) => void): void {
    this.#host.defer(() => this.#closed || tell(this.#events));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#host.open--;
  }
}

const NOBODY: HostTcpEvents = { onConnect() {}, onData() {}, onEnd() {}, onDrain() {}, onClose() {} };

export class FakeHost implements HostNet {
  /** How dials are answered. */
  answer: (to: Endpoint | UnixEndpoint) => Answer = () => "accept";
  /** What becomes of datagrams to where no `udpFar` is: an error, or its code when the host itself says so; null: lost. */
  answerUdp: (to: Endpoint) => string | HostIcmpError | null = () => "ECONNREFUSED";
  /** What becomes of echo requests. */
  answerPing: (to: IpText) => "answer" | "silence" | HostIcmpError = () => "answer";
  /** All echo requests, in order. */
  readonly pings: FakeEcho[] = [];
  /** The far ends of all dials, in order; those refused or unanswered, too. */
  readonly dialled: FakeFar[] = [];
  /** Sockets and listeners that are open. */
  open = 0;
  /** Sockets take what is not in a slab yet from where it stands. */
  takesElsewhere = false;
  /** There is no room for datagrams and pings. */
  full = false;
  readonly #deferred: (() => void)[] = [];
  readonly #listening: Map<string, (socket: AcceptedTcp) => void> = new Map();
  readonly #udp: Map<number, FakeUdp> = new Map();
  readonly #udpFar: Map<string, FakeUdpFar> = new Map();
  #nextPort = 40_000;
  #corked = false;
  /** Datagrams that wait for `uncork`. */
  readonly #posted: (() => void)[] = [];

  connectTcp(to: Endpoint | UnixEndpoint, events: HostTcpEvents): HostTcp {
    const socket = new FakeTcp(this, to, events);
    this.dialled.push(socket.far);
    const answer = this.answer(to);
    if (answer === "accept") {
      const local = "path" in to ? null : { host: to.host.includes(":") ? "::1" : "127.0.0.1", port: this.#nextPort++ };
      this.defer(() => socket.open(local, true));
    } else if (answer !== "hang") this.defer(() => socket.close(answer.refuse));
    return socket;
  }

  async listenTcp(at: Endpoint | UnixEndpoint, onAccept: (socket: AcceptedTcp) => void): Promise<HostListener> {
    const address = "path" in at || at.port !== 0 ? at : { host: at.host, port: this.#nextPort++ };
    const key = keyOf(address);
    if (this.#listening.has(key)) throw inUse(key);
    this.#listening.set(key, onAccept);
    this.open++;
    return {
      address,
      close: () => {
        if (this.#listening.delete(key)) this.open--;
      },
    };
  }

  openUdp(family: 4 | 6, events: HostUdpEvents): HostUdp {
    return this.#addUdp({ host: family === 6 ? "::1" : "127.0.0.1", port: this.#nextPort++ }, events);
  }

  async bindUdp(at: Endpoint, events: HostUdpEvents): Promise<HostUdp & HostListener> {
    const port = at.port === 0 ? this.#nextPort++ : at.port;
    if (this.#udp.has(port)) throw inUse(keyOf(at));
    return this.#addUdp({ host: at.host, port }, events);
  }

  cork(): void {
    this.#corked = true;
  }

  uncork(): void {
    this.#corked = false;
    this.postAll();
  }

  openPing(_family: 4 | 6, events: HostPingEvents): HostPing {
    return new FakePing(this, events);
  }

  /** A client comes to a listener, which hears of it at once. Its `closed` says whether it was taken. */
  dial(at: Endpoint | UnixEndpoint, from: Endpoint = { host: "198.51.100.7", port: this.#nextPort++ }): FakeFar {
    const onAccept = this.#listening.get(keyOf(at));
    if (onAccept === undefined) throw new Error(`nobody listens at ${keyOf(at)}`);
    const remote = "path" in at ? { host: "127.0.0.1", port: 0 } : from;
    let socket: FakeTcp | null = null;
    const accept = (events: HostTcpEvents): FakeTcp => {
      socket = new FakeTcp(this, remote, events);
      socket.open("path" in at ? null : at, false);
      return socket;
    };
    onAccept({ remote, accept });
    if (socket === null) accept(NOBODY).reset();
    return (socket as unknown as FakeTcp).far;
  }

  /** Somebody who receives and sends datagrams at an address. */
  udpFar(at: Endpoint): FakeUdpFar {
    const far = new FakeUdpFar(this, at);
    this.#udpFar.set(keyOf(at), far);
    return far;
  }

  /** Calls back all that is due, and what comes of that. Returns whether there was anything. */
  run(): boolean {
    let steps = 0;
    for (let next = this.#deferred.shift(); next !== undefined; next = this.#deferred.shift()) {
      if (++steps > MAX_STEPS) throw new Error("the callbacks never come to an end");
      next();
    }
    return steps > 0;
  }

  // For the sockets

  defer(callback: () => void): void {
    this.#deferred.push(callback);
  }

  /** Sends a datagram, or keeps it until what waits goes. */
  post(send: () => void): void {
    if (this.#corked) this.#posted.push(send);
    else send();
  }

  postAll(): void {
    for (const send of this.#posted.splice(0)) send();
  }

  carry(bytes: Uint8Array, from: Endpoint, to: Endpoint, ttl: number, df: boolean): HostIcmpError | null {
    const far = this.#udpFar.get(keyOf(to));
    if (far !== undefined) {
      far.received.push({ bytes, from, ttl, df });
      return null;
    }
    const answer = this.answerUdp(to);
    return typeof answer === "string" ? hostError(answer) : answer;
  }

  deliver(bytes: Uint8Array, from: Endpoint, to: Endpoint): void {
    this.defer(() => this.#udp.get(to.port)?.deliver(bytes, from, to.host));
  }

  forgetUdp(port: number): void {
    this.#udp.delete(port);
  }

  #addUdp(address: Endpoint, events: HostUdpEvents): FakeUdp {
    const socket = new FakeUdp(this, address, events);
    this.#udp.set(address.port, socket);
    return socket;
  }
}

function keyOf(at: Endpoint | UnixEndpoint): string {
  return "path" in at ? at.path : `${at.host} ${at.port}`;
}

function inUse(key: string): Error {
  const error: NodeJS.ErrnoException = new Error(`listen EADDRINUSE ${key}`);
  error.code = "EADDRINUSE";
  return error;
}
