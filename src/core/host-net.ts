/**
 * The host's sockets, as the NAT sees them. Two implementations: Node's (`host/`) and a fake (`test/support`); one
 * compliance suite (`test/host/compliance.ts`) holds both to these words.
 *
 * No callback is ever called from inside the call that asked for it, except where said. After `reset`, `close` or
 * `onClose` no callback follows. Nothing here throws for what the network does; errors are codes ("ECONNREFUSED").
 */
import type { Endpoint, IpText } from "./address.ts";
import type { Slab } from "./link.ts";

export interface HostNet {
  /**
   * Dials. `events.onConnect` or `events.onClose(code)` follows. `names` are those by which guests know the address, the
   * latest first: by them a proxy may be chosen. `dialName` is the one that a rule has allowed, in place of the address: a
   * proxy may be given that one, and no other name, since it may lead there to another address than here.
   */
  connectTcp(
    to: Endpoint | UnixEndpoint,
    events: HostTcpEvents,
    names?: readonly string[],
    dialName?: string | null,
  ): HostTcp;
  /** Accepts: resolves when listening, rejects with a Node error (EADDRINUSE, EACCES). Port 0 takes a free one. */
  listenTcp(at: Endpoint | UnixEndpoint, onAccept: (socket: AcceptedTcp) => void): Promise<HostListener>;
  /** One UDP mapping: a socket of its own on an unpredictable port that may speak with anyone. */
  openUdp(family: 4 | 6, events: HostUdpEvents): HostUdp;
  /** A UDP port forward's socket on a fixed address. */
  bindUdp(at: Endpoint, events: HostUdpEvents): Promise<HostUdp & HostListener>;
  /**
   * From now until `uncork`, which follows in the same turn of the event loop, datagrams to `openUdp`'s sockets may wait:
   * many that go together cost less. Those of one socket keep their order, and go before it closes.
   */
  cork(): void;
  /** What waits goes, and further datagrams at once. */
  uncork(): void;
  /** One of a guest's echo identifiers (ICMP, ICMPv6). It hears the answers to its own requests and nothing else. */
  openPing(family: 4 | 6, events: HostPingEvents): HostPing;
}

export interface UnixEndpoint {
  readonly path: string;
}

/** A listening socket. */
export interface HostListener {
  readonly address: Endpoint | UnixEndpoint;
  close(): void;
}

export interface AcceptedTcp {
  /** The client. UNIX clients show as { host: "127.0.0.1", port: 0 }. */
  readonly remote: Endpoint;
  /** Takes the connection. It reads nothing before `resume()`. Must be called in the accept callback or the client is reset. */
  accept(events: HostTcpEvents): HostTcp;
}

/** The callbacks of one TCP connection. Usually the flow object itself, so that there is no closure per flow. */
export interface HostTcpEvents {
  onConnect(): void;
  /**
   * How many bytes the next `onData` is to bring at the most; asked before each read. `more` says that the read before was
   * full, so that there is more. Left out: as many as come.
   */
  readMost?(more: boolean): number;
  /** Bytes from the host, valid during the call only. Not called while paused. */
  onData(bytes: Uint8Array, at: number, len: number): void;
  /** The far end has sent FIN. Writing goes on until `end()`. */
  onEnd(): void;
  /** `backlog` has fallen after having been above zero. May come several times. */
  onDrain(): void;
  /** The end, once: `null` after both directions ended in order, otherwise an error code: ECONNREFUSED, ECONNRESET, EHOSTUNREACH, ETIMEDOUT… */
  onClose(code: string | null): void;
}

