/**
 * One guest network's settings, resolved: every default filled in, every text validated. `control/options.ts` makes
 * them from the user's options; the stack and the protocol engines use them unchanged.
 */
import type { Endpoint, IpText } from "./address.ts";
import type { UnixEndpoint } from "./host-net.ts";
import type { Limits } from "./limits.ts";

/** A name and one of its addresses. `gateway` stands for the gateway's address of each family. */
export interface DnsHost {
  /** In lower case, without the last dot. */
  readonly name: string;
  readonly address: IpText | "gateway";
}

/** A zone and one of its resolvers. Several resolvers of a zone are asked in order. */
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
  /** The first address of the DHCP pool (10.0.2.15), and the pool's size (16). */
  readonly dhcpStart: IpText;
  readonly dhcpCount: number;
  /** Which address families guests have: at least one of the two is true. */
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  /** "fec0::" and its prefix length. */
  readonly net6: IpText;
  readonly prefix6: number;
  /** The gateway's IPv6 address (fec0::2), which reaches the host's ::1 when `hostLoopback`. */
  readonly host6: IpText;
  /** The virtual DNS server (fec0::3). */
  readonly dns6: IpText;
  /**
   * The target of a forward that names no guest, while no guest has a lease: the first address of the pool; of DHCPv6's
   * pool without IPv4.
   */
  readonly firstGuest: IpText;
  /** DHCP option 12 for the guest; null leaves it out. */
  readonly hostname: string | null;
  readonly domainname: string | null;
  readonly dnssearch: readonly string[];
  readonly tftpServerName: string | null;
  readonly bootfile: string | null;
  /** Fixed addresses by MAC ("52:54:00:12:34:56", lower case). */
  readonly staticLeases: ReadonlyMap<string, IpText>;
  /** The MTU offered to guests, in bytes: 1500 to 65520, less with an uplink. */
  readonly mtu: number;
  /** Guests reach neither the host nor the world, and learn of no router or resolver. */
  readonly restrict: boolean;
  /** Guests reach the host and nothing beyond it. */
  readonly hostOnly: boolean;
  /**
   * The network is the guests' router, DHCP and DNS server. When false, it sends nothing of its own on their cables.
   */
  readonly gateway: boolean;
  /** The network assigns addresses: DHCP, DHCPv6, router advertisements. */
  readonly dhcp: boolean;
  /** Guests do not reach one another. */
  readonly isolate: boolean;
  readonly hostLoopback: boolean;
  /** Names from resolvers outside may lead guests to private addresses. */
  readonly dnsRebind: boolean;
  /**
   * For how long rules about a name accept the addresses of an answer for that name; a minute to a day when not set.
   */
  readonly nameTtl?: NameTtl;
  /** Names that the DNS server answers by itself. */
  readonly dnsHosts: readonly DnsHost[];
  /** Zones whose names the DNS server asks of resolvers of their own. */
  readonly dnsZones: readonly DnsZone[];
  /** Flows that no rule denies pass, whatever the default says: to learn which rules a run needs. */
  readonly learn?: boolean;
  /** Each allowed flow is reported, with the rule that allowed it. */
  readonly tellAllowed?: boolean;
  /** A plain HTTP request that a rule refuses for its name gets an HTTP answer. */
  readonly refuseHttp?: boolean;
  /** Further addresses of the net that are not leased, because guest forwards use them. */
  readonly reserved: readonly IpText[];
  /** Forwards that are opened before guests can attach. */
  readonly forwards: readonly ForwardRule[];
  readonly limits: Limits;
}

/**
 * A forward: a port or UNIX socket of the host (`host`), and the guest's address and port to which it leads. If
 * `guest.name` is set, each client is led to the guest that has this DHCP name at that moment; without such a guest, to
 * `guest.host`. A `guest.host` of null means the guest that has the first lease.
 */
export interface ForwardRule {
  readonly proto: "tcp" | "udp";
  readonly host: Endpoint | UnixEndpoint;
  readonly guest: { readonly host: IpText | null; readonly port: number; readonly name?: string };
}

/**
 * A guest forward: an address and port in the guests' net that lead out to a target of the host's. No rule or option
 * prevents it.
 */
export interface GuestForwardRule {
  readonly server: IpText;
  readonly port: number;
  /** If the target's host is a name, it is looked up for each connection. */
  readonly target: Endpoint | UnixEndpoint | CommandTarget;
}

/** A program that is started for each connection. */
export interface CommandTarget {
  readonly argv: readonly string[];
}

/** A segment of other machines that the guests' cables join by VXLAN (RFC 7348). All addresses are of one family. */
export interface UplinkConfig {
  readonly vni: number;
  readonly local: Endpoint;
  /** The other VTEPs. */
  readonly remotes: readonly Endpoint[];
  /** The MTU of the network between the VTEPs, in bytes. */
  readonly mtu: number;
}

/** Which connections go by which proxy. Of several rules, the first that fits decides. */
export interface ProxyRule {
  /** Whether the rule fits a connection to `to`, which guests know by `names`. */
  readonly fits: (to: Endpoint, names: readonly string[]) => boolean;
  /** The proxy; null for a direct connection. */
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
