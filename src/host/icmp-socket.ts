/**
 * A ping socket (Linux, since 3.0): a datagram socket of the protocol ICMP or ICMPv6. An unprivileged process may have
 * one if `net.ipv4.ping_group_range` includes one of its groups. The kernel chooses the identifier on the wire,
 * computes the checksum, and gives the socket replies to it only; sequence numbers and data are ours.
 */
import type { HostIcmpError, HostPing, HostPingEvents } from "../core/host-net.ts";
import { get16 } from "../wire/bytes.ts";
import { ICMP_ECHO, ICMP_ECHO_REPLY, ICMP_HEADER } from "../wire/icmp.ts";
import { ICMP6_ECHO, ICMP6_ECHO_REPLY } from "../wire/icmp6.ts";
import { PROTO_ICMP } from "../wire/ipv4.ts";
import { PROTO_ICMP6 } from "../wire/ipv6.ts";
import { HeardSocket } from "./heard-socket.ts";
import { type Inbox, LastSender } from "./inbox.ts";
import type { Libc, QueuedError } from "./libc.ts";

const PROTOCOL = { 4: PROTO_ICMP, 6: PROTO_ICMP6 } as const;
const ECHO = { 4: ICMP_ECHO, 6: ICMP6_ECHO } as const;
const ECHO_REPLY = { 4: ICMP_ECHO_REPLY, 6: ICMP6_ECHO_REPLY } as const;
const MAX_PACKET = 65_535;
/** The packet on its way into the kernel, which writes the header's checksum and identifier. */
const packet: Buffer = Buffer.allocUnsafeSlow(MAX_PACKET);

export class PingSocket extends HeardSocket implements HostPing {
  readonly #family: 4 | 6;
  readonly #events: HostPingEvents;
  readonly #from: LastSender = new LastSender();

  /** Throws a Node error when the system refuses the socket (EACCES: no group of ours is in the range). */
  constructor(libc: Libc, family: 4 | 6, source: string | null, events: HostPingEvents) {
    super(libc, family, open(libc, family, source), false);
    this.#family = family;
    this.#events = events;
  }

  send(seq: number, bytes: Uint8Array, at: number, len: number, ttl: number, df: boolean, to: string): void {
    if (this.closed || len > MAX_PACKET - ICMP_HEADER) return;
    packet.fill(0, 0, ICMP_HEADER);
    packet[0] = ECHO[this.#family];
    packet.writeUInt16BE(seq, 6);
    packet.set(bytes.subarray(at, at + len), ICMP_HEADER);
    this.setOptions(ttl, df);
    const error = this.transmit(packet, ICMP_HEADER + len, to, 0);
    if (error !== null) process.nextTick(() => this.closed || this.#events.onPingError(seq, to, error));
  }

  override lost(): void {
    this.#events.onPingLost?.();
  }

  protected received(inbox: Inbox, i: number, at: number, len: number): void {
    const { bytes } = inbox;
    if (len < ICMP_HEADER || bytes[at] !== ECHO_REPLY[this.#family]) return;
    const { host } = inbox.sender(i, this.#from);
    this.#events.onReply(get16(bytes, at + 6), bytes, at + ICMP_HEADER, len - ICMP_HEADER, host);
  }

  protected heard(e: QueuedError, error: HostIcmpError): (() => void) | null {
    if (e.length < ICMP_HEADER) return null;
    const seq = (e.data[6]! << 8) | e.data[7]!;
    const { to } = e;
    return () => this.#events.onPingError(seq, to, error);
  }
}

function open(libc: Libc, family: 4 | 6, source: string | null): number {
  const fd = libc.socket(family, PROTOCOL[family]);
  try {
    if (source !== null) libc.bind(fd, source, 0);
  } catch (error) {
    libc.close(fd);
    throw error;
  }
  return fd;
}
