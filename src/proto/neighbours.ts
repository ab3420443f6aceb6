/**
 * The guests' addresses (ARP, RFC 826): who has which IPv4 address and on which cable. Learned from what guests send,
 * never from what they claim about addresses that are not theirs: the gateway's, the DNS server's, or one that DHCP
 * has bound to another guest.
 */
import type { Link } from "../core/link.ts";
import { macEquals } from "../wire/ethernet.ts";

/** A guest's interface. Flows hold on to it; its MAC and cable follow the guest. */
export interface Neighbour {
  readonly ip: number;
  readonly mac: Uint8Array;
  /** Null while nobody has answered for the address, and once the cable is gone. */
  link: Link | null;
  /** Counts the changes of `mac`, so that what was made from it can be made anew. */
  epoch: number;
}

const LIMIT = 1024;

export class Neighbours {
  readonly #byIp: Map<number, Neighbour> = new Map();

  get(ip: number): Neighbour | undefined {
    return this.#byIp.get(ip);
  }

  /** The record of an address that somebody wants to reach, known or not. */
  expect(ip: number): Neighbour {
    return this.#byIp.get(ip) ?? this.#add({ ip, mac: new Uint8Array(6), link: null, epoch: 0 });
  }

  /** Records that `ip` is at the MAC standing at `macAt`. The oldest is forgotten beyond the cap. */
  learn(ip: number, buf: Uint8Array, macAt: number, link: Link): Neighbour {
    const n = this.expect(ip);
    if (!macEquals(buf, macAt, n.mac)) {
      n.mac.set(buf.subarray(macAt, macAt + 6));
      n.epoch++;
    }
    n.link = link;
    return n;
  }

  #add(n: Neighbour): Neighbour {
    if (this.#byIp.size >= LIMIT) this.#byIp.delete(this.#byIp.keys().next().value!);
    this.#byIp.set(n.ip, n);
    return n;
  }

  /** A cable is gone: its guests are unreachable until they speak again. Returns them. */
  detached(link: Link): Neighbour[] {
    const gone = [...this.#byIp.values()].filter((n) => n.link === link);
    for (const n of gone) n.link = null;
    return gone;
  }
}
