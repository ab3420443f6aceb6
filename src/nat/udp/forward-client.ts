/** A client of a UDP forward, shown to the guest by its address; the forward's socket is all its clients'. */
import type { IpAddress } from "../../core/address.ts";
import type { HostUdp, UdpSender } from "../../core/host-net.ts";
import type { Neighbour } from "../../proto/neighbours.ts";
import { type GuestError, NO_NAMES } from "../flow/flow.ts";
import { UdpFlow, type UdpFlowOwner } from "./udp-flow.ts";

/** Where a client's flow is found. */
export interface ClientTable {
  remove(client: ForwardClient): void;
}

export class ForwardClient extends UdpFlow {
  readonly far: IpAddress;
  /** The client's own, or another where somebody else is known to the guest by that. */
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

  /** Whether it is this client's conversation by this socket, with the address that it has asked. */
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

  /** A client whose port is closed is forgotten. */
  override guestError(error: GuestError, seq: number, mtu: number): boolean {
    if (error === "refused") this.close("refused");
    return super.guestError(error, seq, mtu);
  }

  /** The socket is the forward's, and stays. */
  protected leave(): void {
    this.#table.remove(this);
  }
}
