/**
 * UDP queries to one server, from unpredictable ports (RFC 5452 section 9.2).
 *
 * A fresh socket for each query would be the least predictable, and cost more than all other work together. So there
 * are up to 64 sockets, each on a random port that the kernel chooses. A query picks one of them at random, and a
 * socket is retired after some queries or seconds. The sockets are connected: the kernel then drops datagrams from
 * others than the server, reports a refusal at once (ICMP), and hides the ports from probes. A forger has to guess the
 * port, the ID and the question within the round trip.
 *
 * The case of each letter in the name is drawn at random; most servers return the name as it was
 * (draft-vixie-dnsext-dns0x20). Each letter makes a forger's guess twice as hard. A server that is found to change the
 * case is asked in plain letters from then on.
 *
 * An unused pool has no sockets, because `sweep` ends them.
 */
import { randomInt } from "node:crypto";
import type { Endpoint } from "../core/address.ts";
import { DNS_HEADER, dnsId, dnsLowerName, dnsQuestionEnd, dnsSetId } from "../wire/dns.ts";
import { matchAnswer } from "./dns-match.ts";
import { type ServerEvents, type ServerSocket, serverSocket } from "./dns-socket.ts";

const SLOTS = 64;
const MAX_USES = 512;
const MAX_AGE_MS = 5000;
/**
 * After this many answers in a row with changed letters, a server that used to keep the letters no longer counts as
 * one.
 */
const MOST_CHANGED = 3;

/**
 * Given an answer whose ID and question match, or null when the server cannot be reached. Not called after `cancel`.
 */
export type OnResult = (answer: Uint8Array | null) => void;

/** A query that is under way. */
export interface Attempt {
  cancel(): void;
}

export class UdpPool {
  readonly #to: Endpoint;
  readonly #onIgnored: () => void;
  readonly #letters: Letters = new Letters();
  readonly #slots: (PoolSocket | null)[] = new Array<PoolSocket | null>(SLOTS).fill(null);
  #open = 0;
  #drained = false;

  /** `onIgnored` is called for each datagram that answers no query of ours. */
  constructor(to: Endpoint, onIgnored: () => void) {
    this.#to = to;
    this.#onIgnored = onIgnored;
  }

  /** How many sockets new queries may use. */
  get open(): number {
    return this.#open;
  }

