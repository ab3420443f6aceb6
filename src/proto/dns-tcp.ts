/**
 * DNS over TCP (RFC 7766) for guests: a server inside the process that looks like a host connection to the flow in
 * front of it.
 *
 *     guest ─ flow ─ write() ─→ input ─→ DnsForwarder ─→ output ─→ onData() ─ flow ─ guest
 *
 * Messages follow one another, each behind its length in two bytes. They are asked as they come (pipelining) and
 * answered as the answers come, in any order (section 6.2.1.1). At most `MAX_PIPELINED` are between `input` and the
 * guest; beyond that, bytes stay in `input` and count as `backlog`, which closes the guest's window.
 *
 * Callbacks run from a microtask or from the host's answer, never inside the flow's own call. There is no timer: an
 * idle connection costs the flow table a place and us next to nothing; the flow's keepalive ends it when its guest is
 * gone, and when there are too many the one idle longest is reset.
 */
import type { Endpoint } from "../core/address.ts";
import type { HostTcp, HostTcpEvents } from "../core/host-net.ts";
import type { Slab } from "../core/link.ts";
import { get16, put16 } from "../wire/bytes.ts";
import type { DnsForwarder } from "./dns.ts";

const MAX_PIPELINED = 16;
const LENGTH_PREFIX = 2;
/** When the guest has not taken this many bytes of answers, no more of its queries are asked. */
const MOST_HELD = 65_536;
/** Answers go to the flow in pieces of this many bytes, so that its `pause()` takes effect within a large one. */
const PIECE = 16_384;
const FIRST_INPUT = 512;
/** A larger input buffer is freed once it is empty. */
const KEPT_INPUT = 16_384;

/**
 * DNS on TCP port 53, for the stack: call it as if it dialled a host. All connections, at most `most` at a time, share
 * `forwarder`.
 */
export function dnsTcpService(
  forwarder: DnsForwarder,
  most: number,
): (events: HostTcpEvents, guest?: Endpoint) => HostTcp {
  // The connection that has been unused longest comes first.
  const open = new Set<Connection>();
  return (events, guest) => {
    if (open.size >= most) {
      forwarder.busy();
      (open.values().next().value as Connection).fail();
    }
    return new Connection(forwarder, events, open, guest);
  };
}

class Connection implements HostTcp {
  readonly local: Endpoint | null = null;
  readonly #forwarder: DnsForwarder;
  readonly #events: HostTcpEvents;
  readonly #open: Set<Connection>;
  readonly #guest: Endpoint | undefined;
  /** Bytes from the guest that have not been asked yet: `#input` from `#from` to `#to`. */
  #input: Uint8Array = new Uint8Array(FIRST_INPUT);
  #from = 0;
  #to = 0;
  /** Answers with their lengths. The flow has `#sent` bytes of the first one. */
  readonly #output: Uint8Array[] = [];
  #sent = 0;
  /** Bytes in `#output`. */
  #held = 0;
  #asked = 0;
  #announced = false;
  #paused = true;
  #stalled = false;
  #ended = false;
  #failed = false;
  #closed = false;
  #scheduled = false;

  constructor(forwarder: DnsForwarder, events: HostTcpEvents, open: Set<Connection>, guest: Endpoint | undefined) {
    this.#guest = guest;
    this.#forwarder = forwarder;
    this.#events = events;
    this.#open = open;
    open.add(this);
    this.#schedule();
  }

  /** The beginning of a message does not count: it is small, and the guest must be able to send the rest. */
  get backlog(): number {
    return this.#stalled ? this.#to - this.#from : 0;
  }