export interface HostTcp {
  /** Bytes accepted by `write` that the kernel has not taken yet, and what many small writes cost beside them. */
  readonly backlog: number;
  /** The most bytes that the guest may be asked to send now, beside what `backlog` leaves of its window. Left out: no cap. */
  readonly windowCap?: number;
  readonly local: Endpoint | null;
  /** Now it could take payload from where the guest has it (`Slab.elsewhere`). Left out: it needs all of a slab in place. */
  readonly takesElsewhere?: boolean;
  /**
   * Writes a view of `slab`. If the kernel does not take it all at once, the implementation pins the slab (or copies,
   * when the bytes are few) until it has. All bytes are always accepted: the caller bounds `backlog` by its window.
   */
  write(slab: Slab, at: number, len: number): void;
  /** The same for `count` views of one slab, together where the kernel takes them so. Left out: `write` one by one. */
  writeMany?(slab: Slab, at: Int32Array, len: Int32Array, count: number): void;
  /** FIN after all that was written. */
  end(): void;
  pause(): void;
  /** A new connection starts paused. */
  resume(): void;
  /** RST. No callback follows. `code` says why to an end within this process (ECONNRESET), whose user is told. */
  reset(code?: string): void;
}

/** Writes `count` views of one slab, together where the socket takes them so. */
export function writeRuns(socket: HostTcp, slab: Slab, at: Int32Array, len: Int32Array, count: number): void {
  if (count > 1 && socket.writeMany !== undefined) socket.writeMany(slab, at, len, count);
  else for (let i = 0; i < count; i++) socket.write(slab, at[i]!, len[i]!);
}

/** Who has sent a datagram. */
export interface UdpSender extends Endpoint {
  /** The address of this host that was asked, where a socket is at all of them and can tell: answers to it leave from there. */
  readonly asked?: IpText | undefined;
}

export interface HostUdpEvents {
  /** A datagram from anyone; `bytes` valid during the call only. An answer goes to `from` as it is given here. */
  onDatagram(bytes: Uint8Array, at: number, len: number, from: UdpSender): void;
  /** A datagram to `to` was refused, found no way, or was too big. */
  onUdpError(error: HostIcmpError, to: Endpoint): void;
  /** So many datagrams were lost for want of room in the host; within `send` or `uncork`. */
  onUdpLost?(count: number): void;
}

export interface HostUdp {
  /**
   * Sends a copy; bytes may be reused at once. Never throws; a full buffer drops, as UDP may, which is told. Hop limit `ttl` and DF are
   * kept as far as the platform lets us.
   */
  send(bytes: Uint8Array, at: number, len: number, to: Endpoint, ttl: number, df: boolean): void;
  /** No callback follows. */
  close(): void;
}

/** What the network said about a packet of ours. */
export interface HostIcmpError {
  /** As a socket would fail: EHOSTUNREACH, ENETUNREACH, ECONNREFUSED, EMSGSIZE, EACCES… */
  readonly code: string;
  /** Who said so; null when it was the host itself. */
  readonly from: IpText | null;
  /** ICMP's own type and code, of the packet's family; -1 when it was no packet that said so. */
  readonly type: number;
  readonly icmpCode: number;
  /** The next hop's MTU with EMSGSIZE; 0 when not known. */
  readonly mtu: number;
}

export interface HostPingEvents {
  /** `from` has answered request `seq` with this data, valid during the call only. */
  onReply(seq: number, bytes: Uint8Array, at: number, len: number, from: IpText): void;
  /** Request `seq` to `to` will not be answered. */
  onPingError(seq: number, to: IpText, error: HostIcmpError): void;
  /** A request was lost for want of room in the host, or of what could send it; within `send`. */
  onPingLost?(): void;
}

export interface HostPing {
  /**
   * Sends an echo request with a copy of these bytes, hop limit `ttl`, and DF as said. The identifier on the wire is the
   * host's. Never throws; what the host has no room or no means for is lost.
   */
  send(seq: number, bytes: Uint8Array, at: number, len: number, ttl: number, df: boolean, to: IpText): void;
  /** No callback follows. */
  close(): void;
}

/** What a resolver back-end does for `proto/dns`: one raw query to the host's resolvers. */
export interface HostDns {
  /**
   * `query` is a whole DNS message (copied). `onAnswer` follows once, with a whole message whose ID is the query's,
   * or with null when no resolver answered in time. `tcp` asks over TCP (no truncation). `servers`, of which there is one
   * at least, are to be asked in place of the host's own, in their order.
   */
  query(
    query: Uint8Array,
    tcp: boolean,
    onAnswer: (answer: Uint8Array | null) => void,
    servers?: readonly Endpoint[],
  ): void;
  close(): void;
}

export type { Endpoint, IpText };
