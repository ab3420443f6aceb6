/**
 * Datagrams from hosts, many by one system call (Linux, `libc.ts`): the counterpart of `outbox.ts`.
 *
 * Theory of operation. Node reads one datagram at a time. For each it allocates 64 KiB, which it then shrinks, an
 * object for the sender, and an event. `recvmmsg` fills a table of ours with all datagrams of a socket, up to
 * `MESSAGES`. Each stands in room for the longest datagram there is, until the next call, so a receiver copies the
 * bytes that it keeps. A socket that has to know where a datagram arrived gets the control data, too (IP_PKTINFO,
 * `udp-addressed.ts`).
 *
 * With UDP_GRO the kernel passes a run of datagrams as one message: equally long ones, except for a shorter last one,
 * which arrived as one packet. Senders make such runs by UDP_SEGMENT, or a network card joins them, as with QUIC. The
 * message tells how long each datagram is.
 *
 * A message is handled within one callback of the event loop, so one table serves all networks of the process. Most of
 * its room is never touched, and so takes no memory.
 */

import type { Endpoint } from "../core/host-net.ts";
import { region } from "../wire/arena.ts";
import { get32 } from "../wire/bytes.ts";
import { ipv4ToString } from "../wire/ipv4.ts";
import { ipv6ToString } from "../wire/ipv6.ts";
import type { Libc } from "./libc.ts";

/** How many messages one call takes. */
export const MESSAGES = 32;
/** How many calls a socket may have in a turn, since other sockets need turns, too. */
export const READS = 2;
/** More than the longest datagram, in bytes. */
const ROOM = 65_536;

// Sizes of struct mmsghdr, struct iovec, a socket address, and control data.
const HEADER = 64;
const PART = 16;
const NAME = 32;
const NAME_SIZE = 28;
const CONTROL = 64;
/** The size of struct cmsghdr. */
const CONTROL_HEADER = 16;
const SOL_UDP = 17;
const UDP_GRO = 104;
/** Offsets in a header, in words, of the lengths of the address, the control data and the datagram. */
const NAME_LENGTH = 2;
const CONTROL_LENGTH = 10;
const LENGTH = 14;

export class Inbox {
  /** Message `i` begins at `i * ROOM`. */
  readonly bytes: Uint8Array = region(MESSAGES * ROOM);
  readonly #libc: Libc;
  /**
   * MESSAGES headers, then as many parts, names and control data. Outside V8's heap, so that the kernel finds them in
   * place.
   */
  readonly table: Buffer = Buffer.allocUnsafeSlow(MESSAGES * (HEADER + PART + NAME + CONTROL)).fill(0);
  readonly #words: Uint32Array;
  readonly #base: number;
  /** How many headers have lengths that the last call overwrote; and what room the others have for control data. */
  #stale: number = MESSAGES;
  #control = 0;

  constructor(libc: Libc) {
    this.#libc = libc;
    const data = libc.addressOf(this.bytes);
    this.#base = libc.addressOf(this.table);
    this.#words = new Uint32Array(this.table.buffer, this.table.byteOffset, this.table.length / 4);
    for (let i = 0; i < MESSAGES; i++) {
      this.#pointer(i * HEADER, this.#base + nameAt(i));
      this.#pointer(i * HEADER + 16, this.#base + partAt(i));
      this.#pointer(i * HEADER + 32, this.#base + controlAt(i));
      this.#words[(i * HEADER + 24) >> 2] = 1;
      this.#pointer(partAt(i), data + i * ROOM);
      this.#words[(partAt(i) + 8) >> 2] = ROOM;
    }
  }

  /**
   * Reads the datagrams of a socket, with their control data if that is wanted. Returns how many messages; -1 when
   * there are none, or an error waits in the socket's queue.
   */
  receive(fd: number, withControl = false): number {
    const control = withControl ? CONTROL : 0;
    if (control !== this.#control) this.#stale = MESSAGES;
    this.#control = control;
    for (let i = 0; i < this.#stale; i++) {
      this.#words[(i * HEADER) / 4 + NAME_LENGTH] = NAME_SIZE;
      this.#words[(i * HEADER) / 4 + CONTROL_LENGTH] = control;
    }
    const count = this.#libc.receiveMany(fd, this.#base, MESSAGES);
    this.#stale = Math.max(count, 0);
    return count;
  }

  /** Where message `i` begins in `bytes`. */
  at(i: number): number {
    return i * ROOM;
  }

  length(i: number): number {
    return this.#words[(i * HEADER) / 4 + LENGTH]!;
  }

  /** Where the sender's socket address stands in `table`, and its length. */
  nameAt(i: number): number {
    return nameAt(i);
  }

  nameLength(i: number): number {
    return this.#words[(i * HEADER) / 4 + NAME_LENGTH]!;
  }

  /** Where the control data stand in `table`, and their length. */
  controlAt(i: number): number {
    return controlAt(i);
  }

  controlLength(i: number): number {
    return this.#words[(i * HEADER) / 4 + CONTROL_LENGTH]!;
  }

  /** The length of each datagram in message `i`; the last datagram may be shorter. */
  each(i: number): number {
    const end = controlAt(i) + this.controlLength(i);
    for (let at = controlAt(i); at + CONTROL_HEADER + 4 <= end; ) {
      const word = at >> 2;
      const size = this.#words[word]!;
      if (size < CONTROL_HEADER) break;
      if (this.#words[word + 2] === SOL_UDP && this.#words[word + 3] === UDP_GRO)
        return Math.max(1, this.#words[word + 4]!);
      at += (size + 7) & ~7;
    }
    return this.length(i);
  }

  /**
   * The sender of message `i`. It is the same object as before if `last` is the sender, so not every datagram makes
   * one.
   */
  sender(i: number, last: LastSender): Endpoint {
    const at = nameAt(i);
    const size = this.nameLength(i);
    const { name } = last;
    let same = 0;
    while (same < size && name[same] === this.table[at + same]) same++;
    if (same < size) {
      name.set(this.table.subarray(at, at + size));
      const host = size === NAME_SIZE ? ipv6ToString(name, 8) : ipv4ToString(get32(name, 4));
      last.endpoint = { host, port: this.table.readUInt16BE(at + 2) };
    }
    return last.endpoint;
  }

  #pointer(at: number, address: number): void {
    this.table.writeBigUInt64LE(BigInt(address), at);
  }
}

/** The sender that a socket has heard last. */
export class LastSender {
  /** The sender's socket address as the kernel writes it. */
  readonly name: Uint8Array = new Uint8Array(NAME_SIZE);
  endpoint: Endpoint = { host: "", port: -1 };
}

const partAt = (i: number): number => MESSAGES * HEADER + i * PART;
const nameAt = (i: number): number => MESSAGES * (HEADER + PART) + i * NAME;
const controlAt = (i: number): number => MESSAGES * (HEADER + PART + NAME) + i * CONTROL;

let shared: Inbox | null = null;

/** The process's inbox, made with the first socket. */
export function sharedInbox(libc: Libc): Inbox {
  shared ??= new Inbox(libc);
  return shared;
}
