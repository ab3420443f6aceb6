/**
 * Connections whose first bytes have to show a name before the host receives any of them.
 *
 * Theory of operation. The host has been dialled as for every connection, because the address may be dialled. A link of
 * the chain in front of the socket (`chain.ts`) holds the guest's bytes until they show a server's name
 * (`proto/first-bytes`). Then the socket takes its place again, and the flow is like any other. Bytes from the host
 * pass meanwhile, so a protocol in which the server speaks first does not wait. There are limits on the time (from the
 * first byte), on the bytes, on how often they are read anew, and on the bytes held by all connections. A connection
 * that exceeds one is refused.
 *
 * HTTP in the clear names a server in each request, so the link of such a connection stays: each request's head is held
 * until it is whole and allowed (`proto/http-requests`); bodies pass as they come, counted. That costs a call and a few
 * comparisons for each of the guest's writes. TLS may show a second hello with another name: its link goes when no
 * second one can follow (`proto/tls-hellos`). Another protocol's link goes once its first line cannot be an HTTP
 * request (`proto/strange-line`).
 *
 * Refused requests may be answered. Then the host's bytes are counted on their way (`heard-host`), because our answer
 * must follow a complete response of the host's. If it cannot, there is no answer.
 */
import { Deadlines, type Timed } from "../../core/deadlines.ts";
import type { HostTcp } from "../../core/host-net.ts";
import type { Slab } from "../../core/link.ts";
import { readFirstBytes } from "../../proto/first-bytes.ts";
import { httpRefusal } from "../../proto/http-refusal.ts";
import type { HttpRequest } from "../../proto/http-request.ts";
import { HttpRequests } from "../../proto/http-requests.ts";
import type { ShownName } from "../../proto/shown-name.ts";
import { StrangeLine } from "../../proto/strange-line.ts";
import { TlsHellos } from "../../proto/tls-hellos.ts";
import type { NatContext } from "../context.ts";
import type { NameCheck } from "../rules/name-check.ts";
import type { HeardHost } from "./heard-host.ts";
import { HostTcpStage } from "./host-tcp-stage.ts";

const WAIT_MS = 10_000;
/** The most bytes that TLS and HTTP servers accept for a hello or a request's fields. */
const MOST_BYTES = 16_384;
const FIRST_ROOM = 2_048;
/** How often held bytes are read anew: a guest that sends single bytes would otherwise have them all read for each. */
const MOST_LOOKS = 256;

/** A connection, as far as its first bytes are concerned. */
export interface InspectedFlow {
  host: HostTcp | null;
  readonly hostClosed: boolean;
  /** The name that the connection's first bytes have shown. */
  shown: string | null;
  onData(bytes: Uint8Array, at: number, len: number): void;
  onClose(code: string | null): void;
}

export class FirstBytes {
  /** Bytes held by all connections. */
  held = 0;
  readonly #env: Pick<NatContext, "bytes" | "clock" | "trace" | "wake">;
  readonly #most: number;
  /** Whether refused HTTP requests are answered. */
  readonly answers: boolean;
  readonly #waiting: Deadlines<FirstBytesSocket> = new Deadlines();

  /**
   * All connections together may hold `most` bytes. With `answers` an HTTP request that is refused for its name gets a
   * response.
   */
  constructor(env: Pick<NatContext, "bytes" | "clock" | "trace" | "wake">, most: number, answers: boolean = false) {
    this.#env = env;
    this.answers = answers;
    this.#most = most;
  }

  /** A socket that stands in for the flow's host socket until the guest's first bytes have passed `nameCheck`. */
  watch(flow: InspectedFlow, nameCheck: NameCheck, heard: HeardHost | null = null): HostTcp {
    return new FirstBytesSocket(this, flow, flow.host!, nameCheck, heard);
  }

