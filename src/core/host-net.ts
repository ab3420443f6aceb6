/**
 * The host's sockets, as the NAT sees them. There are two implementations, Node's (`host/`) and a fake
 * (`test/support`); the compliance suite (`test/host/compliance.ts`) tests both against these comments.
 *
 * No callback is called from inside the call that asked for it, except where noted. After `reset`, `close` or `onClose`
 * no callback follows. Nothing here throws because of the network; errors are codes ("ECONNREFUSED").
 */
import type { Endpoint, IpText } from "./address.ts";
import type { Slab } from "./link.ts";

/** The most bytes that one read of a host's TCP socket brings. */
export const MOST_READ = 1_048_576;

export interface HostNet {
  /**
   * Dials. `events.onConnect` or `events.onClose(code)` follows. `names` are the names by which guests know the
   * address, the latest first; a proxy may be chosen by them. `dialName` is the name that a rule has allowed. A proxy
   * may be given that name in place of the address, but no other name, because another name may lead it to another
   * address.
   */
  connectTcp(
    to: Endpoint | UnixEndpoint,
    events: HostTcpEvents,
    names?: readonly string[],
    dialName?: string | null,
  ): HostTcp;
  /**
   * Listens. Resolves when clients can connect; rejects with a Node error (EADDRINUSE, EACCES). Port 0 takes a free
   * port.
   */
  listenTcp(at: Endpoint | UnixEndpoint, onAccept: (socket: AcceptedTcp) => void): Promise<HostListener>;
  /**
   * Opens the socket of a UDP mapping: its own socket, on an unpredictable port, that may exchange datagrams with
   * anyone.
   */
  openUdp(family: 4 | 6, events: HostUdpEvents): HostUdp;
  /** Opens the socket of a UDP forward, on a fixed address. */
  bindUdp(at: Endpoint, events: HostUdpEvents): Promise<HostUdp & HostListener>;
  /**
   * Lets datagrams to the sockets of `openUdp` wait until `uncork`, which follows in the same turn of the event loop:
   * sending many together costs less. Datagrams of one socket keep their order, and are sent before it closes.
   */
  cork(): void;
  /** Sends the waiting datagrams; later ones are sent at once. */
  uncork(): void;
  /**
   * Opens a socket for one echo identifier of a guest (ICMP, ICMPv6). It receives the answers to its own requests and
   * nothing else.
   */
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
  /** The client's address. Clients on a UNIX socket have { host: "127.0.0.1", port: 0 }. */
  readonly remote: Endpoint;
  /**
   * Takes the connection, which reads nothing before `resume()`. If `accept` is not called inside the accept callback,
   * the client is reset.
   */
  accept(events: HostTcpEvents): HostTcp;
}

/** Memory of a flow's that a read may fill: `len` bytes, from `at` in `chunks[first]` on, through the chunks behind it. */
export interface Landing {
  readonly chunks: readonly Uint8Array[];
  readonly first: number;
  readonly at: number;
  readonly len: number;
}

/**
 * The callbacks of one TCP connection. Usually the flow object itself implements them, so that there is no closure per
 * flow.
 */
export interface HostTcpEvents {
  onConnect(): void;
  /**
   * The most bytes that the next `onData` may bring; asked before each read. `more` says that the last read was full,
   * so more bytes wait. Left out: no limit.
   */
  readMost?(more: boolean): number;
  /** Bytes from the host, valid during the call only. Not called while paused. */
  onData(bytes: Uint8Array, at: number, len: number): void;
  /**
   * In place of `onData`, by a host that has read the beginning of a long transfer's next bytes, and can read the others
   * into memory that is not its own: takes the first `len` bytes, and gives room for up to `most` more, for which
   * `landed` follows within the same callback. Null, and nothing is taken, where `onData` is to be used. Left out: for
   * all reads, until it is there.
   */
  readonly landing?: ((bytes: Uint8Array, at: number, len: number, most: number) => Landing | null) | undefined;
  /** So many bytes of the room that `landing` gave are filled; the rest is given back. */
  landed?(len: number): void;
  /** The far end has sent FIN. Writing goes on until `end()`. */
  onEnd(): void;
  /** `backlog` has fallen after having been above zero. May come several times. */
  onDrain(): void;
  /**
   * The connection's end, called once: `null` after both directions ended in order, otherwise an error code:
   * ECONNREFUSED, ECONNRESET, EHOSTUNREACH, ETIMEDOUT…
   */
  onClose(code: string | null): void;
}

