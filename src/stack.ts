/**
 * One guest network: what every frame passes on its way in, and where the parts are put together.
 *
 * Theory of operation. The attachments call `receive` for each frame of a read and `batchEnd` once behind them; within
 * such a batch segments are written to cables' transmit slabs but nothing is handed to a wire. `flush` does that, once,
 * at the batch's end or, for what host sockets have brought, at the end of the event loop's turn. Time comes from the
 * clock once per batch. `pollAt` says when `poll` wants to be called next, and `onPollAt` that it became earlier.
 */
import { addressAt, addressFromText, type IpAddress, type IpText, ipv4Address, ipv4FromText } from "./core/address.ts";
import type { Clock } from "./core/clock.ts";
import type { DnsHost, DnsZone, StackConfig } from "./core/config.ts";
import type { FileSource } from "./core/files.ts";
import type { FlowGate } from "./core/gate.ts";
import type { HostDns, HostNet } from "./core/host-net.ts";
import { COMPLETE, type Link, type LinkReceiver, type Slab } from "./core/link.ts";
import type { Random } from "./core/random.ts";
import type { Trace, TraceEvent } from "./core/trace.ts";
import { DATAGRAM_MTU, Egress } from "./nat/egress.ts";
import { FlowRegistry } from "./nat/flow/registry.ts";
import { Forwards, type ProtectPort } from "./nat/forwards.ts";
import { INCOMPLETE } from "./nat/icmp/icmp-cause.ts";
import { IcmpErrors } from "./nat/icmp/icmp-errors.ts";
import { IcmpNat } from "./nat/icmp/icmp-nat.ts";
import { withoutRebinding } from "./nat/rules/dns-rebind.ts";
import type { LimitState } from "./nat/rules/meters.ts";
import { Policy } from "./nat/rules/policy.ts";
import { type Explanation, RuleGate } from "./nat/rules/rule-gate.ts";
import { NO_RULES, type RuleSet, type Subject } from "./nat/rules/rules.ts";
import { Services } from "./nat/services.ts";
import { TcpNat } from "./nat/tcp/tcp-nat.ts";
import { UdpNat } from "./nat/udp/udp-nat.ts";
import { DhcpServer, type Lease } from "./proto/dhcp.ts";
import { Dhcp6Server } from "./proto/dhcp6.ts";
import { DnsForwarder, refusingDns } from "./proto/dns.ts";
import { DnsHosts, DnsZones } from "./proto/dns-static.ts";
import { dnsTcpService } from "./proto/dns-tcp.ts";
import { Names } from "./proto/names.ts";
import { type Neighbour, Neighbours } from "./proto/neighbours.ts";
import { type FirstFragment, Reassembler } from "./proto/reassembly.ts";
import { TftpServer } from "./proto/tftp.ts";
import { AddressOwnership } from "./stack/address-ownership.ts";
import { Arp } from "./stack/arp.ts";
import { type FlowInfo, flowInfos } from "./stack/flow-info.ts";
import { Flusher } from "./stack/flusher.ts";
import { GuestNames } from "./stack/guest-names.ts";
import { Ipv4 } from "./stack/ipv4.ts";
import { Ipv6 } from "./stack/ipv6.ts";
import type { Lan } from "./stack/lan.ts";
import { LocalServices } from "./stack/local-services.ts";
import { Ndp } from "./stack/ndp.ts";
import { put32 } from "./wire/bytes.ts";
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
import { ipv4Src } from "./wire/ipv4.ts";
import { ipv6Src } from "./wire/ipv6.ts";
import { TFTP_PORT } from "./wire/tftp.ts";

const DNS_PORT = 53;
/** Between two requests for the MAC of the same silent address. */
const SOLICIT_PAUSE_MS = 1000;
const MOST_SOLICITED = 1024;
/** A guest's read of fewer bytes holds no bulk: what answers it may wait for what the host says to it. */
const SMALL_BATCH = 8_192;
const NO_MAC = new Uint8Array(6);

export interface StackParts {
  readonly host: HostNet;
  readonly dns: HostDns;
  /** What TFTP serves; null leaves the gateway's port to the host. */
  readonly files?: FileSource | null;
  /** Who is asked about new flows; null for nobody. */
  readonly gate?: FlowGate | null;
  /** What guests may begin, before anybody is asked. */
  readonly rules?: RuleSet;
  readonly clock: Clock;
  readonly random: Random;
  readonly trace: Trace;
  /** Calls `run` once, when what the host has to tell now has been told; without it frames do not wait for that. */
  readonly endOfTurn?: (run: () => void) => void;
  /** Closes a port of this machine to guests; without it forwards' ports stay open to guests that are kept apart. */
  readonly protectPort?: ProtectPort;
  /** Told after each read of a guest's and each callback of the host's. */
  readonly stirred?: () => void;
}