  /**
   * First bytes have come, and show no name yet. If all connections hold too much, the one that waits longest is
   * decided.
   */
  wait(socket: FirstBytesSocket): void {
    if (this.#waiting.schedule(socket, this.#env.clock.now() + WAIT_MS)) this.#env.wake();
    while (this.held > this.#most) {
      const longest = this.#waiting.due(Number.MAX_VALUE);
      if (longest === null) return;
      longest.decide("none");
    }
  }

  forget(socket: FirstBytesSocket): void {
    this.#waiting.remove(socket);
  }

  note(more: number): void {
    this.held += more;
    this.#env.bytes.note(more);
  }

  refused(): void {
    this.#env.trace.drop("name-refused");
  }

  pollAt(): number {
    return this.#waiting.next();
  }

  poll(now: number): void {
    for (let each = this.#waiting.due(now); each !== null; each = this.#waiting.due(now)) each.decide("none");
  }
}

class FirstBytesSocket extends HostTcpStage implements Timed {
  heapIndex = -1;
  heapTime = 0;
  readonly #all: FirstBytes;
  readonly #flow: InspectedFlow;
  readonly #nameCheck: NameCheck;
  #held: Uint8Array = new Uint8Array(0);
  #len = 0;
  #looks = 0;
  #state: "undecided" | "requests" | "passed" | "refused" = "undecided";
  #requests: HttpRequests | TlsHellos | StrangeLine | null = null;
  /** The HTTP request for which the connection is refused; null when it is refused for another reason. */
  #asked: ShownName | null = null;
  /** Follows the host's responses; null where refused requests are not answered. */
  readonly #heard: HeardHost | null;

  constructor(all: FirstBytes, flow: InspectedFlow, socket: HostTcp, nameCheck: NameCheck, heard: HeardHost | null) {
    super();
    this.#all = all;
    this.#flow = flow;
    this.socket = socket;
    this.#nameCheck = nameCheck;
    this.#heard = heard;
  }

  /** Held bytes are no backlog: the host has not been given them, and `nameWaitingBytes` bounds them. */
  override write(slab: Slab, at: number, len: number): void {
    if (this.#state === "passed") this.socket.write(slab, at, len);
    if (this.#state === "requests") this.#readRequests(slab, at, len);
    if (this.#state !== "undecided") return;
    // The first bytes mostly come together, and are read where they stand.
    const alone = this.#len === 0;
    if (!alone) this.#hold(slab.bytes, at, len);
    const shown = alone ? readFirstBytes(slab.bytes, at, len) : readFirstBytes(this.#held, 0, this.#len);
    if (shown === "more") {
      if (++this.#looks >= MOST_LOOKS || this.#len + (alone ? len : 0) > MOST_BYTES) return void this.decide("none");
      if (alone) this.#hold(slab.bytes, at, len);
      this.#all.wait(this);
    } else if (shown === "other" || shown.flaw === null) {
      if (shown === "other" && !this.#flow.hostClosed && !this.#nameCheck("other")) return this.#refuse();
      const look = (request: ShownName | HttpRequest): boolean => this.#mayAsk(request);
      if (shown === "other") this.#requests = new StrangeLine(look);
      else this.#requests = shown.by === "HTTP" ? new HttpRequests(look) : new TlsHellos(look);
      this.#state = "requests";
      if (alone) this.#readRequests(slab, at, len);
      else this.#readHeld();
    } else if (this.decide(shown) && alone) this.socket.write(slab, at, len);
  }

  /** While bytes are read, each piece is read by itself. */
  override writeMany(slab: Slab, at: Int32Array, len: Int32Array, count: number): void {
    if (this.#state === "passed") super.writeMany(slab, at, len, count);
    else for (let i = 0; i < count; i++) this.write(slab, at[i]!, len[i]!);
  }

  /** A connection that ends before it has shown a name will not show one. */
  override end(): void {
    if (this.#len > 0 && (this.#state === "undecided" || this.#state === "requests")) this.decide("none");
    if (this.#state !== "refused") this.socket.end();
  }

  #readRequests(slab: Slab, at: number, len: number): void {
    if (this.#len > 0) {
      this.#hold(slab.bytes, at, len);
      return this.#readHeld();
    }
    const passed = this.#requests!.feed(slab.bytes, at, len);
    if (passed < 0 && this.#nameCheck.lenient === true) {
      this.#pass();
      return this.socket.write(slab, at, len);
    }
    if (passed < 0) return this.#refuse();
    if (passed > 0) this.socket.write(slab, at, passed);
    this.#keep(slab.bytes, at + passed, len - passed);
  }

  #readHeld(): void {
    const held = this.#held;
    const len = this.#len;
    const read = this.#requests!.feed(held, 0, len);
    const lenient = read < 0 && this.#nameCheck.lenient === true;
    if (read < 0 && !lenient) return this.#refuse();
    const passed = lenient ? len : read;
    if (passed === 0) return this.#keep(held, 0, 0);
    this.#letGo();
    if (lenient) this.#pass();
    this.socket.write(new HeldBytes(held), 0, passed);
    if (!lenient) this.#keep(held, passed, len - passed);
  }

  /**
   * Holds a request's beginning until its rest comes. Without a beginning, removes this link if the protocol is not
   * HTTP.
   */
  #keep(bytes: Uint8Array, at: number, len: number): void {
    if (len > 0) this.#hold(bytes, at, len);
    if (this.#len > MOST_BYTES) return void this.decide("none");
    if (this.#len > 0) return this.#all.wait(this);
    if (this.#requests!.over) this.#pass();
  }

  #mayAsk(request: ShownName | HttpRequest): boolean {
    if (!this.#nameCheck(request)) {
      if (request.by === "HTTP") this.#asked = request;
      return false;
    }
    if ("method" in request) this.#heard?.request(request.method);
    else this.#heard?.stop();
    this.#flow.shown = request.name;
    return true;
  }

  override reset(code?: string): void {
    this.#leave("refused");
    this.socket.reset(code);
  }

  /** Whether the connection may go on: held bytes go to the host. If not, both ends are reset. */
  decide(shown: Parameters<NameCheck>[0]): boolean {
    const held = this.#held;
    const len = this.#len;
    // The host's side may have ended meanwhile, and the flow with it.
    if (this.#flow.hostClosed) this.#leave("refused");
    else if (this.#nameCheck(shown)) {
      if (shown !== "other" && shown !== "none") this.#flow.shown = shown.name;
      this.#pass();
      if (len > 0) this.socket.write(new HeldBytes(held), 0, len);
      return true;
    } else this.#refuse();
    return false;
  }

  #pass(): void {
    this.#leave("passed");
    this.#heard?.stop();
    if (this.#flow.host === this) this.#flow.host = this.socket;
  }

  #refuse(): void {
    this.#leave("refused");
    this.#all.refused();
    this.socket.reset();
    const answer = this.#answer();
    // A socket's events never come from within a call.
    queueMicrotask(() => {
      if (this.#flow.hostClosed) return;
      if (answer === null) return this.#flow.onClose("denied");
      this.#flow.onData(answer, 0, answer.length);
      this.#flow.onClose(null);
    });
  }

  /**
   * The response to the guest's refused request; null for none. While another request awaits its response, or the host
   * is in the middle of one, our bytes might end up within that. If a request is malformed, nobody knows where it ends.
   */
  #answer(): Uint8Array | null {
    if (this.#heard === null || !this.#heard.idle || this.#asked === null) return null;
    const { name, flaw, by } = this.#asked;
    if (by !== "HTTP" || flaw !== null) return null;
    return httpRefusal(name ?? "a request without a name", this.#nameCheck.refusedBy ?? "default deny");
  }

  #leave(state: "passed" | "refused"): void {
    this.#state = state;
    this.#letGo();
  }

  /** Forgets the held bytes: they have been handed on, or dropped. */
  #letGo(): void {
    this.#all.forget(this);
    this.#all.note(-this.#held.length);
    this.#held = new Uint8Array(0);
    this.#len = 0;
  }

  #hold(bytes: Uint8Array, at: number, len: number): void {
    const need = this.#len + len;
    if (need > this.#held.length) {
      const larger = new Uint8Array(Math.max(FIRST_ROOM, need, 2 * this.#held.length));
      larger.set(this.#held.subarray(0, this.#len));
      this.#all.note(larger.length - this.#held.length);
      this.#held = larger;
    }
    this.#held.set(bytes.subarray(at, at + len), this.#len);
    this.#len = need;
  }
}

/** Held bytes as a slab. They are in nobody else's memory, so a socket may keep them as long as it likes. */
class HeldBytes implements Slab {
  readonly scarce = false;
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  pin(): void {}

  unpin(): void {}
}
