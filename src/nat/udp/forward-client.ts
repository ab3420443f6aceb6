/** A client of a UDP forward, shown to the guest by its address; the forward's socket is all its clients'. */
import type { Endpoint, IpAddress } from "../../core/address.ts";
import type { HostUdp } from "../../core/host-net.ts";
import type { Neighbour } from "../../proto/neighbours.ts";
import { NO_NAMES } from "../flow/flow.ts";
import type { FlowMap } from "../flow/flow-map.ts";
import type { GuestError } from "../icmp/guest-errors.ts";
import { UdpFlow, type UdpFlowOwner } from "./udp-flow.ts";

export class ForwardClient extends UdpFlow {
  readonly far: IpAddress;
  readonly farPort: number;
  readonly client: Endpoint;
  readonly #socket: HostUdp;
  readonly #table: FlowMap<ForwardClient>;

  constructor(
    nat: UdpFlowOwner,
    guest: Neighbour,
    guestPort: number,
    client: Endpoint,
    far: IpAddress,
    socket: HostUdp,
    table: FlowMap<ForwardClient>,
  ) {
    super(nat, "in", guest, guestPort, NO_NAMES);
    this.far = far;
    this.farPort = client.port;
    this.client = client;
    this.#socket = socket;
    this.#table = table;
  }

  /** Whether its answers go by this socket. */
  isBy(socket: HostUdp): boolean {
    return this.#socket === socket;
  }

  answer(buf: Uint8Array, at: number, len: number, ttl: number, df: boolean): void {
    this.bytesUp += len;
    this.#socket.send(buf, at, len, this.client, ttl, df);
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
    this.#table.remove(this.guest, this.far, (this.guestPort << 16) | this.farPort);
  }
}
