/**
 * Datagrams from hosts, many by one system call (Linux, `libc.ts`): what `outbox.ts` is on the way out.
 *
 * Theory of operation. Node reads a datagram at a time: for each it makes 64 KiB of memory, which it then shrinks, an object
 * that says who sent it, and an event. `recvmmsg` fills a table of ours with all that a socket has, up to `MESSAGES`. They
 * stand here, each in room for the longest there is, until the next call: whoever is given one copies what it keeps. A socket that
 * wants to know where a datagram has arrived is given the control data, too (IP_PKTINFO, `udp-addressed.ts`).
 *
 * With UDP_GRO the kernel hands over as one message what has come as one packet: a run of datagrams of equal length, but for the last,
 * that its sender has sent by UDP_SEGMENT or a card has put together, as QUIC's are. It says how long each is.
 *
 * All happens within one callback of the event loop's, so there is one such table for all networks of the process. Most of its
 * room is never touched, and so no memory.
 */

import type { Endpoint } from "../core/host-net.ts";
import { get32 } from "../wire/bytes.ts";
import { ipv4ToString } from "../wire/ipv4.ts";
import { ipv6ToString } from "../wire/ipv6.ts";
import type { Libc } from "./libc.ts";

/** So many datagrams are taken by one call at the most. */
export const MESSAGES = 32;
/** A socket is read so many times in a turn: others have theirs, too. */
export const READS = 2;
/** Above the longest datagram. */
const ROOM = 65_536;

// struct mmsghdr, struct iovec, a socket address, and control data.
const HEADER = 64;
const PART = 16;
const NAME = 32;
const NAME_SIZE = 28;
const CONTROL = 64;
/** struct cmsghdr. */
const CONTROL_HEADER = 16;
const SOL_UDP = 17;
const UDP_GRO = 104;
/** Where in a header the lengths of the address, the control data and the datagram stand, in words. */
const NAME_LENGTH = 2;
const CONTROL_LENGTH = 10;
const LENGTH = 14;

export class Inbox {
  /** Message `i` begins at `i * ROOM`. */
  readonly bytes: Buffer = Buffer.allocUnsafeSlow(MESSAGES * ROOM);
  readonly #libc: Libc;
  /** MESSAGES headers, then as many parts, names and control data: outside V8's heap, where the kernel finds them. */
  readonly table: Buffer = Buffer.allocUnsafeSlow(MESSAGES * (HEADER + PART + NAME + CONTROL)).fill(0);
  readonly #words: Uint32Array;
  readonly #base: number;
  /** Headers whose lengths the last call has overwritten, and what the others have for control data. */
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
   * Takes what a socket has, with its control data if that is wanted: how many datagrams, -1 when there is none or an error waits
   * in their stead.
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

  /** Where datagram `i` begins in `bytes`. */
  at(i: number): number {
    return i * ROOM;
  }

  length(i: number): number {
    return this.#words[(i * HEADER) / 4 + LENGTH]!;
  }

  /** Where in `table` the sender's socket address stands, and its length. */
  nameAt(i: number): number {
    return nameAt(i);
  }

  nameLength(i: number): number {
    return this.#words[(i * HEADER) / 4 + NAME_LENGTH]!;
  }

  /** Where in `table` the control data stand, and their length. */
  controlAt(i: number): number {
    return controlAt(i);
  }

  controlLength(i: number): number {
    return this.#words[(i * HEADER) / 4 + CONTROL_LENGTH]!;
  }

  /** How long each of the datagrams that message `i` consists of is; the last one may be shorter. */
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

  /** Who sent message `i`: `last`, if that is who it was, so that not every datagram makes an `Endpoint`. */
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

/** Whoever a socket has heard last. */
export class LastSender {
  /** As the kernel names it. */
  readonly name: Uint8Array = new Uint8Array(NAME_SIZE);
  endpoint: Endpoint = { host: "", port: -1 };
}

const partAt = (i: number): number => MESSAGES * HEADER + i * PART;
const nameAt = (i: number): number => MESSAGES * (HEADER + PART) + i * NAME;
const controlAt = (i: number): number => MESSAGES * (HEADER + PART + NAME) + i * CONTROL;

let shared: Inbox | null = null;

/** The process's, made with the first socket. */
export function sharedInbox(libc: Libc): Inbox {
  shared ??= new Inbox(libc);
  return shared;
}
