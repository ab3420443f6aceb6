/**
 * One guest network: the checks that every frame passes on its way in, and questions about the network as a whole.
 * `stack/compose` puts the parts together.
 *
 * Theory of operation. A cable calls `receive` for each frame of a read and `batchEnd` once after them. Within such a
 * batch segments are written to cables' transmit slabs, but nothing goes to a wire. `flush` hands the frames to the
 * wires, once: at the batch's end or, for frames that host sockets have caused, at the end of the event loop's turn.
 * The clock is read once a batch. `pollAt` says when `poll` wants to be called next; `onPollAt` is called when that has
 * become earlier.
 */
import { addressFromText, type IpAddress, type IpText } from "./core/address.ts";
import type { Clock } from "./core/clock.ts";
import type { DnsHost, DnsZone, StackConfig } from "./core/config.ts";
import type { HostNet } from "./core/host-net.ts";
import { COMPLETE, type Link, type LinkReceiver, type Slab } from "./core/link.ts";
import type { Trace } from "./core/trace.ts";
import type { Flow } from "./nat/flow/flow.ts";
import type { Forwards } from "./nat/forwards.ts";
import type { LimitState } from "./nat/rules/meters.ts";
import type { Policy } from "./nat/rules/policy.ts";
import type { Explanation } from "./nat/rules/rule-gate.ts";
import type { RuleSet, Subject } from "./nat/rules/rules.ts";
import type { TcpNat } from "./nat/tcp/tcp-nat.ts";
import type { Lease } from "./proto/dhcp.ts";
import { DnsHosts, DnsZones } from "./proto/dns-static.ts";
import type { AddressOwnership } from "./stack/address-ownership.ts";
import type { Arp } from "./stack/arp.ts";
import { type Composed, compose } from "./stack/compose.ts";
import { type FlowInfo, flowInfos } from "./stack/flow-info.ts";
import type { Flusher } from "./stack/flusher.ts";
import type { Ipv4 } from "./stack/ipv4.ts";
import type { Ipv6 } from "./stack/ipv6.ts";
import { type KnownGuests, restoreGuests, saveGuests } from "./stack/known-guests.ts";
import { leavesPayload } from "./stack/left-payload.ts";
import type { LocalServices } from "./stack/local-services.ts";
import type { StackParts } from "./stack/parts.ts";
import {
  ETH_ARP,
  ETH_IPV4,
  ETH_IPV6,
  ethCheck,
  ethIsPriorityTagged,
  ethType,
  ethUntagged,
  macNumber,
  macToString,
} from "./wire/ethernet.ts";

/** A read of fewer bytes is no bulk transfer: the frames that answer it may wait for the host's answer. */
const SMALL_BATCH = 8_192;

/** How many things a stack holds, and how many bytes. */
export interface Gauges {
  readonly tcpFlows: number;
  readonly udpFlows: number;
  /** Echo identifiers that guests ping with. */
  readonly icmpFlows: number;
  readonly timers: number;
  /** Bytes in send buffers. */
  readonly sendBytes: number;
  /** Bytes from guests that hosts have not taken yet. */
  readonly receiveBytes: number;
  /** Bytes from guests that came before their turn. */
  readonly outOfOrderBytes: number;
}

const OWN = "built in: the network answers it itself";
const ANSWERED: Explanation = { allow: true, rule: OWN, reason: OWN, remedy: null };

export class Stack implements LinkReceiver {
  readonly forwards: Forwards;
  readonly policy: Policy;
  readonly localServices: LocalServices;
  readonly ownership: AddressOwnership;
  /** Called when `pollAt()` has become earlier. */
  onPollAt: (() => void) | null = null;
  readonly #config: StackConfig;
  readonly #host: HostNet;
  readonly #clock: Clock;
  readonly #trace: Trace;
  readonly #made: Composed;
  /** The parts that every frame meets. */
  readonly #flusher: Flusher;
  readonly #tcp: TcpNat;
  readonly #arp: Arp;
  readonly #ipv4: Ipv4;
  readonly #ipv6: Ipv6;
  readonly #stirred: () => void;
  /** Bytes that guests had sent before this batch. */
  #before = 0;
  #now = 0;
  #closed = false;
  framesIn = 0;
  bytesIn = 0;

