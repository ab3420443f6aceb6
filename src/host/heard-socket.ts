/**
 * A datagram socket that hears the ICMP errors about what it has sent, each with its sender and the destination
 * concerned, which an unconnected socket of Node's does not (Linux, `libc.ts`).
 *
 * Sending is a call of our own, so that hop limit, DF and packet belong together and an error is known at once; so is
 * reading, many datagrams at a time (`inbox.ts`).
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
  /** The MTU that the host itself has named last. */
  #localMtu = 0;

  /** Whether datagrams are read in runs (`Libc.readRuns`). */
  readonly #runs: boolean;

  /** Takes the descriptor, bound or not. `runs`: of UDP. */
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

  /** A datagram is for this socket, of message `i` of the inbox; it stands there, at `at`, during the call only. */
  protected abstract received(inbox: Inbox, i: number, at: number, len: number): void;
  /** What to do about an error: `e` is valid during the call, the function is called when that may be. */
  protected abstract heard(e: QueuedError, error: HostIcmpError): (() => void) | null;

  #read(inbox: Inbox): void {
    for (let reads = 0; reads < READS && !this.closed; reads++) {
      const count = inbox.receive(this.fd, this.#runs);
      if (count < 0) {
        // It was woken for what others have said.
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

  /** Hop limit and DF of what is sent from now on. */
  protected setOptions(ttl: number, df: boolean): void {
    const libc = this.#libc;
    if (ttl !== this.#hops) libc.set(this.fd, this.#family, "hops", (this.#hops = ttl));
    const pmtu = df ? PMTUDISC_DO : PMTUDISC_DONT;
    if (pmtu !== this.#pmtu) libc.set(this.fd, this.#family, "mtuDiscover", (this.#pmtu = pmtu));
  }

  /** Whether these are the hop limit and DF that are set. */
  protected hasOptions(ttl: number, df: boolean): boolean {
    return ttl === this.#hops && this.#pmtu === (df ? PMTUDISC_DO : PMTUDISC_DONT);
  }

  /**
   * Sends a packet. Null when it went, or was lost for want of room; otherwise what the host itself says about it, to
   * be told later. What it turns out others have said is told later, too.
   */
  protected transmit(packet: Uint8Array, len: number, to: string, port: number): HostIcmpError | null {
    const libc = this.#libc;
    let code = libc.send(this.fd, packet, len, to, port);
    if (code === null) return null;
    if (isFull(code)) return this.#lost();
    // An error that waits in the queue makes the next send fail in its stead; for a datagram that is too big it tells the MTU.
    this.#localMtu = 0;
    if (this.listen() && code !== "EMSGSIZE") code = libc.send(this.fd, packet, len, to, port);
    if (code === null) return null;
    if (isFull(code)) return this.#lost();
    return { code, from: null, type: -1, icmpCode: -1, mtu: this.#localMtu };
  }

  /** So many packets found no room. */
  lost(_count: number): void {}

  #lost(): null {
    this.lost(1);
    return null;
  }

  /** Empties the error queue, to tell later what others have said; whether they had said anything. */
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

  /** Empties the error queue. */
  #drain(): (() => void)[] {
    const told: (() => void)[] = [];
    while (!this.closed) {
      const e = this.#libc.readError(this.fd, this.#family);
      if (e === null) break;
      // The host's own word is about the packet in hand, which is not quoted.
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
