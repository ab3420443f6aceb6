/**
 * Connections whose first bytes have to show a name before the host is given any of them.
 *
 * Theory of operation. The host has been dialled, as for every connection: the address is one that may be dialled. A link
 * of the chain before the socket (`chain.ts`) holds the guest's bytes until they have shown whom they are for (`proto/first-bytes`); then
 * the socket is put back, and the flow is one like all others. What the host says passes meanwhile: where the server
 * speaks first nobody waits. Time (from the first byte), bytes, looks and what all connections hold are bounded, and
 * what exceeds them is refused.
 *
 * HTTP in the clear names a server with each request, so such a connection is never let go: each request's head is held
 * until it is whole and allowed (`proto/http-requests`), and bodies pass as they come, counted. That costs a call and a
 * few comparisons for each write of the guest's to such a connection. TLS may show a second hello, with another name, and is let
 * go when none can follow (`proto/tls-hellos`); another protocol when its first line can be no request's (`proto/strange-line`).
 *
 * Refused requests may be answered. Then the host's bytes are counted on their way (`heard-host`): an answer of ours stands
 * behind a whole one of the host's, or there is none.
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
/** The most bytes that TLS and HTTP servers take for a hello or a request's fields. */
const MOST_BYTES = 16_384;
const FIRST_ROOM = 2_048;
/** A guest that sends byte by byte would have all that is held read anew for each. */
const MOST_LOOKS = 256;

/** A connection, as far as its first bytes are concerned. */
export interface InspectedFlow {
  host: HostTcp | null;
  readonly hostClosed: boolean;
  /** The name that its first bytes have shown. */
  shown: string | null;
  onData(bytes: Uint8Array, at: number, len: number): void;
  onClose(code: string | null): void;
}

export class FirstBytes {
  /** Bytes held by all connections. */
  held = 0;
  readonly #env: Pick<NatContext, "bytes" | "clock" | "trace" | "wake">;
  readonly #most: number;
  /** Requests of HTTP are answered when they are refused. */
  readonly answers: boolean;
  readonly #waiting: Deadlines<FirstBytesSocket> = new Deadlines();

  /** All connections may hold `most` bytes. With `answers` a request that is refused for its name is told so. */
  constructor(env: Pick<NatContext, "bytes" | "clock" | "trace" | "wake">, most: number, answers: boolean = false) {
    this.#env = env;
    this.answers = answers;
    this.#most = most;
  }

  /** What takes the place of the flow's host socket until the guest's first bytes have passed `look`. */
  watch(flow: InspectedFlow, nameCheck: NameCheck, heard: HeardHost | null = null): HostTcp {
    return new FirstBytesSocket(this, flow, flow.host!, nameCheck, heard);
  }

  /** The first bytes are there, and do not say enough. The longest wait ends when all hold too much. */
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
  /** The request for which the connection is refused; null for anything else. */
  #asked: ShownName | null = null;
  /** What the host says; null where nothing of ours is to be put behind it. */
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
    // Nearly always the first bytes are all it takes, and are looked at where they stand.
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

  /** Bytes that are read on their way are read piece by piece. */
  override writeMany(slab: Slab, at: Int32Array, len: Int32Array, count: number): void {
    if (this.#state === "passed") super.writeMany(slab, at, len, count);
    else for (let i = 0; i < count; i++) this.write(slab, at[i]!, len[i]!);
  }

  /** A connection that ends before it has shown a name will show none. */
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

  /** Holds the beginning of a request for its rest; without one the socket is put back if it is no HTTP any more. */
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

  /** Whether the connection may go on: what is held goes to the host, else both ends are reset. */
  decide(shown: Parameters<NameCheck>[0]): boolean {
    const held = this.#held;
    const len = this.#len;
    // The host may be gone meanwhile, and has taken the flow with it.
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
    // As a socket would tell: never from inside the call.
    queueMicrotask(() => {
      if (this.#flow.hostClosed) return;
      if (answer === null) return this.#flow.onClose("denied");
      this.#flow.onData(answer, 0, answer.length);
      this.#flow.onClose(null);
    });
  }

  /**
   * What the guest is told of its request; null for nothing. While another one waits for its answer, or the host is in the
   * middle of one, bytes of ours might stand within that, and of a request that cannot be relied on nobody knows where it ends.
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

  /** What is held is somebody else's now, or nobody's. */
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

/** Memory of nobody else's: a socket may keep it as long as it likes. */
class HeldBytes implements Slab {
  readonly scarce = false;
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  pin(): void {}

  unpin(): void {}
}
