/**
 * Puts the parts of one guest network together, in the order of ARCHITECTURE.md's diagram: the way out to guests, the
 * guests and their rights, services within the network, the ways out to the host, and the protocols on the cable.
 */
import { addressAt, addressFromText, type IpAddress, ipv4Address } from "../core/address.ts";
import { unshared } from "../core/byte-budget.ts";
import type { Clock } from "../core/clock.ts";
import type { StackConfig } from "../core/config.ts";
import type { FileSource } from "../core/files.ts";
import type { Link } from "../core/link.ts";
import type { Trace, TraceEvent } from "../core/trace.ts";
import { DATAGRAM_MTU, Egress } from "../nat/egress.ts";
import { FlowRegistry } from "../nat/flow/registry.ts";
import { Forwards } from "../nat/forwards.ts";
import { INCOMPLETE } from "../nat/icmp/icmp-cause.ts";
import { IcmpErrors } from "../nat/icmp/icmp-errors.ts";
import { IcmpNat } from "../nat/icmp/icmp-nat.ts";
import { withoutRebinding } from "../nat/rules/dns-rebind.ts";
import { Policy } from "../nat/rules/policy.ts";
import { RuleGate } from "../nat/rules/rule-gate.ts";
import { NO_RULES } from "../nat/rules/rules.ts";
import { Services } from "../nat/services.ts";
import { TcpNat } from "../nat/tcp/tcp-nat.ts";
import { UdpNat } from "../nat/udp/udp-nat.ts";
import { DhcpServer } from "../proto/dhcp.ts";
import { Dhcp6Server } from "../proto/dhcp6.ts";
import { DnsForwarder, refusingDns } from "../proto/dns.ts";
import { DnsHosts, DnsZones } from "../proto/dns-static.ts";
import { dnsTcpService } from "../proto/dns-tcp.ts";
import { Names } from "../proto/names.ts";
import { type Neighbour, Neighbours } from "../proto/neighbours.ts";
import { type FirstFragment, Reassembler } from "../proto/reassembly.ts";
import { TftpServer } from "../proto/tftp.ts";
import { macNumber, macToString } from "../wire/ethernet.ts";
import { ipv4Src } from "../wire/ipv4.ts";
import { ipv6Src } from "../wire/ipv6.ts";
import { TFTP_PORT } from "../wire/tftp.ts";
import { AddressOwnership } from "./address-ownership.ts";
import { Arp } from "./arp.ts";
import { Flusher } from "./flusher.ts";
import { GATEWAY_MAC6, gatewayMac } from "./gateway-mac.ts";
import { GuestLeases } from "./guest-leases.ts";
import { GuestNames } from "./guest-names.ts";
import { GuestSearch } from "./guest-search.ts";
import { Ipv4 } from "./ipv4.ts";
import { Ipv6 } from "./ipv6.ts";
import type { Lan } from "./lan.ts";
import { LocalServices } from "./local-services.ts";
import { Ndp } from "./ndp.ts";
import type { StackParts } from "./parts.ts";

const DNS_PORT = 53;
const NO_MAC = new Uint8Array(6);

/** The user's tables of names; replaced while the network runs. */
export interface DnsTables {
  hosts: DnsHosts;
  zones: DnsZones;
}

/** The parts that a stack calls. */
export interface Composed {
  readonly lan: Lan;
  readonly policy: Policy;
  readonly flusher: Flusher;
  readonly links: Set<Link>;
  readonly neighbours: Neighbours;
  readonly dhcp: DhcpServer;
  readonly dhcp6: Dhcp6Server;
  readonly leases: GuestLeases;
  readonly names: Names;
  readonly guestNames: GuestNames;
  readonly gate: RuleGate;
  readonly dns: DnsForwarder;
  readonly dnsTables: DnsTables;
  readonly flows: FlowRegistry;
  readonly tcp: TcpNat;
  readonly udp: UdpNat;
  readonly icmp: IcmpNat;
  readonly tftp: TftpServer<Neighbour> | null;
  readonly forwards: Forwards;
  readonly arp: Arp;
  readonly ndp: Ndp;
  readonly ipv4: Ipv4;
  readonly ipv6: Ipv6;
  readonly reassembler: Reassembler;
  readonly ownership: AddressOwnership;
  readonly localServices: LocalServices;
  /** Called when a guest's packet stays incomplete. */
  readonly incomplete: (first: FirstFragment | null) => void;
}