  constructor(config: StackConfig, parts: StackParts) {
    const made = compose(config, parts, () => this.onPollAt?.());
    this.#config = config;
    this.#host = parts.host;
    this.#clock = parts.clock;
    this.#trace = parts.trace;
    this.#stirred = parts.stirred ?? (() => {});
    this.#made = made;
    this.#flusher = made.flusher;
    this.#tcp = made.tcp;
    this.#arp = made.arp;
    this.#ipv4 = made.ipv4;
    this.#ipv6 = made.ipv6;
    this.policy = made.policy;
    this.forwards = made.forwards;
    this.localServices = made.localServices;
    this.ownership = made.ownership;
  }

  /** Opens the configured forwards. Rejects with the first that fails; then none is open. */
  async open(): Promise<void> {
    for (const rule of this.#config.forwards) {
      try {
        await this.forwards.add(rule);
      } catch (error) {
        this.forwards.close();
        throw error;
      }
    }
  }

  /** The guests are silent: frees buffers that are kept for later. */
  rest(): void {
    this.#tcp.chunks.rest();
  }

  /** Ends all flows. No guest can begin another, whatever it makes of its resets. */
  close(): void {
    this.#closed = true;
    this.#made.flows.close();
    this.forwards.close();
    this.#tcp.close();
    this.#made.udp.awaited.close();
    this.#made.tftp?.close();
    this.#flusher.now();
  }

  /** Puts other rules in force. Existing flows that they allow go on, others end. */
  setRules(rules: RuleSet): void {
    this.#made.gate.replace(rules);
    this.#made.flows.revisit(this.#made.gate);
    this.#flusher.now();
  }

  /** Replaces the user's names. */
  setDnsHosts(dnsHosts: readonly DnsHost[]): void {
    this.#made.dnsTables.hosts = new DnsHosts({ ...this.#config, dnsHosts });
  }

  /** Replaces the zones. */
  setDnsZones(dnsZones: readonly DnsZone[]): void {
    this.#made.dnsTables.zones = new DnsZones(dnsZones);
  }

  /** What would happen to a flow that does not exist. */
  explain(subject: Subject): Explanation {
    const { gate, localServices, dns } = this.#made;
    const whole = this.#identified(subject);
    if (localServices.answers(whole)) return ANSWERED;
    return gate.explain(whole, subject.proto === "dns" && dns.answersHere(subject.names[0] ?? "") !== null);
  }

