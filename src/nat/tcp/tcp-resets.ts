/**
 * Resets to guests that belong to no connection any more.
 *
 * A refusal's RST may get lost: the guest sends its segment again and is refused again. A RST that ends a connection
 * must not: the guest may have nothing to send, and would wait for ever. If the cable is full, such a RST is owed and
 * goes out when the cable has room.
 */
import type { IpAddress } from "../../core/address.ts";
import type { Link } from "../../core/link.ts";
import type { Neighbour } from "../../proto/neighbours.ts";
import { PROTO_TCP } from "../../wire/ipv4.ts";
import { ACK, RST, TCP_HEADER, tcpSeal, tcpWrite } from "../../wire/tcp.ts";
import type { NatContext } from "../context.ts";
import { headersOf, patchHeaders, templateSum } from "../egress.ts";

/** How many RSTs a cable may be owed: a burst of ends fits. RSTs beyond that are lost and counted. */
const MAX_OWED = 4_096;

interface Reset {
  readonly guest: Neighbour;
  /** The far end as the guest knows it. */
  readonly far: IpAddress;
  readonly farPort: number;
  readonly guestPort: number;
  readonly seq: number;
  /** The acknowledgement number; null sends a RST without ACK. */
  readonly ack: number | null;
}

export class TcpResets {
  readonly #env: Pick<NatContext, "trace" | "egress" | "touchLink">;
  /** By cable, so that one guest's RSTs take no other guest's place. */
  readonly #owed: Map<Link, Reset[]> = new Map();
  /** RSTs that were owed on cables that are gone. */
  #homeless: Reset[] = [];

  constructor(env: Pick<NatContext, "trace" | "egress" | "touchLink">) {
    this.#env = env;
  }

  /** Sends a RST now; it is lost if the cable is full. */
  send(reset: Reset): void {
    if (reset.guest.link === null) this.#env.trace.drop("guest-unreachable");
    else if (!this.#write(reset, reset.guest.link)) this.#env.trace.drop("cable-full");
  }

  /** Keeps a RST until the cable, which has just been found full, has room. */
  owe(reset: Reset): void {
    const { link } = reset.guest;
    if (link === null) return this.#env.trace.drop("guest-unreachable");
    const owed = this.#owed.get(link);
    if (owed === undefined) this.#owed.set(link, [reset]);
    else if (owed.length >= MAX_OWED) this.#env.trace.drop("cable-full");
    else owed.push(reset);
  }

  /** A cable has room. */
  writable(link: Link): void {
    const owed = this.#owed.get(link);
    if (owed === undefined) return;
    this.#owed.delete(link);
    for (const reset of owed) if (reset.guest.link !== link || !this.#write(reset, link)) this.owe(reset);
  }

  /** A guest has moved to another cable, away from the one that had no room. */
  moved(guest: Neighbour): void {
    if (this.#owed.size === 0 && this.#homeless.length === 0) return;
    const owed = this.#homeless.filter((reset) => reset.guest === guest);
    this.#homeless = this.#homeless.filter((reset) => reset.guest !== guest);
    for (const [link, resets] of this.#owed) {
      if (link === guest.link || !resets.some((reset) => reset.guest === guest)) continue;
      owed.push(...resets.filter((reset) => reset.guest === guest));
      this.#owed.set(
        link,
        resets.filter((reset) => reset.guest !== guest),
      );
    }
    for (const reset of owed) if (guest.link === null || !this.#write(reset, guest.link)) this.owe(reset);
  }

  /** A cable is gone: the RSTs owed on it wait for their guests to come back. */
  detached(link: Link): void {
    for (const reset of this.#owed.get(link) ?? []) {
      if (this.#homeless.length < MAX_OWED) this.#homeless.push(reset);
      else this.#env.trace.drop("guest-unreachable");
    }
    this.#owed.delete(link);
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
