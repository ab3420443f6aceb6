/**
 * The clients of UDP forwards, as guests know them: by address and port, so that a guest's answer finds its client.
 *
 * A conversation is between one client and one address of one forward. The guest sees the client's address (or the
 * gateway's, if guests may not see that one) and its port. Two conversations can look alike to the guest: one client
 * asks two addresses of the host, or two forwards to the same guest port; two clients on this machine have the same
 * port. Then the later one is shown with another port, as a NAT does.
 */
import type { IpAddress } from "../../core/address.ts";
import type { HostUdp, UdpSender } from "../../core/host-net.ts";
import type { Random } from "../../core/random.ts";
import type { Neighbour } from "../../proto/neighbours.ts";
import { FlowMap } from "../flow/flow-map.ts";
import type { ClientTable, ForwardClient } from "./forward-client.ts";

/** How many ports are tried before giving up. */
const TRIES = 16;

export class ForwardClients implements ClientTable {
  readonly #random: Random;
  readonly #byEnds: FlowMap<ForwardClient>;
  /** Clients that are shown with another port than their own, by socket and by the key that `wordsOf` makes. */
  readonly #renamed: Map<HostUdp, Map<string, ForwardClient>> = new Map();
  /** The client heard last, which is mostly the next one, too. */
  #last: ForwardClient | null = null;

  constructor(random: Random) {
    this.#random = random;
    this.#byEnds = new FlowMap(random);
  }

  get size(): number {
    return this.#byEnds.size;
  }

  /** The client at the ends that a guest's packet names. */
  get(guest: Neighbour, buf: Uint8Array, farAt: number, ports: number): ForwardClient | null {
    return this.#byEnds.get(guest, buf, farAt, ports);
  }

  /** The client of the previous datagram, if this one is the same client's; otherwise null. */
  again(guest: Neighbour, guestPort: number, socket: HostUdp, from: UdpSender): ForwardClient | null {
    const last = this.#last;
    if (last === null || last.client !== from || last.socket !== socket) return null;
    return last.guest === guest && last.guestPort === guestPort ? last : null;
  }

  /** The client that the guest knows by the address `far`; null when it is new. */
  find(guest: Neighbour, guestPort: number, far: IpAddress, socket: HostUdp, from: UdpSender): ForwardClient | null {
    let client = this.#byEnds.get(guest, far.bytes, 0, (guestPort << 16) | from.port);
    if (client === null || !client.isOf(socket, from))
      client = this.#renamed.get(socket)?.get(wordsOf(guest, guestPort, from)) ?? null;
    if (client === null) return null;
    // The same address may be reached by another interface now.
    client.client = from;
    this.#last = client;
    return client;
  }

  /** The port by which the guest is to know a new client; 0 when none is free. */
  portFor(guest: Neighbour, guestPort: number, far: IpAddress, { port: own }: UdpSender): number {
    const taken = (port: number): boolean => this.#byEnds.get(guest, far.bytes, 0, (guestPort << 16) | port) !== null;
    let port = own;
    for (let tries = 0; port === 0 || taken(port); tries++) {
      if (tries === TRIES) return 0;
      port = 1024 + (this.#random.u32() % 64_512);
    }
    return port;
  }

  add(client: ForwardClient): void {
    const { guest, guestPort, far, farPort, socket } = client;
    this.#byEnds.add(guest, far, (guestPort << 16) | farPort, client);
    this.#last = client;
    if (farPort === client.client.port) return;
    let renamed = this.#renamed.get(socket);
    if (renamed === undefined) this.#renamed.set(socket, (renamed = new Map()));
    renamed.set(wordsOf(guest, guestPort, client.client), client);
  }

  remove(client: ForwardClient): void {
    const { guest, guestPort, far, farPort, socket } = client;
    this.#byEnds.remove(guest, far, (guestPort << 16) | farPort);
    if (this.#last === client) this.#last = null;
    if (farPort === client.client.port) return;
    const renamed = this.#renamed.get(socket);
    renamed?.delete(wordsOf(guest, guestPort, client.client));
    if (renamed?.size === 0) this.#renamed.delete(socket);
  }

  /** All clients of a socket. */
  by(socket: HostUdp): ForwardClient[] {
    return [...this.#byEnds].filter((client) => client.socket === socket);
  }
}

function wordsOf(guest: Neighbour, guestPort: number, { host, port, asked }: UdpSender): string {
  return `${guest.address.text} ${guestPort} ${host} ${port} ${asked ?? ""}`;
}