export interface HostTcp {
  /** Bytes accepted by `write` that the kernel has not taken yet, and the cost of their buffers. */
  readonly backlog: number;
  /**
   * A second cap, in bytes, on what the guest may be asked to send now; the first is the part of its window that
   * `backlog` leaves. Left out: no second cap.
   */
  readonly windowCap?: number;
  readonly local: Endpoint | null;
  /**
   * Whether the socket can take payload from the guest's memory now (`Slab.elsewhere`). Left out: it needs the whole
   * slab in place.
   */
  readonly takesElsewhere?: boolean;
  /**
   * Writes a view of `slab`. If the kernel does not take it at once, the implementation pins the slab (or copies a few
   * bytes) until it has. All bytes are always accepted: the caller bounds `backlog` by its window.
   */
  write(slab: Slab, at: number, len: number): void;
  /** Writes `count` views of one slab, and what does not go at once waits together. Left out: use `write` for each. */
  writeMany?(slab: Slab, at: Int32Array, len: Int32Array, count: number): void;
  /** Sends a FIN after all written bytes. */
  end(): void;
  pause(): void;
  /** Reads on. A new connection starts paused. */
  resume(): void;
  /** Sends a RST. No callback follows. `code` tells a user within this process why (ECONNRESET). */
  reset(code?: string): void;
}

/** Writes `count` views of one slab, together where the socket can. */
export function writeRuns(socket: HostTcp, slab: Slab, at: Int32Array, len: Int32Array, count: number): void {
  if (count > 1 && socket.writeMany !== undefined) socket.writeMany(slab, at, len, count);
  else for (let i = 0; i < count; i++) socket.write(slab, at[i]!, len[i]!);
}

/** The sender of a datagram. */
export interface UdpSender extends Endpoint {
  /**
   * The address of this host to which the datagram went, if the socket is bound to all addresses and can tell. Answers
   * leave from that address.
   */
  readonly asked?: IpText | undefined;
}

export interface HostUdpEvents {
  /** A datagram from anyone; `bytes` are valid during the call only. Answers are sent to this same `from` object. */
  onDatagram(bytes: Uint8Array, at: number, len: number, from: UdpSender): void;
  /** A datagram to `to` was refused, had no route, or was too big. */
  onUdpError(error: HostIcmpError, to: Endpoint): void;
  /** `count` datagrams were lost because the host had no room. May be called inside `send` or `uncork`. */
  onUdpLost?(count: number): void;
}

export interface HostUdp {
  /**
   * Sends a copy of the bytes. Never throws; a full buffer drops datagrams, which `onUdpLost` reports. Hop limit `ttl`
   * and DF are set as far as the platform allows.
   */
  send(bytes: Uint8Array, at: number, len: number, to: Endpoint, ttl: number, df: boolean): void;
  /** No callback follows. */
  close(): void;
}

/** An error that the network reported about a packet of ours. */
export interface HostIcmpError {
  /** The code of the matching socket error: EHOSTUNREACH, ENETUNREACH, ECONNREFUSED, EMSGSIZE, EACCES… */
  readonly code: string;
  /** The sender of the ICMP error; null when the host itself reported the error. */
  readonly from: IpText | null;
  /** The type and code of the ICMP error, of the packet's family; -1 when no ICMP packet reported it. */
  readonly type: number;
  readonly icmpCode: number;
  /** With EMSGSIZE, the next hop's MTU in bytes; 0 when unknown. */
  readonly mtu: number;
}

export interface HostPingEvents {
  /** `from` has answered request `seq` with this data, valid during the call only. */
  onReply(seq: number, bytes: Uint8Array, at: number, len: number, from: IpText): void;
  /** Request `seq` to `to` failed and will not be answered. */
  onPingError(seq: number, to: IpText, error: HostIcmpError): void;
  /** A request was lost because the host had no room, or no means to send it. May be called inside `send`. */
  onPingLost?(): void;
}

export interface HostPing {
  /**
   * Sends an echo request with a copy of these bytes, with hop limit `ttl` and DF. The host chooses the identifier on
   * the wire. Never throws; if the host has no room or no means, the request is lost.
   */
  send(seq: number, bytes: Uint8Array, at: number, len: number, ttl: number, df: boolean, to: IpText): void;
  /** No callback follows. */
  close(): void;
}

/** The resolver back-end of `proto/dns`: sends raw queries to the host's resolvers. */
export interface HostDns {
  /**
   * `query` is a whole DNS message, which is copied. `onAnswer` follows once, with a whole message that has the query's
   * ID, or with null when no resolver answered in time. `tcp` asks over TCP, which truncates nothing. `servers`, if
   * given, is not empty; they are asked in order in place of the host's own resolvers.
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
