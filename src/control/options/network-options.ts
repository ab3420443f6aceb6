/** Written by `npm run options` from the descriptions beside this file. */
import type { OnAsk } from "../on-ask.ts";
import type { OnFlow } from "../on-flow.ts";
import type { ProxyOptions } from "../proxy-rules.ts";
import type { UplinkOptions } from "../uplink-rules.ts";
import type { AuditOptions } from "./audit-options.ts";
import type { LimitsOptions } from "./limits-options.ts";
import type { Mode } from "./modes.ts";
import type { RecordOptions } from "./record-options.ts";

/** What users may say about a network. Everything has a default. */
export interface NetworkOptions {
  /** The guests' network, `ADDR/PREFIX` with a prefix from 4 to 29 (10.0.2.0/24). */
  readonly subnet?: string | undefined;
  /** The gateway's address, through which guests reach the host (10.0.2.2). */
  readonly host?: string | undefined;
  /** The address of the DNS server, which guests are told (10.0.2.3). */
  readonly dns?: string | undefined;
  /** The first of up to 16 addresses that DHCP leases (10.0.2.15). */
  readonly dhcpStart?: string | undefined;
  /** Guests have IPv4 (on). */
  readonly ipv4?: boolean | undefined;
  /** Guests have IPv6 (on). */
  readonly ipv6?: boolean | undefined;
  /** The guests' IPv6 network, `ADDR/PREFIX`; they make their own addresses in it if the prefix is 64 (fec0::/64). */
  readonly subnet6?: string | undefined;
  /** The gateway's IPv6 address, through which guests reach the host's ::1 (fec0::2). */
  readonly host6?: string | undefined;
  /** The IPv6 address of the DNS server (fec0::3). */
  readonly dns6?: string | undefined;
  /** The MTU that guests are told, 1500 to 65520 bytes (65520; 1500 when a cable is UDP). */
  readonly mtu?: number | undefined;
  /**
   * Give guests addresses, by DHCP, DHCPv6 and router advertisements (on; off in mode bridged, where on makes tslirp
   * the segment's gateway).
   */
  readonly dhcp?: boolean | undefined;
  /**
   * The IPv4 address that is leased to the guest with this MAC, and to nobody else. `{ "52:54:00:12:34:56": "10.0.2.40"
   * }`.
   */
  readonly staticLeases?: Readonly<Record<string, string>> | undefined;
  /** The host name that guests are given by DHCP (option 12). */
  readonly hostname?: string | undefined;
  /** The domain that guests are given by DHCP (option 15). */
  readonly domainname?: string | undefined;
  /** A search domain that guests are given by DHCP (option 119). */
  readonly dnsSearch?: readonly string[] | undefined;
  /** A resolver to forward guests' queries to (the host's resolvers, read again when they change). */
  readonly dnsUpstream?: readonly string[] | undefined;
  /** A name and its address, which the DNS server answers by itself, both ways; IP may be `gateway`. */
  readonly dnsHosts?: readonly string[] | undefined;
  /** The resolver for names in a zone (split DNS); several resolvers of one zone are tried in turn. */
  readonly dnsZones?: readonly string[] | undefined;
  /** The name of the file that PXE clients boot, at most 127 bytes. */
  readonly bootfile?: string | undefined;
  /** A folder whose files guests may read by TFTP, from the gateway. */
  readonly tftp?: string | undefined;
  /** The server that has the boot file, told by DHCP (option 66) (the gateway). */
  readonly tftpServerName?: string | undefined;
  /** A folder that guests may read and write over SMB, as `\\10.0.2.4\qemu`; needs Samba on the host. */
  readonly smb?: string | undefined;
  /** The address of the SMB server in the guests' network (10.0.2.4). */
  readonly smbServer?: string | undefined;
  /**
   * Forward a port of the host to a guest, in QEMU's syntax: `[tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport` or
   * `unix:PATH-[guestaddr]:port`.
   */
  readonly hostfwd?: readonly string[] | undefined;
  /**
   * Forward a port of the host to a guest, in Docker's syntax: `[GUEST:][HOST:]PORT[-PORT]:GUESTPORT[-PORT][/udp]`;
   * HOST is 127.0.0.1 unless given.
   */
  readonly publish?: readonly string[] | undefined;
  /**
   * Serve guests at an address of their network by a command, a TCP server or a UNIX socket of the host:
   * `[tcp]:server:port-cmd:COMMAND`, `-tcp:HOST:PORT` or `-unix:PATH`.
   */
  readonly guestfwd?: readonly string[] | undefined;
  /**
   * shared: guests reach each other, the host and the world; host-only: each other and the host; isolated: each other;
   * bridged: the segment behind the uplink (shared). Clients on the host get in by forwards in all of them. "isolated"
   * is the same as `restrict`. In "bridged" the segment's router and DHCP serve the guests, and nothing of ours is on
   * their cables, unless `dhcp` says so.
   */
  readonly mode?: Mode | undefined;
  /**
   * Connect guests to a segment of other machines: `vxlan://IP[:PORT][,IP…]?vni=N[&local=IP[:PORT]][&mtu=N]`. In all
   * modes but "bridged" our gateway serves those machines, too.
   */
  readonly uplink?: string | UplinkOptions | readonly (string | UplinkOptions)[] | undefined;
  /** Keep guests apart: none reaches another (off). */
  readonly isolate?: boolean | undefined;
  /** Guests reach neither the host nor the world; forwards still work (off). */
  readonly restrict?: boolean | undefined;
  /** Guests reach the host's 127.0.0.1 and ::1 by the gateway's addresses (on). */
  readonly hostLoopback?: boolean | undefined;
  /** Whether answers of the host's resolvers may lead guests to private addresses (allow). */
  readonly dnsRebind?: "allow" | "refuse" | undefined;
  /**
   * How many seconds the addresses in an answer count for rules about its name: its TTL, within these bounds
   * (60-86400).
   */
  readonly nameTtl?: string | undefined;
  /** Which flows may begin, first match wins: `["allow tcp *.debian.org:80", "default deny"]` (all may). */
  readonly rules?: readonly string[] | undefined;
  /** Called for every new flow, to allow, deny, redirect or take it over. */
  readonly onFlow?: OnFlow | undefined;
  /** Milliseconds that a flow waits for the answer of `onFlow`; then it is refused (10000). */
  readonly onFlowTimeout?: number | undefined;
  /**
   * The proxy for guests' TCP connections: `[MATCH=]socks5://[USER:PASSWORD@]HOST[:PORT]`, `http://…` (CONNECT) or
   * `direct`; the first rule that matches decides.
   */
  readonly proxy?: string | readonly (string | ProxyOptions)[] | undefined;
  /** The source address of outgoing sockets (the host's choice). */
  readonly outboundAddr?: string | undefined;
  /** Allow flows that no rule denies, and write the rules that would have allowed them to this file, for `--rules`. */
  readonly learn?: string | undefined;
  /**
   * Hold a flow that only the default would refuse for up to 30 seconds, until `tslirp ctl approve` or `deny` (off). In
   * a program `onAsk` says it.
   */
  readonly ask?: boolean | undefined;
  /** Called for a flow that only the default would refuse, which waits for the answer: once, always, or not. */
  readonly onAsk?: OnAsk | undefined;
  /** Append a line of JSON to this file for each refusal. */
  readonly audit?: string | AuditOptions | undefined;
  /**
   * Answer an unencrypted HTTP request that a rule about names refuses with `403` and a line that says which rule (on).
   */
  readonly refuseHttp?: boolean | undefined;
  /**
   * Microseconds, at most 1000, that the process stays awake after a packet when another is likely to follow (100; on a
   * single processor 0, never).
   */
  readonly busyPoll?: number | undefined;
  /** A cap on what guests may use, all together or each: `tcpFlows=4000`, `udpFlowsPerGuest=500`. */
  readonly limits?: LimitsOptions | undefined;
  /** Closes the network when it is aborted. */
  readonly signal?: AbortSignal | undefined;
  /** Record the network's input and output for `tslirp replay`, in a new file, or in one in an existing folder. */
  readonly record?: string | RecordOptions | undefined;
}
