/**
 * UDP sockets of the host, by Node's own means; where the C library can be had, `udp-heard.ts` does better.
 *
 * A mapping has one local port for all its destinations (RFC 4787 section 4.1), and receives from anyone. That takes a
 * *wide*, unconnected socket. But Linux reports ICMP errors to an unconnected socket only with IP_RECVERR, which Node
 * cannot set. So each of the latest few destinations has a *peer*, too: a socket on the same port, connected to that
 * destination. The kernel gives a peer the datagrams and errors of its destination, and the wide socket all others.
 *
 * Two sockets on one port both need SO_REUSEADDR, and with it bind would silently share a port with a stranger. So a
 * port is first taken exclusively, which fails if anyone has it, and then, in the same turn, with SO_REUSEADDR.
 *
 * Given addresses instead of names, and a `lookup` that answers at once, Node's bind and connect are done when they
 * return (`test/host/udp.test.ts` proves it), so nothing here waits for a socket. Where a peer cannot be had (no
 * descriptors, too many destinations) the wide socket sends: the datagram goes out, but its errors are not heard.
 */
import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import type { Endpoint, HostIcmpError, HostListener, HostUdp, HostUdpEvents } from "../core/host-net.ts";
import type { Random } from "../core/random.ts";
import type { OwnPorts } from "./own-ports.ts";

const PEERS = 4;
/** A peer that has been idle for this long makes room for a new destination, so many destinations need few sockets. */
const PEER_IDLE_MS = 1_000;
/** Ports are chosen from the upper half, where no services are. */
const FIRST_PORT = 32_768;
export const PORT_TRIES = 16;
/** How many peers all mappings together may have, since each costs a descriptor. */
export const MAX_PEERS = 1_024;
const MAX_DATAGRAM = 65_536;

export function randomPort(random: Random): number {
  return FIRST_PORT + (random.u32() >>> 17);
}

/** Addresses only: answers at once, without the thread pool. */
function lookup(host: string, _family: unknown, done: (error: null, address: string, family: number) => void): void {
  done(null, host, host.includes(":") ? 6 : 4);
}

/** The datagram on its way into the kernel. Replaced when a socket had to keep it. */
let scratch: Buffer = Buffer.allocUnsafeSlow(MAX_DATAGRAM);

/** State that all mappings of a network share. */
export interface UdpEnv {
  readonly random: Random;
  readonly outboundAddr: string | null;
  readonly ownPorts: OwnPorts;
  /** How many peers there are. */
  peers: number;
}

/** The source address of a family's mappings. */
export function udpSource({ outboundAddr }: UdpEnv, family: 4 | 6): string {
  if (outboundAddr?.includes(":") === (family === 6)) return outboundAddr;
  return family === 6 ? "::" : "0.0.0.0";
}

/** A mapping whose socket could not be made: each send fails with that error. */
export function brokenUdp(code: string, events: HostUdpEvents): HostUdp {
  const receiver = new Receiver(events);
  return {
    send: (_bytes, _at, _len, to) => process.nextTick(() => receiver.failed(code, to)),
    close() {
      receiver.closed = true;
    },
  };
}

type OnMessage = (bytes: Uint8Array, from: RemoteInfo) => void;

/** A dgram socket that throws nothing. */
class RawUdp {
  readonly #socket: Socket;
  #bindError: NodeJS.ErrnoException | null = null;
  #open = true;
  #ttl = -1;