  write(slab: Slab, at: number, len: number): void {
    if (this.#closed || this.#failed || this.#ended) return;
    this.#append(slab.bytes, at, len);
    this.#open.delete(this);
    this.#open.add(this);
    this.#schedule();
  }

  end(): void {
    this.#ended = true;
    this.#schedule();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#schedule();
  }

  reset(): void {
    this.#close();
  }

  /** Ends this connection with ECONNRESET. */
  fail(): void {
    this.#failed = true;
    this.#open.delete(this);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled || this.#closed) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#pump();
    });
  }

  /** Does all that is possible now: asks, answers, reports room, ends. Each callback may close the connection. */
  #pump(): void {
    if (this.#closed) return;
    const before = this.backlog;
    if (!this.#announced) {
      this.#announced = true;
      this.#events.onConnect();
    }
    // An answer that leaves makes room for a query; a refused query makes an answer.
    do this.#ask();
    while (this.#answer());
    if (this.#failed && !this.#closed) {
      this.#close();
      this.#events.onClose("ECONNRESET");
    }
    if (!this.#closed && this.backlog < before) this.#events.onDrain();
    if (this.#ended && !this.#closed && this.#asked === 0 && this.#output.length === 0) {
      this.#events.onEnd();
      if (this.#closed) return;
      this.#close();
      this.#events.onClose(null);
    }
  }

  #ask(): void {
    this.#stalled = false;
    while (!this.#closed && !this.#failed && this.#to - this.#from >= LENGTH_PREFIX) {
      if (this.#asked + this.#output.length >= MAX_PIPELINED || this.#held > MOST_HELD) {
        this.#stalled = true;
        return;
      }
      const length = get16(this.#input, this.#from);
      if (length <= this.#forwarder.maxQuery && this.#to - this.#from < LENGTH_PREFIX + length) return;
      const at = this.#from + LENGTH_PREFIX;
      this.#from = at + length;
      this.#asked++;
      // After a malformed message the framing cannot be relied on either.
      const answered = (answer: Uint8Array): void => this.#answered(answer);
      if (!this.#forwarder.queryTcp(this.#input, at, length, answered, this.#guest)) this.fail();
    }
  }

  #answered(answer: Uint8Array): void {
    this.#asked--;
    if (this.#closed) return;
    const framed = new Uint8Array(LENGTH_PREFIX + answer.length);
    put16(framed, 0, answer.length);
    framed.set(answer, LENGTH_PREFIX);
    this.#output.push(framed);
    this.#held += framed.length;
    this.#schedule();
  }

  /** Hands answers to the flow until it pauses. True if a whole answer has gone. */
  #answer(): boolean {
    let some = false;
    while (!this.#paused && !this.#closed && !this.#failed) {
      const first = this.#output[0];
      if (first === undefined) break;
      const at = this.#sent;
      const len = Math.min(PIECE, first.length - at, this.#events.readMost?.(true) ?? PIECE);
      this.#sent += len;
      if (this.#sent === first.length) {
        this.#output.shift();
        this.#held -= first.length;
        this.#sent = 0;
        some = true;
      }
      this.#events.onData(first, at, len);
    }
    return some;
  }

  #append(bytes: Uint8Array, at: number, len: number): void {
    const held = this.#to - this.#from;
    if (held === 0) {
      this.#from = this.#to = 0;
      if (this.#input.length > KEPT_INPUT) this.#input = new Uint8Array(FIRST_INPUT);
    }
    if (this.#to + len > this.#input.length) {
      // Moving the bytes costs `held`, so it is done only if it gains that much room. Otherwise the buffer is doubled.
      const need = held + len;
      const into = need * 2 > this.#input.length ? new Uint8Array(need * 2) : this.#input;
      into.set(this.#input.subarray(this.#from, this.#to));
      this.#input = into;
      this.#from = 0;
      this.#to = held;
    }
    this.#input.set(bytes.subarray(at, at + len), this.#to);
    this.#to += len;
  }

  #close(): void {
    this.#closed = true;
    this.#open.delete(this);
    this.#output.length = 0;
    this.#input = new Uint8Array(0);
    this.#from = this.#to = 0;
  }
}
