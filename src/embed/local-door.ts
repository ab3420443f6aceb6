/**
 * The process's own services for guests. When another network takes the current one's place, it gets the same
 * services.
 */
import type { Endpoint } from "../core/address.ts";
import type { AcceptedTcp } from "../core/host-net.ts";
import type { TcpService, UdpService } from "../nat/services.ts";
import type { Local } from "../stack/local-services.ts";

type End = (() => void) | null;

interface Served {
  readonly open: (local: Local) => End;
  end: End;
}

export class LocalDoor implements Local {
  #local: Local;
  readonly #served: Set<Served> = new Set();

  constructor(local: Local) {
    this.#local = local;
  }

  /** Opens every service on the network that takes the place of the closed one. */
  replace(local: Local): void {
    this.#local = local;
    for (const each of this.#served) each.end = each.open(local);
  }

  isGuest(host: string): boolean {
    return this.#local.isGuest(host);
  }

  dial(guest: Endpoint, client: AcceptedTcp): Endpoint | null {
    return this.#local.dial(guest, client);
  }

  serveTcp(at: Endpoint, service: TcpService): End {
    return this.#serve((local) => local.serveTcp(at, service));
  }

  serveUdp(at: Endpoint, service: UdpService): End {
    return this.#serve((local) => local.serveUdp(at, service));
  }

  sendUdp(from: Endpoint, guest: Endpoint, bytes: Uint8Array): void {
    this.#local.sendUdp(from, guest, bytes);
  }

  #serve(open: (local: Local) => End): End {
    const served: Served = { open, end: open(this.#local) };
    if (served.end === null) return null;
    this.#served.add(served);
    return () => {
      this.#served.delete(served);
      served.end?.();
    };
  }
}
