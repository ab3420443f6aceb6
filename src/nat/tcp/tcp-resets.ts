/**
 * Resets to guests that belong to no connection any more.
 *
 * A refusal's RST may get lost: the guest sends again and is refused again. Not so the RST that ends a connection: the
 * guest may have nothing to send and would wait for ever. If that one finds the cable full it is owed, and goes when
 * the cable has room.
 */
import type { IpAddress } from "../../core/address.ts";
import type { Link } from "../../core/link.ts";
import type { Neighbour } from "../../proto/neighbours.ts";
import { PROTO_TCP } from "../../wire/ipv4.ts";
import { ACK, RST, TCP_HEADER, tcpSeal, tcpWrite } from "../../wire/tcp.ts";
import type { NatContext } from "../context.ts";
import { headersOf, patchHeaders, templateSum } from "../egress.ts";

/** As many as a burst of ends may be; what is beyond is lost and counted. */
const MAX_OWED = 4_096;

interface Reset {
  readonly guest: Neighbour;
  /** The far end as the guest knows it. */
  readonly far: IpAddress;
  readonly farPort: number;
  readonly guestPort: number;
  readonly seq: number;
  /** Null: a RST without ACK. */
  readonly ack: number | null;
}

export class TcpResets {
  readonly #env: Pick<NatContext, "trace" | "egress" | "touchLink">;
  #owed: Reset[] = [];

  constructor(env: Pick<NatContext, "trace" | "egress" | "touchLink">) {
    this.#env = env;
  }

  /** Now or never. */
  send(reset: Reset): void {
    if (reset.guest.link === null) this.#env.trace.drop("guest-unreachable");
    else if (!this.#write(reset, reset.guest.link)) this.#env.trace.drop("cable-full");
  }

  /** When the cable, which has just been found full, has room. */
  owe(reset: Reset): void {
    if (reset.guest.link === null) this.#env.trace.drop("guest-unreachable");
    else if (this.#owed.length >= MAX_OWED) this.#env.trace.drop("cable-full");
    else this.#owed.push(reset);
  }

  /** A cable has room. */
  writable(link: Link): void {
    this.#pay((guest) => guest.link === link);
  }

  /** A guest is on another cable than the one that had no room. */
  moved(guest: Neighbour): void {
    this.#pay((each) => each === guest);
  }

  #pay(may: (guest: Neighbour) => boolean): void {
    if (this.#owed.length === 0) return;
    const owed = this.#owed;
    this.#owed = [];
    for (const reset of owed) {
      const { link } = reset.guest;
      if (link === null || !may(reset.guest) || !this.#write(reset, link)) this.owe(reset);
    }
  }

  #write({ guest, far, farPort, guestPort, seq, ack }: Reset, link: Link): boolean {
    const headers = headersOf(guest.family);
    const o = link.reserve(headers + TCP_HEADER);
    if (o < 0) return false;
    const template = this.#env.egress.template(guest, far, PROTO_TCP);
    patchHeaders(template, templateSum(template), link.tx, o, TCP_HEADER);
    const h = o + headers;
    tcpWrite(link.tx, h, farPort, guestPort, seq, ack ?? 0, TCP_HEADER, ack === null ? RST : RST | ACK, 0);
    tcpSeal(link.tx, h, TCP_HEADER, far.sum + guest.address.sum + PROTO_TCP + TCP_HEADER);
    link.commit(headers + TCP_HEADER);
    this.#env.touchLink(link);
    return true;
  }
}
