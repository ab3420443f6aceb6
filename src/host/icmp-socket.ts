/**
 * A ping socket (Linux, since 3.0): a datagram socket of the protocol ICMP or ICMPv6 that an unprivileged process may
 * have when `net.ipv4.ping_group_range` includes one of its groups. The kernel chooses the identifier on the wire, sums
 * up, and gives the socket nothing but replies to it; sequence numbers and data are ours.
 *
 * `dgram` adopts the descriptor: it takes any datagram socket of an internet family. Sending goes past it, so that hop
 * limit, DF and packet belong together and an error is known at once.
 */
import { createSocket, type Socket } from "node:dgram";
import type { HostIcmpError, HostPing, HostPingEvents } from "../core/host-net.ts";
import { ICMP_ECHO, ICMP_ECHO_REPLY, ICMP_HEADER } from "../wire/icmp.ts";
import { type Libc, PMTUDISC_DO, PMTUDISC_DONT } from "./libc.ts";

const PROTOCOL = { 4: 1, 6: 58 } as const;
/** RFC 4443 sections 4.1 and 4.2. */
const ECHO = { 4: ICMP_ECHO, 6: 128 } as const;
const ECHO_REPLY = { 4: ICMP_ECHO_REPLY, 6: 129 } as const;
const MAX_PACKET = 65_535;
/** The latest packet on its way into the kernel; the header's checksum and identifier are the kernel's to write. */
const packet: Buffer = Buffer.allocUnsafeSlow(MAX_PACKET);

export class PingSocket implements HostPing {
  readonly #libc: Libc;
  readonly #family: 4 | 6;
  readonly #events: HostPingEvents;
  readonly #fd: number;
  readonly #socket: Socket;
  #hops = 0;
  #pmtu = -1;
  /** The MTU that the host itself has named last. */
  #localMtu = 0;
  #closed = false;

  /** Throws a Node error when the system does not give one (EACCES: not in the range of groups). */
  constructor(libc: Libc, family: 4 | 6, source: string | null, events: HostPingEvents) {
    this.#libc = libc;
    this.#family = family;
    this.#events = events;
    const fd = libc.socket(family, PROTOCOL[family]);
    this.#fd = fd;
    const socket = createSocket({ type: family === 6 ? "udp6" : "udp4" });
    this.#socket = socket;
    try {
      if (source !== null) libc.bind(fd, source);
      libc.set(fd, family, "recvErr", 1);
      socket.on("message", (bytes, { address }) => this.#received(bytes, address));
      socket.on("error", () => this.#drain(false));
      socket.bind({ fd, exclusive: true });
    } catch (error) {
      socket.close();
      libc.close(fd);
      throw error;
    }
  }

  send(seq: number, bytes: Uint8Array, at: number, len: number, ttl: number, df: boolean, to: string): void {
    if (this.#closed || len > MAX_PACKET - ICMP_HEADER) return;
    const libc = this.#libc;
    const fd = this.#fd;
    if (ttl !== this.#hops) libc.set(fd, this.#family, "hops", (this.#hops = ttl));
    const pmtu = df ? PMTUDISC_DO : PMTUDISC_DONT;
    if (pmtu !== this.#pmtu) libc.set(fd, this.#family, "mtuDiscover", (this.#pmtu = pmtu));
    packet.fill(0, 0, ICMP_HEADER);
    packet[0] = ECHO[this.#family];
    packet.writeUInt16BE(seq, 6);
    packet.set(bytes.subarray(at, at + len), ICMP_HEADER);
    let code = libc.send(fd, packet, ICMP_HEADER + len, to);
    if (code === null || code === "EAGAIN" || code === "ENOBUFS") return;
    // What waits in the error queue makes the next send fail in its stead; what is too big is told there, with the MTU.
    this.#localMtu = 0;
    if (this.#drain(true) && code !== "EMSGSIZE") code = libc.send(fd, packet, ICMP_HEADER + len, to);
    if (code !== null) this.#tellLater(seq, to, { code, from: null, type: -1, icmpCode: -1, mtu: this.#localMtu });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.close();
  }

  #received(bytes: Buffer, from: string): void {
    if (this.#closed || bytes.length < ICMP_HEADER || bytes[0] !== ECHO_REPLY[this.#family]) return;
    this.#events.onReply(bytes.readUInt16BE(6), bytes, ICMP_HEADER, bytes.length - ICMP_HEADER, from);
  }

  /** Tells all that the error queue holds, later when a send asked for it. Whether there was anything. */
  #drain(later: boolean): boolean {
    let any = false;
    while (!this.#closed) {
      const e = this.#libc.readError(this.#fd, this.#family);
      if (e === null) break;
      any = true;
      // The host's own word is about the packet in hand, which is not quoted.
      if (e.local) this.#localMtu = e.mtu;
      if (e.local || e.length < ICMP_HEADER) continue;
      const seq = (e.data[6]! << 8) | e.data[7]!;
      const error = { code: e.code, from: e.from, type: e.type, icmpCode: e.icmpCode, mtu: e.mtu };
      if (later) this.#tellLater(seq, e.to, error);
      else this.#events.onPingError(seq, e.to, error);
    }
    return any;
  }

  #tellLater(seq: number, to: string, error: HostIcmpError): void {
    process.nextTick(() => this.#closed || this.#events.onPingError(seq, to, error));
  }
}
