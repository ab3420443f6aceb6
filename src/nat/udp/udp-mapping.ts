/** What all mappings of the UDP NAT are: a guest's port, counters, and a time at which silence ends them. */
import { type Endpoint, endpointText } from "../../core/address.ts";
import type { Link } from "../../core/link.ts";
import type { Neighbour } from "../../proto/neighbours.ts";
import type { IdleFlow } from "../flow/idle-flows.ts";

/** RFC 4787 section 4.3 wants two minutes at least. */
export const IDLE_MS = 180_000;
export const IDLE_AFTER_DNS_MS = 10_000;
const DNS_PORT = 53;

/** How long a mapping lives on after a datagram from this port. */
export function idleAfter(port: number): number {
  return port === DNS_PORT ? IDLE_AFTER_DNS_MS : IDLE_MS;
}

export abstract class Mapping implements IdleFlow {
  heapIndex = -1;
  heapTime = 0;
  expires = 0;
  cable: Link | null = null;
  bytesUp = 0;
  bytesDown = 0;
  readonly guest: Neighbour;
  readonly guestPort: number;
  /** Who began. */
  abstract readonly direction: "in" | "out";
  /** The far end that the guest spoke with last. */
  abstract readonly remote: Endpoint;

  constructor(guest: Neighbour, guestPort: number) {
    this.guest = guest;
    this.guestPort = guestPort;
  }

  get from(): Endpoint {
    return { host: this.guest.address.text, port: this.guestPort };
  }

  /** Both ends as text, for events. */
  get ends(): { guest: string; remote: string } {
    return { guest: endpointText(this.from), remote: endpointText(this.remote) };
  }

  /** Leaves its table and gives up its socket. */
  abstract leave(): void;
}
