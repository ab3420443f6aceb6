/**
 * A connection's path to its guest: headers that stand ready and are written in front of each segment into the cable's
 * slab.
 */
import type { IpAddress } from "../../core/address.ts";
import { COMPLETE, type Link, MAX_FRAME, SUM_UNDONE } from "../../core/link.ts";
import type { Neighbour } from "../../proto/neighbours.ts";
import type { TcpPath } from "../../proto/tcp/types.ts";
import { PROTO_TCP } from "../../wire/ipv4.ts";
import { type Egress, headersOf, patchHeaders, templateSum } from "../egress.ts";
import type { StalledFlow, StalledFlows } from "./stalled-flows.ts";
import type { TcpResets } from "./tcp-resets.ts";

const NO_TEMPLATE = new Uint8Array(0);

/** A connection, as far as its segments' headers depend on it. */
export interface PathFlow extends StalledFlow {
  readonly guestPort: number;
  readonly far: IpAddress;
  readonly farPort: number;
}

/** What the paths of all connections have in common. */
export interface PathContext {
  readonly egress: Egress;
  readonly resets: TcpResets;
  readonly stalled: StalledFlows;
  /** A cable has a frame to flush. */
  touchLink(link: Link): void;
}

export class GuestPath implements TcpPath {
  readonly guestPort: number;
  readonly farPort: number;
  /** Bytes of headers in front of a segment. */
  readonly headers: number;
  readonly #flow: PathFlow;
  readonly #guest: Neighbour;
  readonly #far: IpAddress;
  readonly #env: PathContext;
  readonly #pseudo: number;
  #template: Uint8Array = NO_TEMPLATE;
  #base = 0;
  /** The guest's epoch when the template was made, since the template contains the guest's MAC. */
  #epoch = -1;

  constructor(flow: PathFlow, env: PathContext) {
    const { guest, guestPort, far, farPort } = flow;
    this.guestPort = guestPort;
    this.farPort = farPort;
    this.headers = headersOf(guest.family);
    this.#flow = flow;
    this.#guest = guest;
    this.#far = far;
    this.#env = env;
    this.#pseudo = far.sum + guest.address.sum + PROTO_TCP;
  }

  get tx(): Uint8Array {
    return this.#guest.link!.tx;
  }

  get reachable(): boolean {
    return this.#guest.link !== null;
  }

  reserve(len: number): number {
    const guest = this.#guest;
    const link = guest.link;
    if (link === null) {
      this.#env.stalled.unresolved(this.#flow);
      return -1;
    }
    const at = link.reserve(this.headers + len);
    if (at < 0) {
      this.#env.stalled.blocked(this.#flow);
      return -1;
    }
    if (this.#epoch !== guest.epoch) {
      this.#epoch = guest.epoch;
      this.#template = this.#env.egress.template(guest, this.#far, PROTO_TCP);
      this.#base = templateSum(this.#template);
    }
    patchHeaders(this.#template, this.#base, link.tx, at, len);
    return at + this.headers;
  }

  offload(): number {
    const guest = this.#guest;
    const offload = guest.link?.offload ?? null;
    if (offload === null) return 0;
    if (guest.family === 4 ? offload.tcp4 : offload.tcp6) return Math.min(offload.largest, MAX_FRAME) - this.headers;
    return offload.sums ? SUM_UNDONE : 0;
  }

  gather(o: number, buf: Uint8Array, at: number, len: number): void {
    const link = this.#guest.link!;
    if (link.gather === undefined) link.tx.set(buf.subarray(at, at + len), o);
    else link.gather(o, buf, at, len);
  }

  commit(len: number, undone: number = COMPLETE): void {
    const link = this.#guest.link!;
    link.commit(this.headers + len, undone);
    this.#env.touchLink(link);
  }

  pseudo(len: number): number {
    return this.#pseudo + len;
  }

  resetLost(seq: number, ack: number): void {
    const { guestPort, farPort } = this;
    this.#env.resets.owe({ guest: this.#guest, far: this.#far, farPort, guestPort, seq, ack });
  }
}
