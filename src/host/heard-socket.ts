/**
 * A datagram socket that receives the ICMP errors about the datagrams that it has sent, each with its sender and the
 * destination concerned (Linux, `libc.ts`). Node's unconnected sockets do not.
 *
 * We send by a call of our own, so that hop limit, DF and packet belong together and an error is known at once. We read
 * by a call of our own, too, many datagrams at a time (`inbox.ts`).
 */
import type { HostIcmpError } from "../core/host-net.ts";
import { type Inbox, MESSAGES, READS, sharedInbox } from "./inbox.ts";
import { isFull, type Libc, PMTUDISC_DO, PMTUDISC_DONT, type QueuedError } from "./libc.ts";
import { type Readable, readableDescriptor } from "./readable.ts";

export abstract class HeardSocket {
  readonly fd: number;
  protected closed = false;
  readonly #libc: Libc;
  readonly #family: 4 | 6;
  readonly #socket: Readable;
  #hops = 0;
  #pmtu = -1;
  /** The MTU that the kernel's own last error named, in bytes. */
  #localMtu = 0;

  /** Whether equal datagrams are read in runs (`Libc.readRuns`). */
  readonly #runs: boolean;

  /** Takes the descriptor, bound or not. `runs`: it is a UDP socket, which reads in runs. */
  constructor(libc: Libc, family: 4 | 6, fd: number, runs: boolean) {
    this.#libc = libc;
    this.#family = family;
    this.fd = fd;
    this.#runs = runs;
    libc.set(fd, family, "recvErr", 1);
    if (runs) libc.readRuns(fd);
    const inbox = sharedInbox(libc);
    this.#socket = readableDescriptor(fd, () => this.#read(inbox));
  }

  /** Message `i` of the inbox is for this socket: `len` bytes at `at`, valid during the call only. */
  protected abstract received(inbox: Inbox, i: number, at: number, len: number): void;
  /** Returns what to do about an error later; null for nothing. `e` is valid during the call only. */
  protected abstract heard(e: QueuedError, error: HostIcmpError): (() => void) | null;

  #read(inbox: Inbox): void {
    for (let reads = 0; reads < READS && !this.closed; reads++) {
      const count = inbox.receive(this.fd, this.#runs);
      if (count < 0) {
        // No datagram was read: the socket woke us for its error queue.
        if (reads === 0) for (const tell of this.#drain()) if (!this.closed) tell();
        return;
      }
      for (let i = 0; i < count; i++) this.#message(inbox, i);
      if (count < MESSAGES) return;
    }
  }

  #message(inbox: Inbox, i: number): void {
    const each = inbox.each(i);
    let at = inbox.at(i);
    let left = inbox.length(i);
    do {
      if (this.closed) return;
      const len = Math.min(each, left);
      this.received(inbox, i, at, len);
      at += len;
      left -= len;
    } while (left > 0);
  }

  /** Sets the hop limit and DF of datagrams sent from now on. */
  protected setOptions(ttl: number, df: boolean): void {
    const libc = this.#libc;
    if (ttl !== this.#hops) libc.set(this.fd, this.#family, "hops", (this.#hops = ttl));
    const pmtu = df ? PMTUDISC_DO : PMTUDISC_DONT;
    if (pmtu !== this.#pmtu) libc.set(this.fd, this.#family, "mtuDiscover", (this.#pmtu = pmtu));
  }

  /** Whether this hop limit and DF are set already. */
  protected hasOptions(ttl: number, df: boolean): boolean {
    return ttl === this.#hops && this.#pmtu === (df ? PMTUDISC_DO : PMTUDISC_DONT);
  }

  /**
   * Sends a packet. Null when the kernel took it, or lost it for want of room. Otherwise the kernel's own error, to be
   * reported later. Errors that others have reported meanwhile are reported later, too.
   */
  protected transmit(packet: Uint8Array, len: number, to: string, port: number): HostIcmpError | null {
    const libc = this.#libc;
    let code = libc.send(this.fd, packet, len, to, port);
    if (code === null) return null;
    if (isFull(code)) return this.#lost();
    // An error in the queue makes the next send fail in its place. For a datagram that is too big, that error tells the
    // MTU.
    this.#localMtu = 0;
    if (this.listen() && code !== "EMSGSIZE") code = libc.send(this.fd, packet, len, to, port);
    if (code === null) return null;
    if (isFull(code)) return this.#lost();
    return { code, from: null, type: -1, icmpCode: -1, mtu: this.#localMtu };
  }

  /** This many packets found no room in the kernel. */
  lost(_count: number): void {}

  #lost(): null {
    this.lost(1);
    return null;
  }

  /** Empties the error queue and has its errors reported later. Whether there were any. */
  listen(): boolean {
    const told = this.#drain();
    if (told.length === 0) return false;
    process.nextTick(() => {
      for (const tell of told) if (!this.closed) tell();
    });
    return true;
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.#socket.close();
  }

  /** Empties the error queue. Returns the reports to make. */
  #drain(): (() => void)[] {
    const told: (() => void)[] = [];
    while (!this.closed) {
      const e = this.#libc.readError(this.fd, this.#family);
      if (e === null) break;
      // The kernel's own error is about the packet that is being sent, which it does not quote.
      if (e.local) {
        this.#localMtu = e.mtu;
        continue;
      }
      const { code, from, type, icmpCode, mtu } = e;
      const tell = this.heard(e, { code, from, type, icmpCode, mtu });
      if (tell !== null) told.push(tell);
    }
    return told;
  }
}