/** `wake`: called when a deadline of some part has become earlier. */
export function compose(config: StackConfig, parts: StackParts, wake: () => void): Composed {
  const { clock, random, trace } = parts;
  const { limits } = config;
  const bytes = parts.bytes ?? unshared();
  const stirred = parts.stirred ?? (() => {});

  // The way out to guests
  const links: Set<Link> = new Set();
  const policy = new Policy(config);
  const flusher = new Flusher(parts.endOfTurn ?? null, () => tcp.turnEnd());
  const touchLink = (link: Link): void => flusher.touch(link);
  const flush = (): void => {
    stirred();
    flusher.soon();
  };
  /*
   * The largest packet that a guest takes, in bytes. It is more than Ethernet's 1500 only if the guest asked which MTU
   * it may use (IPv6 guests are told unasked, by the RA), and no more than its packets or its MSS have shown.
   */
  const mtuOf = (guest: Neighbour): number => {
    const asked = guest.shown > DATAGRAM_MTU && (guest.family === 6 || dhcp.askedMtu(guest.address.ip));
    return Math.min(asked ? guest.shown : DATAGRAM_MTU, config.mtu, guest.most);
  };
  const egress = new Egress(gatewayMac(config), GATEWAY_MAC6, random, trace, touchLink, mtuOf);
  const errors = new IcmpErrors(policy, egress, clock, trace);

  // The guests and their rights
  const neighbours = new Neighbours(random.u32(), random.u32(), limits, () => trace.drop("neighbours-full"));
  const search = new GuestSearch(clock, (guest) => (guest.family === 4 ? arp.solicit(guest) : ndp.solicit(guest)));
  const bound = (event: TraceEvent): void => {
    if (event.type === "lease" && event.action === "bound") {
      // The guest that was heard with this address before has lost it.
      const known = neighbours.find(addressFromText(event.ip));
      if (known !== null && macToString(known.mac) !== event.mac) {
        neighbours.handOver(known);
        search.forget(known);
      }
      if (event.hostname !== null) guestNames.claim(event.hostname);
    }
    trace.event(event);
  };
  const leaseTrace: Trace = { drop: (reason) => trace.drop(reason), event: bound };
  const dhcp: DhcpServer = new DhcpServer(config, leaseTrace, ({ ip, cable }) => {
    const asked = neighbours.expect(ipv4Address(ip));
    return cable !== null && arp.solicit(asked, [cable as Link]);
  });
  const dhcp6: Dhcp6Server = new Dhcp6Server(config, GATEWAY_MAC6, leaseTrace, (address, cable) => {
    const asked = neighbours.expect(addressAt(6, address, 0));
    return cable !== null && ndp.solicit(asked, [cable as Link]);
  });
  const leases = new GuestLeases(config, dhcp, dhcp6, neighbours, clock);
  const guestNames = new GuestNames(config, policy, neighbours, () => leases.list(true));
  const { gate: inner = null, rules = NO_RULES, asker = null } = parts;
  const gate = new RuleGate({ inner, rules, asker, policy, neighbours, clock, trace }, config);
  const names = new Names(limits, () => trace.drop("names-full"), config.nameTtl);

  // Services within the network
  const dnsTables: DnsTables = { hosts: new DnsHosts(config), zones: new DnsZones(config.dnsZones) };
  const server4 = { host: policy.dns.text, port: DNS_PORT };
  const server6 = { host: policy.dns6.text, port: DNS_PORT };
  const filtered = config.dnsRebind ? parts.dns : withoutRebinding(parts.dns, trace, (to) => policy.isInside(to));
  const resolvers = policy.closed ? refusingDns(parts.dns) : filtered;
  const dns = new DnsForwarder(resolvers, limits, clock, trace, {
    ...{ local: guestNames, names, gate, server4, server6 },
    hosts: () => dnsTables.hosts,
    // A resolver is a way out, too. In a network without ways out zones have no servers either.
    serversOf: (name) => (policy.closed ? undefined : dnsTables.zones.serversOf(name)),
    guestOf: (host) => macNumber(neighbours.find(addressFromText(host))?.mac ?? NO_MAC, 0),
    cableOf: (host) => neighbours.find(addressFromText(host))?.link ?? null,
  });
  const services = new Services();
  const dnsTcp = dnsTcpService(dns, limits.dnsConnections);
  services.addTcp(server4, dnsTcp);
  services.addTcp(server6, dnsTcp);

  // The ways out to the host
  const flows = new FlowRegistry({ clock, trace, wake }, limits.absentSeconds, (guest) => tcp.moved(guest));
  neighbours.watcher = flows;
  const shared = {
    ...{ config, egress, trace, touchLink, neighbours, policy, dns, names, gate, services, links, errors },
    ...{ flush, wake, flows },
  };
  const context = {
    ...parts,
    ...shared,
    bytes,
    service: (to: IpAddress, port: number) => services.tcp({ host: to.text, port }),
    resolve: (guest: Neighbour) => search.resolve(guest),
    flushNow: () => flusher.now(),
  };
  const tcp = new TcpNat(config, context);
  const udp = new UdpNat(config, context);
  const icmp = new IcmpNat(limits, context);
  const tftp = parts.files ? tftpServer(config, parts.files, clock, shared) : null;
  const named = (name: string): IpAddress | null => guestNames.address(name);
  const guests = { named, first: () => leases.first() };
  const { protectPort = null } = parts;
  const forwards = new Forwards(config, { ...context, tcp, udp, guests, protectPort });

  // The protocols on the cable
  const found = (guest: Neighbour): void => {
    search.forget(guest);
    tcp.resolved(guest);
    udp.awaited.found(guest);
  };
  const lan: Lan = { ...shared, tcp, udp, icmp, tftp, found };
  const reassembler = new Reassembler(limits, () => trace.drop("reassembly-full"), bytes);
  const arp: Arp = new Arp(lan, dhcp);
  const ipv4 = new Ipv4(lan, arp, dhcp, reassembler);
  const ndp: Ndp = new Ndp(lan, dhcp6, random);
  const ipv6 = new Ipv6(lan, ndp, dhcp6, reassembler);
  const ownership = new AddressOwnership(config, policy, neighbours, dhcp, dhcp6, clock);
  const localServices = new LocalServices(lan, services);
  // The sender of a packet that stays incomplete is told, if we know it (RFC 1122 section 3.3.2, RFC 8200 section 4.5).
  const incomplete = (first: FirstFragment | null): void => {
    trace.drop("ip-fragment");
    if (first === null) return;
    const { packet, proto, at } = first;
    const v4 = packet[0]! >> 4 === 4;
    const guest = v4 ? neighbours.get(ipv4Src(packet, 0)) : neighbours.get6(packet, ipv6Src(packet, 0));
    if (guest === null) return;
    errors.about(guest, policy.selfFor(guest.address), INCOMPLETE, packet, 0, proto, at, packet.length - at);
  };
  return {
    ...{
      lan,
      policy,
      flusher,
      links,
      neighbours,
      dhcp,
      dhcp6,
      names,
      leases,
      guestNames,
      gate,
      dns,
      dnsTables,
      flows,
      tcp,
      udp,
      icmp,
      tftp,
      forwards,
    },
    ...{ arp, ndp, ipv4, ipv6, reassembler, ownership, localServices, incomplete },
  };
}

type Shared = Pick<Lan, "trace" | "egress" | "policy" | "flush" | "wake">;

/** The TFTP server: guests fetch files from their gateway. */
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
