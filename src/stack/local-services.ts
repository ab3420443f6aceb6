/** Ends within the process, without the host's sockets: dials guests, and serves them at addresses of their net. */
import { addressFromText, type Endpoint, type IpAddress, type IpText } from "../core/address.ts";
import type { AcceptedTcp } from "../core/host-net.ts";
import type { Subject } from "../nat/rules/rules.ts";
import type { Services, TcpService, UdpService } from "../nat/services.ts";
import type { Neighbour } from "../proto/neighbours.ts";
import { TFTP_PORT } from "../wire/tftp.ts";
import type { Lan } from "./lan.ts";

const DNS_PORT = 53;

export class LocalServices {
  readonly #lan: Lan;
  readonly #services: Services;

  constructor(lan: Lan, services: Services) {
    this.#lan = lan;
    this.#services = services;
  }

  /** Whether a guest can have the address. */
  isGuest(host: IpText): boolean {
    const { policy } = this.#lan;
    const address = addressFromText(host);
    return address.family === 4 ? policy.isGuest(address.ip) : policy.isGuest6(address.bytes, 0);
  }

  /**
   * Dials a guest for `client`. Returns our end as the guest knows it; null, and `client` is not taken, when there is
   * no room.
   */
  dial(guest: Endpoint, client: AcceptedTcp): Endpoint | null {
    const flow = this.#lan.tcp.accept(this.#neighbour(guest.host), guest.port, client);
    return flow === null ? null : { host: flow.far.text, port: flow.farPort };
  }

  /**
   * Connections of guests to `at` reach `service`, not the host. Returns a function that ends that; null when `at` is
   * taken.
   */
  serveTcp(at: Endpoint, service: TcpService): (() => void) | null {
    const address = addressFromText(at.host);
    if (this.#isTaken(address, at.port) || !this.#services.addTcp(at, service)) return null;
    return this.#serve(address, () => this.#services.removeTcp(at));
  }

  /** As `serveTcp`, for datagrams. */
  serveUdp(at: Endpoint, service: UdpService): (() => void) | null {
    const address = addressFromText(at.host);
    if (this.#isTaken(address, at.port) || !this.#services.addUdp(at, service)) return null;
    return this.#serve(address, () => this.#services.removeUdp(at));
  }

  /** Sends a datagram to a guest, from an address that has a service. */
  sendUdp(from: Endpoint, guest: Endpoint, bytes: Uint8Array): void {
    const to = this.#neighbour(guest.host);
    this.#lan.udp.fromService(to, guest.port, addressFromText(from.host), from.port, bytes);
  }

  /** Whether the process itself answers a guest's flow to that place; no rule judges such a flow. */
  answers({ proto, remote, port, names }: Subject): boolean {
    const { policy, services, tftp, dns } = this.#lan;
    if (proto === "dns") return dns.answersHere(names[0] ?? "") === "always";
    // It is not known where a name would lead.
    if (names.length > 0) return false;
    if (proto === "icmp") return policy.oursAt(remote.family, remote.bytes, 0) !== null;
    const at = { host: remote.text, port };
    if (proto === "tcp") return services.tcp(at) !== null;
    if (services.udp(at) !== null || (policy.isDns(remote) && port === DNS_PORT)) return true;
    return tftp !== null && port === TFTP_PORT && remote.is(policy.gatewayFor(remote.family));
  }

  #neighbour(host: IpText): Neighbour {
    return this.#lan.neighbours.expect(addressFromText(host));
  }

  /** Whether the place is taken: the DNS server's port, or a guest's address. */
  #isTaken(address: IpAddress, port: number): boolean {
    if (this.#lan.policy.isDns(address)) return port === DNS_PORT;
    if (!this.isGuest(address.text)) return false;
    const { neighbours } = this.#lan;
    const guest = address.family === 4 ? neighbours.get(address.ip) : neighbours.get6(address.bytes, 0);
    return guest !== null && guest.link !== null;
  }

  /** Makes an address of the guests' net ours for as long as anything is served there. */
  #serve(address: IpAddress, remove: () => void): () => void {
    const { policy } = this.#lan;
    if (this.isGuest(address.text)) policy.serve(address);
    return () => {
      remove();
      if (!this.#services.hasHost(address.text)) policy.unserve(address);
    };
  }
}

/** The calls that a recording replaces by its own (`record/local`). */
export type Local = Pick<LocalServices, "isGuest" | "dial" | "serveTcp" | "serveUdp" | "sendUdp">;