/** What a stack holds. */
export interface Gauges {
  readonly tcpFlows: number;
  readonly udpFlows: number;
  /** Echo identifiers that guests ping with. */
  readonly icmpFlows: number;
  readonly timers: number;
  /** In send buffers. */
  readonly sendBytes: number;
  /** From guests, which hosts have not taken yet. */
  readonly receiveBytes: number;
  /** Come from guests before their turn. */
  readonly outOfOrderBytes: number;
}

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
  readonly #gate: RuleGate;
  readonly #flows: FlowRegistry;
  readonly #guestNames: GuestNames;
  #dnsHosts: DnsHosts;
  #dnsZones: DnsZones;
  readonly #neighbours: Neighbours;
  readonly #errors: IcmpErrors;
  readonly #tcp: TcpNat;
  readonly #udp: UdpNat;
  readonly #icmp: IcmpNat;
  readonly #reassembler: Reassembler;
  readonly #arp: Arp;
  readonly #ipv4: Ipv4;
  readonly #dhcp: DhcpServer;
  readonly #ndp: Ndp;
  readonly #ipv6: Ipv6;
  readonly #dhcp6: Dhcp6Server;
  readonly #tftp: TftpServer<Neighbour> | null;
  readonly #links: Set<Link> = new Set();
  readonly #solicited: Map<Neighbour, number> = new Map();
  readonly #flusher: Flusher;
  readonly #stirred: () => void;
  /** Bytes from guests before this batch. */
  #before = 0;
  #now = 0;
  framesIn = 0;
  bytesIn = 0;

  constructor(config: StackConfig, parts: StackParts) {
    const { clock, random, trace } = parts;
    this.#config = config;
    this.#dnsHosts = new DnsHosts(config);
    this.#dnsZones = new DnsZones(config.dnsZones);
    this.#host = parts.host;
    this.#clock = clock;
    this.#trace = trace;
    this.#reassembler = new Reassembler(config.limits, () => trace.drop("reassembly-full"));
    this.#flusher = new Flusher(parts.endOfTurn ?? null, () => this.#tcp.turnEnd());
    this.#stirred = parts.stirred ?? (() => {});
    this.policy = new Policy(config);
    const touchLink = (link: Link): void => this.#flusher.touch(link);
    const leaseTrace: Trace = { drop: (reason) => trace.drop(reason), event: (event) => this.#leaseEvent(event) };
    this.#dhcp = new DhcpServer(config, leaseTrace, ({ ip, cable }) => {
      const asked = this.#neighbours.expect(ipv4Address(ip));
      return cable !== null && this.#arp.solicit(asked, [cable as Link]);
    });
    const mtuOf = (guest: Neighbour): number => this.#mtuOf(guest);
    const egress = new Egress(gatewayMac(config), GATEWAY_MAC6, random, trace, touchLink, mtuOf);
    this.#neighbours = new Neighbours(random.u32(), random.u32(), config.limits, () => trace.drop("neighbours-full"));
    const gate = new RuleGate(
      parts.gate ?? null,
      parts.rules ?? NO_RULES,
      this.policy,
      this.#neighbours,
      clock,
      trace,
      config,
    );
    this.#gate = gate;
    this.#guestNames = new GuestNames(config, this.policy, this.#neighbours, () => this.#leases(true));
    const names = new Names(config.limits, () => trace.drop("names-full"));
    const server4 = { host: this.policy.dns.text, port: DNS_PORT };
    const server6 = { host: this.policy.dns6.text, port: DNS_PORT };
    const filtered = config.dnsRebind
      ? parts.dns
      : withoutRebinding(parts.dns, trace, (to) => this.policy.isInside(to));
    const resolvers = this.policy.closed ? refusingDns(parts.dns) : filtered;
    const dns = new DnsForwarder(resolvers, config.limits, clock, trace, {
      ...{ local: this.#guestNames, names, gate, server4, server6 },
      hosts: () => this.#dnsHosts,
      // A resolver is a way out, too: where there is none, there is none for zones.
      serversOf: (name) => (this.policy.closed ? undefined : this.#dnsZones.serversOf(name)),
      guestOf: (host) => macNumber(this.#neighbours.find(addressFromText(host))?.mac ?? NO_MAC, 0),
      cableOf: (host) => this.cableOf(host),
    });
    const services = new Services();
    const dnsTcp = dnsTcpService(dns, config.limits.dnsConnections);
    services.addTcp(server4, dnsTcp);
    services.addTcp(server6, dnsTcp);
    this.#errors = new IcmpErrors(this.policy, egress, clock, trace);
    const shared = {
      ...{
        config,
        egress,
        trace,
        touchLink,
        neighbours: this.#neighbours,
        policy: this.policy,
        dns,
        names,
        gate,
        services,
        links: this.#links,
      },
      errors: this.#errors,
      flush: () => {
        this.#stirred();
        this.#flusher.soon();
      },
      wake: () => this.onPollAt?.(),
    };
    this.#tftp = parts.files ? tftpServer(config, parts.files, clock, shared) : null;
    this.#flows = new FlowRegistry({ clock, trace, wake: shared.wake }, config.limits.absentSeconds, (guest) =>
      this.#tcp.moved(guest),
    );
    this.#neighbours.watcher = this.#flows;
    const surroundings = {
      ...parts,
      ...shared,
      flows: this.#flows,
      service: (to: IpAddress, port: number) => services.tcp({ host: to.text, port }),
      resolve: (guest: Neighbour) => this.#resolve(guest),
      flushNow: () => this.#flusher.now(),
    };
    this.#tcp = new TcpNat(config, surroundings);
    this.#udp = new UdpNat(config, surroundings);
    this.#icmp = new IcmpNat(config.limits, surroundings);
    const found = (guest: Neighbour): void => this.#found(guest);
    const lan: Lan = {
      ...shared,
      flows: this.#flows,
      tcp: this.#tcp,
      udp: this.#udp,
      icmp: this.#icmp,
      tftp: this.#tftp,
      found,
    };
    this.#arp = new Arp(lan, this.#dhcp);
    this.#ipv4 = new Ipv4(lan, this.#arp, this.#dhcp, this.#reassembler);
    this.#dhcp6 = new Dhcp6Server(config, GATEWAY_MAC6, leaseTrace, (address, cable) => {
      const asked = this.#neighbours.expect(addressAt(6, address, 0));
      return cable !== null && this.#ndp.solicit(asked, [cable as Link]);
    });
    this.ownership = new AddressOwnership(config, this.policy, this.#neighbours, this.#dhcp, this.#dhcp6, clock);
    this.#ndp = new Ndp(lan, this.#dhcp6, random);
    this.#ipv6 = new Ipv6(lan, this.#ndp, this.#dhcp6, this.#reassembler);
    this.localServices = new LocalServices(lan, services);
    const named = (name: string): IpAddress | null => this.#guestNames.address(name);
    const first = (): IpAddress => this.firstGuest();
    const guests = { named, first };
    const protect = parts.protectPort ?? null;
    this.forwards = new Forwards(
      config,
      parts.host,
      this.#tcp,
      this.#udp,
      this.#neighbours,
      guests,
      trace,
      clock,
      this.#links,
      shared.wake,
      protect,
    );
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

  close(): void {
    this.forwards.close();
    this.#flows.close();
    this.#tcp.close();
    this.#udp.awaited.close();
    this.#tftp?.close();
    this.#flusher.now();
  }

  /** Other rules from now on. Flows that they allow go on, others end. */
  setRules(rules: RuleSet): void {
    this.#gate.replace(rules);
    this.#flows.revisit(this.#gate);
    this.#flusher.now();
  }

  /** Other names of the user's from now on. */
  setDnsHosts(dnsHosts: readonly DnsHost[]): void {
    this.#dnsHosts = new DnsHosts({ ...this.#config, dnsHosts });
  }

  /** Other zones from now on. */
  setDnsZones(dnsZones: readonly DnsZone[]): void {
    this.#dnsZones = new DnsZones(dnsZones);
  }

  /** What the rules say about a flow that is not there. */
  explain(subject: Subject): Explanation {
    return this.#gate.explain(this.#identified(subject));
  }

  /** The subject with what is known now of its guest, which was named by an address, a MAC or a cable. */
  #identified(subject: Subject): Subject {
    const { guest, mac, cable, remote } = subject;
    const asked = mac < 0 && cable === undefined ? this.#neighbours.find(guest) : null;
    const known =
      asked ??
      this.#neighbours.named(remote.family, (n) => (mac < 0 ? n.link!.name === cable : macNumber(n.mac, 0) === mac));
    if (known === null || known.link === null) return subject;
    return { ...subject, guest: known.address, mac: macNumber(known.mac, 0), cable: known.link.name };
  }

  get #advertises(): boolean {
    return this.#config.ipv6 && this.#config.dhcp;
  }

  /** What guests have used of their limits. */
  limits(): LimitState[] {
    return this.#gate.limits();
  }

  leases(): Lease[] {
    return this.#leases(false);
  }

  /** Those of guests that are there only, if `live`. */
  #leases(live: boolean): Lease[] {
    const now = this.#clock.now();
    return [...this.#dhcp.leases(now, live), ...this.#dhcp6.leases(now, live)];
  }

  /**
   * Where what names no guest leads: to the first address of the pool if anybody uses it, else to the first leased one whose
   * guest is there.
   */
  firstGuest(): IpAddress {
    const first = addressFromText(this.#config.firstGuest);
    const now = this.#clock.now();
    const v4 = first.family === 4;
    const isGone = v4 ? this.#dhcp.isGone(first.ip, now) : this.#dhcp6.isGone(first.bytes, now);
    if (!isGone && this.#neighbours.find(first)?.link) return first;
    if (v4) {
      const ip = this.#dhcp.firstLive(now);
      return ip === null ? first : ipv4Address(ip);
    }
    const bytes = this.#dhcp6.firstLive(now);
    return bytes === null ? first : addressAt(6, bytes, 0);
  }

  /** The address of the guest that has this name; null for nobody. */
  guestNamed(name: string): string | null {
    return this.#guestNames.address(name)?.text ?? null;
  }

  /** The cable of the guest that has an address; null when nobody is known to have it. */
  cableOf(host: IpText): Link | null {
    return this.#neighbours.find(addressFromText(host))?.link ?? null;
  }

  #leaseEvent(event: TraceEvent): void {
    if (event.type === "lease" && event.action === "bound") {
      // Whoever was heard with that address before has lost it.
      const known = this.#neighbours.find(addressFromText(event.ip));
      if (known !== null && macToString(known.mac) !== event.mac) {
        this.#neighbours.handOver(known);
        this.#solicited.delete(known);
      }
      if (event.hostname !== null) this.#guestNames.claim(event.hostname);
    }
    this.#trace.event(event);
  }

  flows(): FlowInfo[] {
    return flowInfos(this.#flows);
  }

  /** What is held now. */
  gauges(): Gauges {
    const tcpFlows = this.#tcp.size;
    const udpFlows = this.#udp.size;
    const icmpFlows = this.#icmp.size;
    const timers = this.#tcp.lingering + this.#udp.size + this.#icmp.timers;
    const { used: sendBytes, outOfOrder } = this.#tcp.chunks;
    const receiveBytes = this.#tcp.receiveBudget.used;
    return { tcpFlows, udpFlows, icmpFlows, timers, sendBytes, receiveBytes, outOfOrderBytes: outOfOrder.used };
  }

  pollAt(): number {
    return Math.min(
      this.#flows.pollAt(),
      this.#tcp.pollAt(),
      this.#udp.pollAt(),
      this.forwards.pollAt(),
      this.#icmp.pollAt(),
      this.#reassembler.pollAt(),
      this.#tftp?.pollAt() ?? Number.POSITIVE_INFINITY,
      this.#ndp.pollAt(),
    );
  }

  poll(now: number): void {
    this.#flows.poll(now);
    this.#tcp.poll(now);
    this.#udp.poll(now);
    this.forwards.poll(now);
    this.#icmp.poll(now);
    this.#tftp?.poll(now);
    if (this.#advertises) this.#ndp.poll(now);
    this.#reassembler.poll(now, (first) => this.#incomplete(first));
    this.#flusher.now();
  }

  /** A guest's packet stays incomplete, and it is told if we know which (RFC 1122 section 3.3.2, RFC 8200 section 4.5). */
  #incomplete(first: FirstFragment | null): void {
    this.#trace.drop("ip-fragment");
    if (first === null) return;
    const { packet, proto, at } = first;
    const v4 = packet[0]! >> 4 === 4;
    const guest = v4 ? this.#neighbours.get(ipv4Src(packet, 0)) : this.#neighbours.get6(packet, ipv6Src(packet, 0));
    if (guest === null) return;
    this.#errors.about(guest, this.policy.selfFor(guest.address), INCOMPLETE, packet, 0, proto, at, packet.length - at);
  }

  // Cables (LinkReceiver)

  attached(link: Link): void {
    this.#links.add(link);
    if (this.#advertises) this.#ndp.linkUp(this.#clock.now());
  }

  detached(link: Link): void {
    this.#links.delete(link);
    this.#gate.detached(link);
    this.#tcp.resets.detached(link);
    const now = this.#clock.now();
    for (const guest of this.#neighbours.detached(link)) {
      if (guest.family === 4) this.#dhcp.vacate(macToString(guest.mac), now);
      else this.#dhcp6.vacate(macToString(guest.mac), now);
    }
    // Those, too, that have not been heard since they were given an address.
    this.#dhcp.unplugged(link, now);
    this.#dhcp6.unplugged(link, now);
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

  receive(link: Link, slab: Slab, at: number, len: number, undone: number = COMPLETE): void {
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
      // A priority, and no VLAN: as if it had no tag (IEEE 802.1Q section 6.9.1). In a frame of its own, being rare.
      const bytes = ethUntagged(slab.bytes, at, len);
      this.receive(link, { bytes, scarce: false, pin() {}, unpin() {} }, 0, bytes.length, undone);
    } else this.#trace.drop("eth-type");
  }

  /**
   * Asks on `link` for the addresses that this MAC, a number of 48 bits, is known to have or has leased. False when there are
   * none.
   */
  probe(link: Link, mac: number): boolean {
    const known = new Set(this.#neighbours.ofLink(link).filter((guest) => macNumber(guest.mac, 0) === mac));
    for (const lease of this.leases()) {
      if (Number.parseInt(lease.mac.replaceAll(":", ""), 16) === mac)
        known.add(this.#neighbours.expect(addressFromText(lease.ip)));
    }
    for (const guest of known) {
      if (guest.family === 4) this.#arp.solicit(guest, [link]);
      else this.#ndp.solicit(guest, [link]);
    }
    this.#flusher.now();
    return known.size > 0;
  }

  /** Somebody has to be found before a packet can go out. */
  #resolve(guest: Neighbour): void {
    const now = this.#clock.now();
    if (now - (this.#solicited.get(guest) ?? Number.NEGATIVE_INFINITY) < SOLICIT_PAUSE_MS) return;
    if (this.#solicited.size >= MOST_SOLICITED) this.#solicited.clear();
    this.#solicited.set(guest, now);
    if (guest.family === 4) this.#arp.solicit(guest);
    else this.#ndp.solicit(guest);
  }

  /**
   * The largest packet that a guest takes: more than Ethernet's 1500 only if it asked what it may use (an IPv6 guest is
   * told unasked, by the RA), and no more than its packets or its MSS have shown.
   */
  #mtuOf(guest: Neighbour): number {
    const asked = guest.shown > DATAGRAM_MTU && (guest.family === 6 || this.#dhcp.askedMtu(guest.address.ip));
    return Math.min(asked ? guest.shown : DATAGRAM_MTU, this.#config.mtu, guest.most);
  }

  #found(guest: Neighbour): void {
    this.#solicited.delete(guest);
    this.#tcp.resolved(guest);
    this.#udp.awaited.found(guest);
  }
}

type Shared = Omit<Lan, "flows" | "tcp" | "udp" | "icmp" | "tftp" | "found">;

/** Guests' files come from their gateway. */
function tftpServer(config: StackConfig, files: FileSource, clock: Clock, lan: Shared): TftpServer<Neighbour> {
  const { trace, egress, policy, flush, wake } = lan;
  return new TftpServer(config.limits, {
    cableOf: (guest) => guest.link,
    ...{ files, trace, flush, wake, now: () => clock.now() },
    send: (guest, port, bytes, len) =>
      egress.udp(guest, policy.gatewayFor(guest.family), TFTP_PORT, port, bytes, 0, len),
    ended: (guest, transfer) => trace.event({ type: "tftp", guest: guest.address.text, ...transfer }),
  });
}

/** The gateway's MAC on IPv6's frames, libslirp's: 52:56 and the end of fe80::2. */
export const GATEWAY_MAC6: Uint8Array = new Uint8Array([0x52, 0x56, 0, 0, 0, 2]);

/** The gateway's MAC for a configuration, as libslirp makes it: 52:55 and its address. */
export function gatewayMac(config: StackConfig): Uint8Array {
  const mac = new Uint8Array([0x52, 0x55, 0, 0, 0, 0]);
  put32(mac, 2, ipv4FromText(config.host));
  return mac;
}
