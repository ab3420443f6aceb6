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
  /** The address of our DNS server, which guests are told (10.0.2.3). */
  readonly dns?: string | undefined;
  /** The first of up to 16 leases (10.0.2.15). */
  readonly dhcpStart?: string | undefined;
  /** Guests have IPv4 (on). */
  readonly ipv4?: boolean | undefined;
  /** Guests have IPv6 (on). */
  readonly ipv6?: boolean | undefined;
  /** The guests' IPv6 network, `ADDR/PREFIX`; they make their own addresses in it if the prefix is 64 (fec0::/64). */
  readonly subnet6?: string | undefined;
  /** The gateway's IPv6 address, through which guests reach the host's ::1 (fec0::2). */
  readonly host6?: string | undefined;
  /** The IPv6 address of our DNS server (fec0::3). */
  readonly dns6?: string | undefined;
  /** The largest IP packet that guests are offered, 1500 to 65520 bytes (65520; 1500 when a cable is UDP). */
  readonly mtu?: number | undefined;
  /**
   * We give addresses: DHCP, DHCPv6, router advertisements (on; with mode bridged off, where on makes us the segment's
   * gateway).
   */
  readonly dhcp?: boolean | undefined;
  /**
   * The IPv4 address that the guest with this MAC always gets, and nobody else. `{ "52:54:00:12:34:56": "10.0.2.40" }`.
   */
  readonly staticLeases?: Readonly<Record<string, string>> | undefined;
  /** The host name that guests are told, DHCP option 12. */
  readonly hostname?: string | undefined;
  /** The domain that guests are told, DHCP option 15. */
  readonly domainname?: string | undefined;
  /** A domain that guests are told to search, DHCP option 119. */
  readonly dnsSearch?: readonly string[] | undefined;
  /** A resolver to forward guests' questions to (the host's own, read again when they change). */
  readonly dnsUpstream?: readonly string[] | undefined;
  /** What our DNS server answers for a name, and for the address, before anybody is asked; IP may be `gateway`. */
  readonly dnsHosts?: readonly string[] | undefined;
  /** The resolver that is asked for names in a zone (split DNS); several lines of one zone are tried in turn. */
  readonly dnsZones?: readonly string[] | undefined;
  /** The file that a PXE client is told to boot from, at most 127 bytes. */
  readonly bootfile?: string | undefined;
  /** A folder whose files guests may read by TFTP from the gateway. */
  readonly tftp?: string | undefined;
  /** Where the boot file is, DHCP option 66 (the gateway). */
  readonly tftpServerName?: string | undefined;
  /** A folder that guests read and write over SMB as `\\10.0.2.4\qemu`; needs Samba on the host. */
  readonly smb?: string | undefined;
  /** Where in the guests' network that folder is (10.0.2.4). */
  readonly smbServer?: string | undefined;
  /**
   * A port of the host's that leads to a guest, in QEMU's grammar:
   * `[tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport` or `unix:PATH-[guestaddr]:port`.
   */
  readonly hostfwd?: readonly string[] | undefined;
  /**
   * The same in Docker's grammar: `[GUEST:][HOST:]PORT[-PORT]:GUESTPORT[-PORT][/udp]`; HOST is 127.0.0.1 unless given.
   */
  readonly publish?: readonly string[] | undefined;
  /**
   * What guests reach at an address of their network: `[tcp]:server:port-cmd:COMMAND`, `-tcp:HOST:PORT` or
   * `-unix:PATH`.
   */
  readonly guestfwd?: readonly string[] | undefined;
  /**
   * shared: guests reach each other, the host and the world; host-only: each other and the host; isolated: each other;
   * bridged: the segment that the uplink leads to (shared). Clients on the host get in by forwards in all of them.
   * "isolated" is the same as `restrict`. In "bridged" the segment's router and DHCP serve the guests, and nothing of
   * ours is on their cables, unless `dhcp` says so.
   */
  readonly mode?: Mode | undefined;
  /**
   * A segment of other machines that guests share: `vxlan://IP[:PORT][,IP…]?vni=N[&local=IP[:PORT]][&mtu=N]`. In all
   * modes but "bridged" our gateway serves those machines, too.
   */
  readonly uplink?: string | UplinkOptions | readonly (string | UplinkOptions)[] | undefined;
  /** Guests do not reach one another, each on its cable (off). */
  readonly isolate?: boolean | undefined;
  /** Guests reach neither the host nor the world; forwards still work (off). */
  readonly restrict?: boolean | undefined;
  /** The gateway's addresses reach the host's 127.0.0.1 and ::1 (on). */
  readonly hostLoopback?: boolean | undefined;
  /** Whether names that the host's resolvers answer may lead guests to private addresses (allow). */
  readonly dnsRebind?: "allow" | "refuse" | undefined;
  /**
   * For how many seconds an answer's addresses are good for rules about its name: its TTL, within these bounds
   * (60-86400).
   */
  readonly nameTtl?: string | undefined;
  /** Which flows may begin, first match wins: `["allow tcp *.debian.org:80", "default deny"]` (all may). */
  readonly rules?: readonly string[] | undefined;
  /** Asked about every new flow: may it, may it not, is it to go elsewhere, is it taken over. */
  readonly onFlow?: OnFlow | undefined;
  /** Milliseconds that a flow waits for the answer of `onFlow`; without one it is refused (10000). */
  readonly onFlowTimeout?: number | undefined;
  /**
   * By which proxy guests' TCP connections leave: `[MATCH=]socks5://[USER:PASSWORD@]HOST[:PORT]`, `http://…` (CONNECT)
   * or `direct`; the first that fits decides.
   */
  readonly proxy?: string | readonly (string | ProxyOptions)[] | undefined;
  /** The source address of outgoing sockets (the host's choice). */
  readonly outboundAddr?: string | undefined;
  /** What no rule denies passes, and the rules that it would have taken are written to this file, for `--rules`. */
  readonly learn?: string | undefined;
  /**
   * A flow that only the default would refuse waits up to 30 seconds for `tslirp ctl approve` or `deny` (off). In a
   * program `onAsk` says it.
   */
  readonly ask?: boolean | undefined;
  /** Asked about what only the default would refuse, while it waits: once, always, or not. */
  readonly onAsk?: OnAsk | undefined;
  /** A line of JSON for each refusal, appended to this file. */
  readonly audit?: string | AuditOptions | undefined;
  /**
   * A request of HTTP in the clear that a rule about names refuses is answered by `403` and a line that says which rule
   * (on).
   */
  readonly refuseHttp?: boolean | undefined;
  /**
   * Microseconds, at most 1000, that the process stays awake after a packet when another is likely to come at once
   * (100; on a single processor 0, never).
   */
  readonly busyPoll?: number | undefined;
  /** A cap on what guests may make us hold, in all or of each guest: `tcpFlows=4000`, `udpFlowsPerGuest=500`. */
  readonly limits?: LimitsOptions | undefined;
  /** Closes the network. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Record all that enters the network at its seams, and what leaves it, in a new file, or one in an existing folder,
   * for `tslirp replay`.
   */
  readonly record?: string | RecordOptions | undefined;
}