  /** `onError` is called with the codes of receive errors. */
  constructor(family: 4 | 6, reuseAddr: boolean, onMessage: OnMessage, onError: (code: string) => void) {
    const type = family === 6 ? "udp6" : "udp4";
    this.#socket = createSocket({ type, reuseAddr, ipv6Only: family === 6, lookup: lookup as never });
    this.#socket.on("message", onMessage);
    let bound = false;
    this.#socket.once("listening", () => {
      bound = true;
    });
    this.#socket.on("error", (error: NodeJS.ErrnoException) => {
      if (!bound) this.#bindError = error;
      else if (this.#open) onError(error.code ?? "EIO");
    });
  }

  /** Null when bound; otherwise the error, and the socket is closed. */
  bind(address: string, port: number): NodeJS.ErrnoException | null {
    this.#socket.bind({ address, port, exclusive: true });
    if (this.#bindError !== null) this.close();
    return this.#bindError;
  }

  /** True when connected; otherwise the socket is closed. */
  connect(to: Endpoint): boolean {
    // With a callback, a failure causes no 'error' event.
    this.#socket.connect(to.port, to.host, () => {});
    try {
      this.#socket.remoteAddress();
      return true;
    } catch {
      this.close();
      return false;
    }
  }

  get port(): number {
    return this.#socket.address().port;
  }

  /**
   * `to` is null on a connected socket. False, and the datagram is lost, while an earlier one waits for room in the
   * kernel.
   */
  send(
    bytes: Uint8Array,
    at: number,
    len: number,
    to: Endpoint | null,
    ttl: number,
    onSent: (error: Error | null) => void,
  ): boolean {
    const socket = this.#socket;
    if (!this.#open || len > MAX_DATAGRAM || socket.getSendQueueSize() > 0) return false;
    if (ttl !== this.#ttl) socket.setTTL((this.#ttl = ttl));
    scratch.set(bytes.subarray(at, at + len));
    if (to === null) socket.send(scratch, 0, len, onSent);
    else socket.send(scratch, 0, len, to.port, to.host, onSent);
    if (socket.getSendQueueSize() > 0) scratch = Buffer.allocUnsafeSlow(MAX_DATAGRAM);
    return true;
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#socket.close();
  }
}

/** Tells where a socket's datagrams come from, without making an `Endpoint` for each. */
class Receiver {
  readonly #events: HostUdpEvents;
  #from: Endpoint = { host: "", port: -1 };
  closed = false;
  readonly onMessage: OnMessage = (bytes, { address, port }) => {
    if (this.closed) return;
    if (port !== this.#from.port || address !== this.#from.host) this.#from = { host: address, port };
    this.#events.onDatagram(bytes, 0, bytes.length, this.#from);
  };

  constructor(events: HostUdpEvents) {
    this.#events = events;
  }

  lost(): void {
    this.#events.onUdpLost?.(1);
  }

  failed(code: string, to: Endpoint): void {
    const error: HostIcmpError = { code, from: null, type: -1, icmpCode: -1, mtu: 0 };
    if (!this.closed) this.#events.onUdpError(error, to);
  }

  sent(error: NodeJS.ErrnoException | null, to: Endpoint): void {
    if (error !== null) this.failed(error.code ?? "EIO", to);
  }
}

interface Peer {
  readonly to: Endpoint;
  readonly socket: RawUdp;
  readonly onSent: (error: NodeJS.ErrnoException | null) => void;
  /** When another peer became the latest one. */
  usedAt: number;
}

/** One endpoint-independent mapping. Its sockets are made with its first datagram. */
export class NodeUdp implements HostUdp {
  readonly #env: UdpEnv;
  readonly #family: 4 | 6;
  readonly #address: string;
  readonly #receiver: Receiver;
  #port = 0;
  #wide: RawUdp | null = null;
  readonly #peers: Peer[] = [];
  #latest: Peer | null = null;

  constructor(env: UdpEnv, family: 4 | 6, events: HostUdpEvents) {
    this.#env = env;
    this.#family = family;
    this.#receiver = new Receiver(events);
    this.#address = udpSource(env, family);
  }

  /** The kernel chooses DF, because Node cannot. */
  send(bytes: Uint8Array, at: number, len: number, to: Endpoint, ttl: number): void {
    // Port 0 cannot be sent to; Node would throw.
    if (this.#receiver.closed || to.port === 0) return;
    if (this.#env.ownPorts.hasUdp(to.host, to.port)) {
      process.nextTick(() => this.#receiver.failed("ECONNREFUSED", to));
      return;
    }
    if (this.#wide === null) {
      const error = this.#openWide();
      if (error !== null) {
        process.nextTick(() => this.#receiver.failed(error.code ?? "EIO", to));
        return;
      }
    }
    const peer = this.#peerOf(to);
    const sent =
      peer !== null
        ? peer.socket.send(bytes, at, len, null, ttl, peer.onSent)
        : this.#wide!.send(bytes, at, len, to, ttl, (error) => this.#receiver.sent(error, to));
    if (!sent) this.#receiver.lost();
  }

  close(): void {
    this.#receiver.closed = true;
    this.#wide?.close();
    this.#wide = null;
    while (this.#peers.length > 0) this.#drop(this.#peers[0]!);
  }

  #openWide(): NodeJS.ErrnoException | null {
    const { onMessage } = this.#receiver;
    for (let tries = 1; ; tries++) {
      const port = randomPort(this.#env.random);
      const probe = new RawUdp(this.#family, false, onMessage, ignore);
      const taken = probe.bind(this.#address, port);
      if (taken !== null) {
        if (taken.code === "EADDRINUSE" && tries < PORT_TRIES) continue;
        return taken;
      }
      probe.close();
      // Receive errors of an unconnected socket concern no destination in particular.
      const wide = new RawUdp(this.#family, true, onMessage, ignore);
      const error = wide.bind(this.#address, port);
      if (error !== null) return error;
      this.#wide = wide;
      this.#port = port;
      return null;
    }
  }

  /** The socket connected to `to`; null when there is none to be had. */
  #peerOf(to: Endpoint): Peer | null {
    const latest = this.#latest;
    if (latest !== null && isTo(latest, to)) return latest;
    const now = performance.now();
    if (latest !== null) latest.usedAt = now;
    let peer: Peer | null = null;
    let oldest: Peer | null = null;
    for (const p of this.#peers) {
      if (isTo(p, to)) peer = p;
      else if (oldest === null || p.usedAt < oldest.usedAt) oldest = p;
    }
    if (peer === null) {
      if (this.#peers.length === PEERS && oldest !== null && now - oldest.usedAt > PEER_IDLE_MS) this.#drop(oldest);
      if (this.#peers.length < PEERS && this.#env.peers < MAX_PEERS) peer = this.#openPeer(to);
    }
    this.#latest = peer;
    return peer;
  }

  #openPeer(to: Endpoint): Peer | null {
    const onError = (code: string): void => {
      // A peer survives a refusal. After other errors its route or source address may be gone: the next peer finds
      // another.
      if (code !== "ECONNREFUSED" && code !== "EMSGSIZE") this.#drop(peer);
      this.#receiver.failed(code, to);
    };
    const socket = new RawUdp(this.#family, true, this.#receiver.onMessage, onError);
    const onSent = (error: NodeJS.ErrnoException | null): void => {
      if (error !== null) onError(error.code ?? "EIO");
    };
    const peer: Peer = { to, socket, onSent, usedAt: 0 };
    // An unreachable destination shows here; the wide socket gets the same error and reports it.
    if (socket.bind(this.#address, this.#port) !== null || !socket.connect(to)) return null;
    this.#peers.push(peer);
    this.#env.peers++;
    return peer;
  }

  #drop(peer: Peer): void {
    const i = this.#peers.indexOf(peer);
    if (i < 0) return;
    this.#peers.splice(i, 1);
    this.#env.peers--;
    if (this.#latest === peer) this.#latest = null;
    peer.socket.close();
  }
}

function isTo(peer: Peer, to: Endpoint): boolean {
  return peer.to === to || (peer.to.port === to.port && peer.to.host === to.host);
}

function ignore(): void {}

/** A forward's socket: one fixed address and a wide socket only. Throws the bind's error. */
export class BoundUdp implements HostUdp, HostListener {
  readonly address: Endpoint;
  readonly #receiver: Receiver;
  readonly #socket: RawUdp;

  constructor(at: Endpoint, events: HostUdpEvents) {
    this.#receiver = new Receiver(events);
    this.#socket = new RawUdp(at.host.includes(":") ? 6 : 4, false, this.#receiver.onMessage, ignore);
    const error = this.#socket.bind(at.host, at.port);
    if (error !== null) throw error;
    this.address = { host: at.host, port: this.#socket.port };
  }

  send(bytes: Uint8Array, at: number, len: number, to: Endpoint, ttl: number): void {
    if (this.#receiver.closed || to.port === 0) return;
    const sent = this.#socket.send(bytes, at, len, to, ttl, (error) => this.#receiver.sent(error, to));
    if (!sent) this.#receiver.lost();
  }

  close(): void {
    this.#receiver.closed = true;
    this.#socket.close();
  }
}
