/**
 * A guest's port and its host socket, while nobody is asked about flows: whatever the port speaks with, it is one flow
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
  /** The last destination and source, so that addresses are not made from text, or text from addresses, per packet. */
  #to: IpAddress;
  #toHost: Endpoint = { host: "", port: -1 };
  /** Bytes in the datagram that went there last. */
  #lastLen = 0;
  #from: IpAddress;
  #fromHost: string | null = null;
  /** It has asked name servers and nobody else: who else it speaks with keeps it as long as any (RFC 4787 section 4.3, REQ-5). */
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

  /** Whether the destination whose address stands at `dstAt` is that of the datagram before. */
  sameTo(buf: Uint8Array, dstAt: number, dstPort: number): boolean {
    return this.#toHost.port === dstPort && this.#to.at(buf, dstAt);
  }

  /** The destination of the datagrams that follow. */
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

  /** Once somebody is asked about flows each destination is one of its own. */
  override revisit(): CloseReason {
    return "rules";
  }

  protected leave(): void {
    this.#table.remove(this.guest.key, this.guest.family, this.guestPort);
    this.#socket.close();
  }
}