  /** Works after `drain`, too: on a socket for this query alone. */
  ask(query: Uint8Array, now: number, onResult: OnResult): Attempt {
    if (this.#drained) {
      const once = new PoolSocket(this.#to, now, this.#letters, this.#onIgnored);
      const attempt = once.ask(query, onResult);
      once.retire();
      return attempt;
    }
    const slot = randomInt(SLOTS);
    let socket = this.#slots[slot]!;
    if (socket === null || !socket.usable(now)) {
      this.#retire(slot);
      socket = new PoolSocket(this.#to, now, this.#letters, this.#onIgnored);
      this.#slots[slot] = socket;
      this.#open++;
    }
    return socket.ask(query, onResult);
  }

  /** Retires sockets that have reached their age. */
  sweep(now: number): void {
    for (let slot = 0; slot < SLOTS && this.#open > 0; slot++) {
      if (this.#slots[slot]?.usable(now) === false) this.#retire(slot);
    }
  }

  /** Retires all sockets; each closes when its last query has ended. */
  drain(): void {
    this.#drained = true;
    for (let slot = 0; slot < SLOTS; slot++) this.#retire(slot);
  }

  #retire(slot: number): void {
    const socket = this.#slots[slot]!;
    if (socket === null) return;
    this.#slots[slot] = null;
    this.#open--;
    socket.retire();
  }
}

/** Keeps track of whether a server returns a name's letters as they were. */
class Letters {
  #keeps: boolean | null = null;
  #changed = 0;

  get varied(): boolean {
    return this.#keeps !== false;
  }

  /** An answer has the letters that we sent. */
  kept(): void {
    this.#keeps ??= true;
    this.#changed = 0;
  }

  /** An answer has other letters. True if the server is to be asked in plain letters; if not, it may be a forgery. */
  changed(): boolean {
    if (this.#keeps === null || ++this.#changed >= MOST_CHANGED) this.#keeps = false;
    return this.#keeps === false;
  }
}

interface Waiting {
  readonly id: number;
  readonly query: Uint8Array;
  /** The query that was sent under `id`; null before it is sent. */
  sent: Uint8Array | null;
  /** "changed": the server has returned the name in other letters, and is to be asked again. */
  readonly onResult: (answer: Uint8Array | null | "changed") => void;
}

class PoolSocket implements ServerEvents {
  readonly #socket: ServerSocket;
  readonly #born: number;
  readonly #letters: Letters;
  readonly #onIgnored: () => void;
  readonly #waiting: Map<number, Waiting> = new Map();
  #uses = 0;
  #retired = false;
  #closed = false;

  constructor(to: Endpoint, now: number, letters: Letters, onIgnored: () => void) {
    this.#letters = letters;
    this.#born = now;
    this.#onIgnored = onIgnored;
    this.#socket = serverSocket(to, this);
  }

  usable(now: number): boolean {
    return !this.#closed && this.#uses < MAX_USES && now - this.#born < MAX_AGE_MS;
  }

  ask(query: Uint8Array, onResult: OnResult): Attempt {
    this.#uses++;
    let waiting = this.#begin(query, (answer) => {
      if (answer !== "changed") return onResult(answer);
      waiting = this.#begin(query, onResult as Waiting["onResult"]);
    });
    return {
      cancel: () => {
        if (this.#waiting.get(waiting.id) === waiting) this.#finished(waiting);
      },
    };
  }

  #begin(query: Uint8Array, onResult: Waiting["onResult"]): Waiting {
    let id = randomInt(0x10000);
    while (this.#waiting.has(id)) id = randomInt(0x10000);
    const waiting: Waiting = { id, query, sent: null, onResult };
    this.#waiting.set(id, waiting);
    if (this.#socket.ready) this.#send(waiting);
    return waiting;
  }

  retire(): void {
    this.#retired = true;
    if (this.#waiting.size === 0) this.#close();
  }

  connected(): void {
    for (const waiting of this.#waiting.values()) this.#send(waiting);
  }

  #send(waiting: Waiting): void {
    const message = Uint8Array.from(waiting.query);
    dnsSetId(message, 0, waiting.id);
    if (this.#letters.varied) varyCase(message);
    else dnsLowerName(message, 0);
    waiting.sent = message;
    this.#socket.send(message);
  }

  strange(): void {
    this.#onIgnored();
  }

  received(message: Uint8Array): void {
    const waiting = message.length < DNS_HEADER ? undefined : this.#waiting.get(dnsId(message, 0));
    if (waiting === undefined || waiting.sent === null) return this.#onIgnored();
    const same = hasQuestion(message, waiting.sent);
    const answer = matchAnswer(waiting.query, waiting.id, message);
    if (answer === null) return this.#onIgnored();
    if (!same && message.length > DNS_HEADER && this.#letters.varied) {
      if (!this.#letters.changed()) return this.#onIgnored();
      waiting.onResult("changed");
      return this.#finished(waiting);
    }
    if (same) this.#letters.kept();
    this.#finished(waiting);
    waiting.onResult(answer);
  }

  #finished(waiting: Waiting): void {
    this.#waiting.delete(waiting.id);
    if (this.#retired && this.#waiting.size === 0) this.#close();
  }

  /** The server refuses or cannot be reached: all queries that wait for it fail. */
  failed(): void {
    if (this.#closed) return;
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    this.#close();
    for (const one of waiting) one.onResult(null);
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.close();
  }
}

/** Draws the case of each letter in the question's name at random. */
function varyCase(message: Uint8Array): void {
  let bits = 0;
  let left = 0;
  for (let at = DNS_HEADER; message[at]! > 0; at += message[at]! + 1) {
    for (let i = at + 1; i <= at + message[at]!; i++) {
      const letter = message[i]! | 0x20;
      if (letter < 97 || letter > 122) continue;
      if (left-- === 0) {
        bits = randomInt(0x100000000);
        left = 31;
      }
      message[i] = letter ^ ((bits & 1) << 5);
      bits >>>= 1;
    }
  }
}

/** Whether an answer's question has exactly the letters that were sent. */
function hasQuestion(answer: Uint8Array, sent: Uint8Array): boolean {
  const end = dnsQuestionEnd(sent, 0);
  for (let i = DNS_HEADER; i < end; i++) if (answer[i] !== sent[i]) return false;
  return true;
}
