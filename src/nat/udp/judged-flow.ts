/**
 * UDP while flows are judged. A guest's port and one far address and port make a flow with a host socket of its own, so
 * each can be refused, redirected or taken over. The price: the mapping is no longer the same for all destinations (RFC
 * 4787 section 4.1).
 *
 * While a flow waits for its decision its first datagrams are kept. A refusal is remembered for a while, so that a
 * guest that goes on sending does not cause a new decision each time.
 */
import { type Endpoint, familyOf, type IpAddress } from "../../core/address.ts";
import type { DatagramEnd } from "../../core/gate.ts";
import type { HostIcmpError, HostUdp, HostUdpEvents } from "../../core/host-net.ts";
import type { DropReason } from "../../core/trace.ts";
import type { Neighbour } from "../../proto/neighbours.ts";
import { PROTO_UDP } from "../../wire/ipv4.ts";
import { UDP_HEADER } from "../../wire/udp.ts";
import type { NatContext } from "../context.ts";
import { type Decision, HeldDatagrams, type JudgedFlow, type Refusal } from "../flow/decision.ts";
import { CLOSED_FLOW, DENIED, PENDING } from "../flow/flow.ts";
import type { FlowMap } from "../flow/flow-map.ts";
import { PROHIBITED } from "../icmp/icmp-cause.ts";
import { datagramPasses } from "../rules/meters.ts";
import { IDLE_MS, idleAfter, UdpFlow, type UdpFlowOwner } from "./udp-flow.ts";

const DENIED_MS = 30_000;
/** Milliseconds after which a flow that was refused as one too many may begin after all. */
const TOO_MANY_MS = 1_000;

export class JudgedUdpFlow extends UdpFlow implements HostUdpEvents, JudgedFlow {
  readonly far: IpAddress;
  readonly farPort: number;
  readonly #env: NatContext;
  readonly #table: FlowMap<JudgedUdpFlow>;
  readonly #held = new HeldDatagrams();
  #socket: HostUdp | null = null;
  #to: Endpoint | null = null;
  #end: DatagramEnd | null = null;
  /** How packets are refused while the flow is DENIED, and the drop reason that counts them. */
  #how: Refusal = "drop";
  #reason: DropReason = "denied";

  constructor(
    nat: UdpFlowOwner,
    guest: Neighbour,
    guestPort: number,
    far: IpAddress,
    farPort: number,
    names: readonly string[],
    env: NatContext,
    table: FlowMap<JudgedUdpFlow>,
  ) {
    super(nat, "out", guest, guestPort, names);
    this.far = far;
    this.farPort = farPort;
    this.#env = env;
    this.#table = table;
  }

  get ports(): number {
    return (this.guestPort << 16) | this.farPort;
  }

  fromGuest(buf: Uint8Array, at: number, len: number, ttl: number, df: boolean): void {
    if (this.flowState === DENIED) return this.#refuse(len);
    this.nat.used(this, IDLE_MS);
    if (this.flowState === PENDING) {
      if (!this.#held.hold(buf, at, len, ttl, df)) this.#env.trace.drop("gate-busy");
      return;
    }
    if (!this.#passes("up", len)) return;
    this.bytesUp += len;
    if (this.#end !== null) this.#end.receive(buf, at, len);
    else this.#socket!.send(buf, at, len, this.#to!, ttl, df);
  }

  decided(decision: Decision): void {
    if (decision.action === "take") {
      this.#end = decision.taker.datagrams(
        (bytes) => this.#toGuest(this.far, this.farPort, bytes, 0, bytes.length),
        () => {
          if (this.flowState !== CLOSED_FLOW) this.close("closed");
        },
      );
    } else if (decision.action === "dial") {
      this.#to = decision.to;
      this.#socket = this.#env.host.openUdp(familyOf(decision.to.host), this);
    } else {
      this.#how = decision.how;
      this.#reason = decision.reason;
      this.nat.used(this, decision.reason === "conn-limit" ? TOO_MANY_MS : DENIED_MS);
    }
    this.#held.release((buf, at, len, ttl, df) => this.fromGuest(buf, at, len, ttl, df));
  }

  onDatagram(bytes: Uint8Array, at: number, len: number, from: Endpoint): void {
    const to = this.#to!;
    this.nat.used(this, idleAfter(from.port));
    // The far end that was dialled is shown as the guest knows it; other senders may answer, too.
    const asked = from.port === to.port && from.host === to.host;
    const source = asked ? this.far : this.nat.guestSide(from.host, this);
    this.#toGuest(source, asked ? this.farPort : from.port, bytes, at, len);
  }

  onUdpLost(count: number): void {
    this.nat.lost(count);
  }

  onUdpError(error: HostIcmpError): void {
    this.nat.failed(this, error, this.far, this.farPort, 0);
  }

  protected leave(): void {
    this.#table.remove(this.guest, this.far, this.ports);
    this.#socket?.close();
    this.#end?.close();
  }

  #toGuest(source: IpAddress, port: number, bytes: Uint8Array, at: number, len: number): void {
    if (this.flowState === CLOSED_FLOW || !this.#passes("down", len)) return;
    this.bytesDown += len;
    this.nat.toGuest(this, source, port, bytes, at, len);
  }

  #passes(way: "up" | "down", len: number): boolean {
    if (this.meters.length === 0 || datagramPasses(this.meters, way, len, this.#env.clock.now())) return true;
    this.#env.trace.drop("udp-rate");
    return false;
  }

  #refuse(len: number): void {
    this.#env.trace.drop(this.#reason);
    if (this.#how === "drop") return;
    const size = UDP_HEADER + len;
    const gateway = this.#env.policy.gatewayFor(this.guest.family);
    const datagram = { to: this.far, proto: PROTO_UDP, size, first: this.ports, second: size << 16 };
    this.#env.errors.recalled(this.guest, gateway, PROHIBITED, datagram);
  }
}
