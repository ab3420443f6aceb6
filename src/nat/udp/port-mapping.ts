/**
 * A guest's port and its host socket while flows are not judged: one flow, whatever the port speaks with
 * (endpoint-independent mapping, RFC 4787 section 4.1).
 */
import type { Endpoint, IpAddress } from "../../core/address.ts";
import type { FlowTable } from "../../core/flow-table.ts";
import type { HostIcmpError, HostNet, HostUdp, HostUdpEvents } from "../../core/host-net.ts";
import type { Neighbour } from "../../proto/neighbours.ts";
import type { CloseReason } from "../flow/close-reason.ts";
import { NO_NAMES } from "../flow/flow.ts";
import { IDLE_MS, idleAfter, UdpFlow, type UdpFlowOwner } from "./udp-flow.ts";

export class PortMapping extends UdpFlow implements HostUdpEvents {
  readonly #table: FlowTable<PortMapping>;
  readonly #socket: HostUdp;
  /** The last destination and source, kept so that no address is made for each packet. */
  #to: IpAddress;
  #toHost: Endpoint = { host: "", port: -1 };
  /** Bytes in the datagram that was sent there last. */
  #lastLen = 0;
  #from: IpAddress;
  #fromHost: string | null = null;
  /**
   * The port has spoken with name servers only. Any other far end gives it the usual time-out (RFC 4787 section 4.3,
   * REQ-5).
   */
  #onlyDns = true;

  constructor(
    nat: UdpFlowOwner,
    host: HostNet,
    guest: Neighbour,
    guestPort: number,
    dst: IpAddress,
    table: FlowTable<PortMapping>,
  ) {
    super(nat, "out", guest, guestPort, NO_NAMES);
    this.#table = table;
    this.#to = dst;
    this.#from = guest.address;
    this.#socket = host.openUdp(guest.family, this);
  }

  get far(): IpAddress {
    return this.#to;
  }

  get farPort(): number {
    return this.#toHost.port;
  }

  /** Whether the address at `dstAt` and the port are the destination of the previous datagram. */
  sameTo(buf: Uint8Array, dstAt: number, dstPort: number): boolean {
    return this.#toHost.port === dstPort && this.#to.at(buf, dstAt);
  }

  /** Sets the destination of the datagrams that follow. */
  turnTo(dst: IpAddress, host: Endpoint): void {
    this.#to = dst;
    this.#toHost = host;
    if (idleAfter(host.port) === IDLE_MS) this.#onlyDns = false;
  }

  send(buf: Uint8Array, at: number, len: number, ttl: number, df: boolean): void {
    this.bytesUp += len;
    this.#lastLen = len;
    this.#socket.send(buf, at, len, this.#toHost, ttl, df);
  }

  onDatagram(bytes: Uint8Array, at: number, len: number, from: Endpoint): void {
    if (from.host !== this.#fromHost) {
      this.#fromHost = from.host;
      this.#from = this.nat.guestSide(from.host, this);
    }
    this.bytesDown += len;
    this.nat.used(this, this.#onlyDns ? idleAfter(from.port) : IDLE_MS);
    this.nat.toGuest(this, this.#from, from.port, bytes, at, len);
  }

  onUdpError(error: HostIcmpError, to: Endpoint): void {
    const latest = to.port === this.#toHost.port && to.host === this.#toHost.host;
    this.nat.failed(this, error, this.nat.guestSide(to.host, this), to.port, latest ? this.#lastLen : 0);
  }

  onUdpLost(count: number): void {
    this.nat.lost(count);
  }

  override describe(now: number): readonly string[] {
    const { host, port } = this.#toHost;
    const last = port < 0 ? "nothing sent yet" : `last sent to ${host}:${port}, ${this.#lastLen} bytes`;
    return [...super.describe(now), `${last}; last heard from ${this.#fromHost ?? "nobody"}`];
  }

  /** Flows are judged from now on, by destination: this flow, which serves all destinations, ends. */
  override revisit(): CloseReason {
    return "rules";
  }

  protected leave(): void {
    this.#table.remove(this.guest.key, this.guest.family, this.guestPort);
    this.#socket.close();
  }
}
