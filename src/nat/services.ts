/**
 * Ends within the process: services that answer at an address and port in place of the host's sockets. The DNS server's
 * TCP port is one; users of the library listen on others. An address of the guests' net that has a service is ours
 * (`Policy.isOurs`): we answer ARP for it, and no guest may send from it.
 */
import { type Endpoint, endpointText, type IpText } from "../core/address.ts";
import type { HostTcp, HostTcpEvents } from "../core/host-net.ts";

/** Called for a guest's SYN as if it dialled the host: `events.onConnect` or `onClose` follows. */
export type TcpService = (events: HostTcpEvents, guest: Endpoint) => HostTcp;

/** A guest's datagram. The bytes are valid during the call only. */
export type UdpService = (bytes: Uint8Array, at: number, len: number, guest: Endpoint) => void;

export class Services {
  readonly #tcp: Map<string, TcpService> = new Map();
  readonly #udp: Map<string, UdpService> = new Map();
  /** How many services each UDP port has, and each address. */
  readonly #udpPorts: Map<number, number> = new Map();
  readonly #hosts: Map<IpText, number> = new Map();

  /** Called for each SYN. */
  tcp(at: Endpoint): TcpService | null {
    return this.#tcp.get(endpointText(at)) ?? null;
  }

  udp(at: Endpoint): UdpService | null {
    return this.#udp.get(endpointText(at)) ?? null;
  }

  /**
   * Whether any address has a service on this UDP port. Called for each datagram, before anything is allocated for it.
   */
  hasUdp(port: number): boolean {
    return this.#udpPorts.has(port);
  }

  /** Whether an address has any service. */
  hasHost(host: IpText): boolean {
    return this.#hosts.has(host);
  }

  /** False when the address and port have a service already. */
  addTcp(at: Endpoint, service: TcpService): boolean {
    if (this.#tcp.has(endpointText(at))) return false;
    this.#tcp.set(endpointText(at), service);
    count(this.#hosts, at.host, 1);
    return true;
  }

  addUdp(at: Endpoint, service: UdpService): boolean {
    if (this.#udp.has(endpointText(at))) return false;
    this.#udp.set(endpointText(at), service);
    count(this.#udpPorts, at.port, 1);
    count(this.#hosts, at.host, 1);
    return true;
  }

  removeTcp(at: Endpoint): void {
    if (this.#tcp.delete(endpointText(at))) count(this.#hosts, at.host, -1);
  }

  removeUdp(at: Endpoint): void {
    if (!this.#udp.delete(endpointText(at))) return;
    count(this.#udpPorts, at.port, -1);
    count(this.#hosts, at.host, -1);
  }
}

function count<K>(counts: Map<K, number>, key: K, by: 1 | -1): void {
  const left = (counts.get(key) ?? 0) + by;
  if (left === 0) counts.delete(key);
  else counts.set(key, left);
}
