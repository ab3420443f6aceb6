/**
 * Datagrams from guests on their way into the kernel, many by one system call (Linux, `libc.ts`).
 *
 * Theory of operation. The system call costs more than the kernel's work for a small datagram (bench/README.md,
 * "64-byte datagrams up"). So the datagrams of one read from a guest wait here between `cork` and `uncork`, and are
 * then handed over socket by socket:
 *
 * - `sendmmsg` takes all *messages* of a socket, in order.
 * - Datagrams of a socket that follow one another to the same destination are one message, a *run*, if they are equally
 *   long (the last may be shorter). The kernel carries a run as one packet and cuts it where it has to; for a socket on
 *   this machine, only on arrival (UDP_SEGMENT, udp(7)). The datagrams are copied one behind the other, so a run needs
 *   no list of its parts.
 *
 * Datagrams that the kernel does not take are sent again one by one, so that each gets its own error, as if it had
 * never waited here. If the kernel refuses a run without such an error, the socket makes no more runs: its packets do
 * not fit, or its route cannot carry runs.
 *
 * The outbox is filled and emptied within one callback of the event loop, so one table serves all networks of the
 * process. It has linked lists in arrays, as `nat/tcp/payload-gatherer.ts` does: no object is made for a datagram.
 */
import type { Endpoint } from "../core/host-net.ts";
import { region } from "../wire/arena.ts";
import { copySum } from "../wire/checksum.ts";
import type { Libc } from "./libc.ts";

/** How many messages may wait, and how many bytes: as much as a cable reads at once. */
const MESSAGES = 64;
const ROOM = 262_144;
/** Limits of a run: UDP_MAX_SEGMENTS of older kernels, and the longest packet less the headers of either family. */
const MOST_IN_RUN = 64;
const RUN_BYTES = 65_535 - 60;
/** The longest datagram in a run, in bytes. Runs are not fragmented, and longer ones do not fit Ethernet's packets. */
const LONGEST_IN_RUN = 1_452;

// Sizes of struct mmsghdr, struct iovec, a socket address, and a control message with the length of a run's datagrams.
const HEADER = 64;
const NAME = 32;
const PART = 16;
const CONTROL = 24;
const SLOT = HEADER + NAME + PART + CONTROL;
const SOL_UDP = 17;
const UDP_SEGMENT = 103;
/** The value of CMSG_LEN(sizeof(uint16_t)). */
const CONTROL_LEN = 18;

/** A socket whose datagrams wait here. */
export interface Sender {
  readonly fd: number;
  /** The socket's first and last message, -1 for none. */
  firstMessage: number;
  lastMessage: number;
  /** Whether runs may be made. */
  runs: boolean;
  /** Empties the socket's error queue, and has its errors reported later. Whether there were any. */
  listen(): boolean;
  /** This many datagrams found no room in the kernel. */
  lost(count: number): void;
  /** Sends a datagram at once, by itself. */
  sendNow(bytes: Uint8Array, at: number, len: number, to: Endpoint): void;
}

export class Outbox {
  corked = false;
  readonly #libc: Libc;
  readonly #bytes: Uint8Array = region(ROOM);
  readonly #base: number;
  #used = 0;
  /**
   * Messages, in parallel arrays: where each begins, its bytes, those of its first datagram, and how many datagrams it
   * has.
   */
  readonly #at: Int32Array = new Int32Array(MESSAGES);
  readonly #len: Int32Array = new Int32Array(MESSAGES);
  readonly #each: Int32Array = new Int32Array(MESSAGES);
  readonly #count: Int32Array = new Int32Array(MESSAGES);
  /** The next message of the same sender. */
  readonly #next: Int32Array = new Int32Array(MESSAGES);
  readonly #to: Endpoint[] = [];
  #messages = 0;
  readonly #senders: Sender[] = [];
  /**
   * MESSAGES headers, then as many names, parts and controls. Outside V8's heap, so that the kernel finds them in
   * place.
   */
  readonly #table: Buffer = Buffer.allocUnsafeSlow(MESSAGES * SLOT).fill(0);
  readonly #words: Int32Array;
  readonly #tableBase: number;

  constructor(libc: Libc) {
    this.#libc = libc;
    this.#base = libc.addressOf(this.#bytes);
    this.#tableBase = libc.addressOf(this.#table);
    this.#words = new Int32Array(this.#table.buffer, this.#table.byteOffset, (MESSAGES * SLOT) / 4);
    for (let i = 0; i < MESSAGES; i++) {
      this.#pointer(i * HEADER, this.#tableBase + nameAt(i));
      this.#pointer(i * HEADER + 16, this.#tableBase + partAt(i));
      this.#words[(i * HEADER + 24) >> 2] = 1;
      this.#pointer(i * HEADER + 32, this.#tableBase + controlAt(i));
      const control = controlAt(i) >> 2;
      this.#words[control] = CONTROL_LEN;
      this.#words[control + 2] = SOL_UDP;
      this.#words[control + 3] = UDP_SEGMENT;
    }
  }