  /**
   * The subject, which named its guest by an address, a MAC or a cable, completed by what is known of that guest now.
   */
  #identified(subject: Subject): Subject {
    const { guest, mac, cable, remote } = subject;
    const { neighbours } = this.#made;
    const asked = mac < 0 && cable === undefined ? neighbours.find(guest) : null;
    const known =
      asked ?? neighbours.named(remote.family, (n) => (mac < 0 ? n.link!.name === cable : macNumber(n.mac, 0) === mac));
    if (known === null || known.link === null) return subject;
    return { ...subject, guest: known.address, mac: macNumber(known.mac, 0), cable: known.link.name };
  }

  get #advertises(): boolean {
    return this.#config.ipv6 && this.#config.dhcp;
  }

  /** How much of their limits guests have used. */
  limits(): LimitState[] {
    return this.#made.gate.limits();
  }

  /** The knowledge about guests, for another network that takes this one's place. */
  saveGuests(): KnownGuests {
    return saveGuests(this.#made);
  }

  /** Takes over the knowledge about guests of another network like this one, on the same cables. */
  restoreGuests(known: KnownGuests): void {
    restoreGuests(this.#made, known);
  }

  /** How many files are on their way to guests by TFTP. */
  get transfers(): number {
    return this.#made.tftp?.size ?? 0;
  }

  leases(): Lease[] {
    return this.#made.leases.list(false);
  }

  /** The guest of forwards that name none. */
  firstGuest(): IpAddress {
    return this.#made.leases.first();
  }

  /** The address of the guest with this name; null when no guest has it. */
  guestNamed(name: string): string | null {
    return this.#made.guestNames.address(name)?.text ?? null;
  }

  /** The cable of the guest with this address; null when no guest is known to have it. */
  cableOf(host: IpText): Link | null {
    return this.#made.neighbours.find(addressFromText(host))?.link ?? null;
  }

  /** The MAC of the guest with this address; null when no guest is known to have it. */
  macOf(host: IpText): string | null {
    const guest = this.#made.neighbours.find(addressFromText(host));
    return guest === null ? null : macToString(guest.mac, 0);
  }

  flows(): FlowInfo[] {
    return flowInfos(this.#made.flows);
  }

  /** All flows themselves, to be looked at. */
  everyFlow(): Iterable<Flow> {
    return this.#made.flows;
  }

  /** How much is held now. */
  gauges(): Gauges {
    const tcpFlows = this.#tcp.size;
    const udpFlows = this.#made.udp.size;
    const icmpFlows = this.#made.icmp.size;
    const timers = this.#tcp.lingering + this.#made.udp.size + this.#made.icmp.timers;
    const { used: sendBytes, outOfOrder } = this.#tcp.chunks;
    const receiveBytes = this.#tcp.receiveBudget.used;
    return { tcpFlows, udpFlows, icmpFlows, timers, sendBytes, receiveBytes, outOfOrderBytes: outOfOrder.used };
  }

  pollAt(): number {
    return Math.min(
      this.#made.flows.pollAt(),
      this.#tcp.pollAt(),
      this.#made.udp.pollAt(),
      this.forwards.pollAt(),
      this.#made.icmp.pollAt(),
      this.#made.reassembler.pollAt(),
      this.#made.tftp?.pollAt() ?? Number.POSITIVE_INFINITY,
      this.#made.ndp.pollAt(),
    );
  }

  poll(now: number): void {
    this.#made.flows.poll(now);
    this.#tcp.poll(now);
    this.#made.udp.poll(now);
    this.forwards.poll(now);
    this.#made.icmp.poll(now);
    this.#made.tftp?.poll(now);
    if (this.#advertises) this.#made.ndp.poll(now);
    this.#made.reassembler.poll(now, this.#made.incomplete);
    this.#flusher.now();
  }

  // Events of the cables (LinkReceiver)

  attached(link: Link): void {
    this.#made.links.add(link);
    if (this.#advertises) this.#made.ndp.linkUp(this.#clock.now());
  }

  detached(link: Link): void {
    this.#made.links.delete(link);
    this.#made.gate.detached(link);
    this.#tcp.resets.detached(link);
    this.#made.leases.detached(link, this.#made.neighbours.detached(link));
    this.#flusher.forget(link);
  }

  writable(link: Link): void {
    this.#tcp.writable(link, this.#clock.now());
    this.#flusher.now();
  }

  batchEnd(link: Link): void {
    this.#host.uncork();
    const late = this.bytesIn - this.#before < SMALL_BATCH && link.direct !== true;
    this.#flusher.endBatch(late, this.#tcp.batchEnd(this.#now, late && this.#flusher.waits));
    this.#stirred();
  }

  leavesPayload(link: Link, slab: Slab, at: number, head: number, len: number): boolean {
    return !this.#closed && leavesPayload(this.#made.lan, link, slab.bytes, at, head, len);
  }

  receive(link: Link, slab: Slab, at: number, len: number, undone: number = COMPLETE): void {
    if (this.#closed) return this.#trace.drop("network-closed");
    if (!this.#flusher.inBatch) {
      this.#flusher.beginBatch();
      this.#host.cork();
      this.#before = this.bytesIn;
      this.#now = this.#clock.now();
    }
    this.framesIn++;
    this.bytesIn += len;
    if (!ethCheck(len)) return this.#trace.drop("eth-short");
    const type = ethType(slab.bytes, at);
    const { ipv4, ipv6 } = this.#config;
    if (type === ETH_IPV4 && ipv4) this.#ipv4.receive(link, slab, at, len, undone, this.#now);
    else if (type === ETH_IPV6 && ipv6) this.#ipv6.receive(link, slab, at, len, undone, this.#now);
    else if (type === ETH_ARP && ipv4) this.#arp.receive(link, slab.bytes, at, len, this.#now);
    else if (ethIsPriorityTagged(slab.bytes, at, len)) {
      // A priority tag without a VLAN is as good as none (IEEE 802.1Q section 6.9.1). Rare, so a new array may be made.
      const bytes = ethUntagged(slab.bytes, at, len);
      this.receive(link, { bytes, scarce: false, pin() {}, unpin() {} }, 0, bytes.length, undone);
    } else this.#trace.drop("eth-type");
  }

  /**
   * Asks on `link` who has the addresses that this MAC (a number of 48 bits) is known to use or has leased. False when
   * there are none.
   */
  probe(link: Link, mac: number): boolean {
    const known = new Set(this.#made.neighbours.ofLink(link).filter((guest) => macNumber(guest.mac, 0) === mac));
    for (const lease of this.leases()) {
      if (Number.parseInt(lease.mac.replaceAll(":", ""), 16) === mac)
        known.add(this.#made.neighbours.expect(addressFromText(lease.ip)));
    }
    for (const guest of known) {
      if (guest.family === 4) this.#arp.solicit(guest, [link]);
      else this.#made.ndp.solicit(guest, [link]);
    }
    this.#flusher.now();
    return known.size > 0;
  }
}
