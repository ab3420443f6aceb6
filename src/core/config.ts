/**
 * One guest network's settings, resolved: every default filled in, every text validated. `control/options.ts` makes it
 * from what the user typed; the stack and the protocol engines take it as it is.
 */
import type { Endpoint, IpText } from "./address.ts";
import type { UnixEndpoint } from "./host-net.ts";
import type { Limits } from "./limits.ts";

/** A name and one of its addresses; `gateway` is the gateway's of each family. */
export interface DnsHost {
  /** In lower case, without the last dot. */
  readonly name: string;
  readonly address: IpText | "gateway";
}

/** A zone and one of its resolvers; several of a zone are asked in their order. */
export interface DnsZone {
  /** In lower case, without the last dot. */
  readonly zone: string;
  readonly server: Endpoint;
}

/** Bounds of a record's time to live, in seconds. */
export interface NameTtl {
  readonly least: number;
  readonly most: number;
}

export interface StackConfig {
  /** "10.0.2.0" and its prefix length. */
  readonly net: IpText;
  readonly prefix: number;
  /** The gateway's own address (10.0.2.2), which reaches the host's 127.0.0.1 when `hostLoopback`. */
  readonly host: IpText;
  /** The virtual DNS server (10.0.2.3). */
  readonly dns: IpText;
  /** First lease (10.0.2.15) and how many there are (16). */
  readonly dhcpStart: IpText;
  readonly dhcpCount: number;
  /** Which families guests have; one of them at least. */
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  /** "fec0::" and its prefix length. */
  readonly net6: IpText;
  readonly prefix6: number;
  /** The gateway's IPv6 address (fec0::2), which reaches the host's ::1 when `hostLoopback`. */
  readonly host6: IpText;
  /** The virtual DNS server (fec0::3). */
  readonly dns6: IpText;
  /** Where a forward leads that names no guest while no guest has a lease: the first address of the pool, DHCPv6's if there is no IPv4. */
  readonly firstGuest: IpText;
  /** DHCP option 12 for the guest; null leaves it out. */
  readonly hostname: string | null;
  readonly domainname: string | null;
  readonly dnssearch: readonly string[];
  readonly tftpServerName: string | null;
  readonly bootfile: string | null;
  /** Fixed addresses by MAC ("52:54:00:12:34:56", lower case). */
  readonly staticLeases: ReadonlyMap<string, IpText>;
  /** IP packet size offered to guests: 1500 to 65520, less with an uplink. */
  readonly mtu: number;
  /** Guests reach neither the host nor the world, and are told of no way there. */
  readonly restrict: boolean;
  /** Guests reach the host and nothing beyond. */
  readonly hostOnly: boolean;
  /** We are the guests' router, DHCP and DNS server. Otherwise nothing of ours is on their cables. */
  readonly gateway: boolean;
  /** We give addresses: DHCP, DHCPv6, router advertisements. */
  readonly dhcp: boolean;
  /** Guests do not reach one another. */
  readonly isolate: boolean;
  readonly hostLoopback: boolean;
  /** Names of others may lead guests to private addresses. */
  readonly dnsRebind: boolean;
  /** For how long an answer's addresses are good for rules about its name; a minute to a day when not set. */
  readonly nameTtl?: NameTtl;
  /** What the DNS server answers by itself. */
  readonly dnsHosts: readonly DnsHost[];
  /** Which names it asks of resolvers of their own. */
  readonly dnsZones: readonly DnsZone[];
  /** What no rule denies passes, whatever the default says: to learn which rules a run needs. */
  readonly learn?: boolean;
  /** Each flow that may begin is reported, with the rule that it took. */
  readonly tellAllowed?: boolean;
  /** HTTP in the clear that is refused for its name is answered. */
  readonly refuseHttp?: boolean;
  /** Further addresses of the net that are ours and so are not leased: those of guest forwards. */
  readonly reserved: readonly IpText[];
  /** Opened before the sockets appear. */
  readonly forwards: readonly ForwardRule[];
  readonly limits: Limits;
}

/** A host port that leads into the guest: the one of that name when a client comes, else `guest.host`; null means the guest that has the first lease. */
export interface ForwardRule {
  readonly proto: "tcp" | "udp";
  readonly host: Endpoint | UnixEndpoint;
  readonly guest: { readonly host: IpText | null; readonly port: number; readonly name?: string };
}

/** An address and port in the guests' net that leads out to something of the host's, whatever policy says. */
export interface GuestForwardRule {
  readonly server: IpText;
  readonly port: number;
  /** A name for a host is looked up for each connection. */
  readonly target: Endpoint | UnixEndpoint | CommandTarget;
}

/** A program to be started for each connection. */
export interface CommandTarget {
  readonly argv: readonly string[];
}

/** A segment of other machines that guests' cables are joined to by VXLAN (RFC 7348). Addresses are all of one family. */
export interface UplinkConfig {
  readonly vni: number;
  readonly local: Endpoint;
  /** The other ends. */
  readonly remotes: readonly Endpoint[];
  /** Size of IP packets in the network between. */
  readonly mtu: number;
}

/** Which connections go by which proxy; of several rules the first that fits decides. */
export interface ProxyRule {
  /** Whether it is about a connection to `to`, which guests know by `names`. */
  readonly fits: (to: Endpoint, names: readonly string[]) => boolean;
  /** Null for no proxy. */
  readonly server: ProxyServer | null;
}

export interface ProxyServer {
  readonly kind: "socks5" | "http";
  /** A name or an address. */
  readonly host: string;
  readonly port: number;
  readonly user: string | null;
  readonly password: string;
}