  /** From now on datagrams wait. */
  cork(): void {
    this.corked = true;
  }

  uncork(): void {
    this.corked = false;
    this.flush();
  }

  /** Takes a copy of a datagram; at most 65507 bytes of it. */
  add(sender: Sender, bytes: Uint8Array, at: number, len: number, to: Endpoint): void {
    if (this.#used + len > ROOM) this.flush();
    const last = this.#messages - 1;
    if (last >= 0 && sender.lastMessage === last && this.#extends(sender, last, len, to)) {
      this.#len[last]! += len;
      this.#count[last]!++;
    } else {
      if (this.#messages === MESSAGES) this.flush();
      this.#begin(sender, len, to);
    }
    // Nobody asks for the sum: between regions of the arena this is the copy that needs no view.
    copySum(bytes, at, len, this.#bytes, this.#used);
    this.#used += len;
  }

  /** Hands all waiting datagrams to the kernel. */
  flush(): void {
    const senders = this.#senders;
    if (senders.length === 0) return;
    for (let i = 0; i < senders.length; i++) this.#send(senders[i]!);
    senders.length = 0;
    this.#to.length = 0;
    this.#messages = 0;
    this.#used = 0;
  }

  /** Whether a datagram continues the run that this message ends with. */
  #extends(sender: Sender, message: number, len: number, to: Endpoint): boolean {
    const each = this.#each[message]!;
    const count = this.#count[message]!;
    const total = this.#len[message]!;
    if (!sender.runs || len === 0 || len > each || each > LONGEST_IN_RUN) return false;
    // A shorter datagram has ended the run.
    if (total !== each * count || count === MOST_IN_RUN || total + len > RUN_BYTES) return false;
    const earlier = this.#to[message]!;
    return earlier === to || (earlier.port === to.port && earlier.host === to.host);
  }

  #begin(sender: Sender, len: number, to: Endpoint): void {
    const message = this.#messages++;
    this.#at[message] = this.#used;
    this.#len[message] = len;
    this.#each[message] = len;
    this.#count[message] = 1;
    this.#next[message] = -1;
    this.#to[message] = to;
    if (sender.firstMessage < 0) {
      sender.firstMessage = message;
      this.#senders.push(sender);
    } else this.#next[sender.lastMessage] = message;
    sender.lastMessage = message;
  }

  #send(sender: Sender): void {
    let first = sender.firstMessage;
    sender.firstMessage = -1;
    sender.lastMessage = -1;
    let count = 0;
    for (let m = first; m >= 0; m = this.#next[m]!) this.#prepare(count++, m);
    for (let done = 0; done < count; ) {
      const taken = this.#libc.sendMany(sender.fd, this.#tableBase + done * HEADER, count - done);
      for (let i = 0; i < taken; i++) first = this.#next[first]!;
      done += Math.max(taken, 0);
      if (taken > 0) continue;
      // UDP may lose datagrams: one for which there is no room is lost.
      if (taken < 0) this.#again(sender, first);
      else sender.lost(this.#count[first]!);
      first = this.#next[first]!;
      done++;
    }
  }

  /** Sends the datagrams of a message that the kernel has refused one by one. */
  #again(sender: Sender, message: number): void {
    const told = sender.listen();
    const each = this.#each[message]!;
    if (!told && this.#count[message]! > 1) sender.runs = false;
    let at = this.#at[message]!;
    for (let left = this.#len[message]!, n = this.#count[message]!; n > 0; n--) {
      const len = Math.min(each, left);
      sender.sendNow(this.#bytes, at, len, this.#to[message]!);
      at += len;
      left -= len;
    }
  }

  #prepare(slot: number, message: number): void {
    const words = this.#words;
    const header = (slot * HEADER) >> 2;
    const to = this.#to[message]!;
    words[header + 2] = this.#libc.nameTo(this.#table, nameAt(slot), to.host, to.port);
    const part = partAt(slot);
    this.#pointer(part, this.#base + this.#at[message]!);
    words[(part >> 2) + 2] = this.#len[message]!;
    const run = this.#count[message]! > 1;
    words[header + 10] = run ? CONTROL : 0;
    if (run) words[(controlAt(slot) >> 2) + 4] = this.#each[message]!;
  }

  /** Writes an address of 48 bits. */
  #pointer(at: number, address: number): void {
    this.#words[at >> 2] = address | 0;
    this.#words[(at >> 2) + 1] = Math.floor(address / 2 ** 32);
  }
}

function nameAt(slot: number): number {
  return MESSAGES * HEADER + slot * NAME;
}

function partAt(slot: number): number {
  return MESSAGES * (HEADER + NAME) + slot * PART;
}

function controlAt(slot: number): number {
  return MESSAGES * (HEADER + NAME + PART) + slot * CONTROL;
}
