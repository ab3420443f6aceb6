/**
 * A client of a UDP forward. The guest knows it by its address. All clients of a forward share the forward's socket.
 */
import type { IpAddress } from "../../core/address.ts";
import type { HostUdp, UdpSender } from "../../core/host-net.ts";
import type { Neighbour } from "../../proto/neighbours.ts";
import { type GuestError, NO_NAMES } from "../flow/flow.ts";
import { UdpFlow, type UdpFlowOwner } from "./udp-flow.ts";

/** The table in which a client's flow is found. */
export interface ClientTable {
  remove(client: ForwardClient): void;
}

export class ForwardClient extends UdpFlow {
  readonly far: IpAddress;
  /** The port by which the guest knows the client: its own, or another where that one is taken. */
  readonly farPort: number;
  readonly socket: HostUdp;
  client: UdpSender;
  readonly #table: ClientTable;

  constructor(
    nat: UdpFlowOwner,
    guest: Neighbour,
    guestPort: number,
    client: UdpSender,
    far: IpAddress,
    farPort: number,
    socket: HostUdp,
    table: ClientTable,
  ) {
    super(nat, "in", guest, guestPort, NO_NAMES);
    this.far = far;
    this.farPort = farPort;
    this.client = client;
    this.socket = socket;
    this.#table = table;
  }

  /**
   * Whether a datagram from this sender on this socket, to the address it was sent to, belongs to this client's
   * conversation.
   */
  isOf(socket: HostUdp, { host, port, asked }: UdpSender): boolean {
    const { client } = this;
    return this.socket === socket && client.port === port && client.host === host && client.asked === asked;
  }

  answer(buf: Uint8Array, at: number, len: number, ttl: number, df: boolean): void {
    this.bytesUp += len;
    this.socket.send(buf, at, len, this.client, ttl, df);
  }

  override get farName(): null {
    return null;
  }

  /** If the guest has closed the port, the client is forgotten. */
  override guestError(error: GuestError, seq: number, mtu: number): boolean {
    if (error === "refused") this.close("refused");
    return super.guestError(error, seq, mtu);
  }

  /** The socket stays: it is the forward's. */
  protected leave(): void {
    this.#table.remove(this);
  }
}
