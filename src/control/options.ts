/**
 * A network's options: one shape for the library and the command line, checked in this one place, made into the
 * `StackConfig` that everything below takes as it is. Defaults are libslirp's.
 */

import { statSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import { z } from "zod";
import type { Endpoint, IpText } from "../core/address.ts";
import type { GuestForwardRule, ProxyRule, StackConfig, UplinkConfig } from "../core/config.ts";
import { NO_RULES, type RuleSet } from "../nat/rules/rules.ts";
import { IPV6_MIN_MTU, ipv6ToString } from "../wire/ipv6.ts";
import { fromNumber, parseEndpoint, parseIp, parseIpv4, parseIpv6, prefixMask } from "./addresses.ts";
import { ConfigError } from "./errors.ts";
import { checkForward, type Families } from "./forward-guests.ts";
import { parseHostfwd, parsePublish } from "./forward-rules.ts";
import { resolveServers, type SmbOptions } from "./guestfwd-rules.ts";
import { cap, type LimitsOptions, LimitsShape, resolveLimits } from "./limits.ts";
import { MODES, type Mode, resolveMode } from "./mode.ts";
import type { OnFlow } from "./on-flow.ts";
import { type ProxyOptions, parseProxy, resolveProxy } from "./proxy-rules.ts";
import { parseRules } from "./rules.ts";
import { abortSignal, checkShape } from "./shape.ts";
import { resolveStaticLeases } from "./static-leases.ts";
import { parseSubnet4, resolveAddresses4, SUBNET4 } from "./subnet4.ts";
import { parseNet6, resolveAddresses6, SUBNET6 } from "./subnet6.ts";
import { resolveUplink, UPLINK_EXAMPLE, type UplinkOptions, uplinkInnerMtu } from "./uplink-rules.ts";

/** What users may say about a network. Everything has a default. */
export interface NetworkOptions {
  /** The guests' network, `ADDR/PREFIX` with a prefix from 4 to 29 (10.0.2.0/24). */
  readonly subnet?: string | undefined;
  /** The gateway, through which guests reach the host (the subnet's .2.2 under its mask: 10.0.2.2). */
  readonly host?: string | undefined;
  /** The DNS server guests are told (10.0.2.3). */
  readonly dns?: string | undefined;
  /** The first of up to 16 leases (10.0.2.15). */
  readonly dhcpStart?: string | undefined;
  /** Guests have IPv4 (true). */
  readonly ipv4?: boolean | undefined;
  /** Guests have IPv6 (true). */
  readonly ipv6?: boolean | undefined;
  /** The guests' IPv6 network, `ADDR/PREFIX`; they make their own addresses in it if the prefix is 64 (fec0::/64). */
  readonly subnet6?: string | undefined;
  /** The gateway's IPv6 address, through which guests reach the host's ::1 (the subnet's ::2). */
  readonly host6?: string | undefined;
  /** The DNS server's IPv6 address (the subnet's ::3). */
  readonly dns6?: string | undefined;
  /** The guest's host name, DHCP option 12 (none). */
  readonly hostname?: string | undefined;
  /** DHCP option 15 (none). */
  readonly domainname?: string | undefined;
  /** Search domains, DHCP option 119 (none). */
  readonly dnsSearch?: readonly string[] | undefined;
  /** Fixed addresses by MAC: `{ "52:54:00:12:34:56": "10.0.2.40" }` (none). */
  readonly staticLeases?: Readonly<Record<string, string>> | undefined;
  /** File a guest boots from, for DHCP's `file` field: at most 127 bytes (none). */
  readonly bootfile?: string | undefined;
  /** A folder whose files guests may read by TFTP from the gateway (none). */
  readonly tftp?: string | undefined;
  /** Where the boot file is, DHCP option 66 (the gateway). */
  readonly tftpServerName?: string | undefined;
  /** Size of IP packets offered to guests, 1500 to 65520 (65520). */
  readonly mtu?: number | undefined;
  /**
   * "shared": guests reach each other, the host and the world. "host-only": each other and the host. "isolated": each other;
   * the same as `restrict`. Clients on the host get in by forwards in all of them. "bridged": guests are on the segment
   * that `uplink` leads to, whose router and DHCP serve them; nothing of ours is on their cables, unless `dhcp` says so ("shared").
   */
  readonly mode?: Mode | undefined;
  /**
   * Segments of other machines that guests share with them, by VXLAN: `vxlan://192.0.2.7?vni=42` or `UplinkOptions`. In
   * all modes but "bridged" our gateway serves them, too (none).
   */
  readonly uplink?: string | UplinkOptions | readonly (string | UplinkOptions)[] | undefined;
  /** We give addresses: DHCP, DHCPv6, router advertisements (true; false in "bridged", where true makes us the gateway as in "shared"). */
  readonly dhcp?: boolean | undefined;
  /** Guests do not reach one another, each on its cable (false). */
  readonly isolate?: boolean | undefined;
  /** Guests reach neither the host nor the world; forwards still work (false). */
  readonly restrict?: boolean | undefined;
  /** The gateway's address reaches the host's 127.0.0.1 (true). */
  readonly hostLoopback?: boolean | undefined;
  /** Whether a name that the host's resolvers answer may lead to a private address; "refuse" makes that REFUSED ("allow"). */
  readonly dnsRebind?: "allow" | "refuse" | undefined;
  /** Source address of outgoing sockets (the host's choice). */
  readonly outboundAddr?: string | undefined;
  /** Resolvers to forward to, `IP[:PORT]` (the host's own). */
  readonly dnsUpstream?: readonly string[] | undefined;
  /** Forwards in QEMU's grammar: `tcp:127.0.0.1:2222-:22`. */
  readonly hostfwd?: readonly string[] | undefined;
  /** Forwards in Docker's grammar: `2222:22`, `web:2222:22` (to a guest by its DHCP host name), `127.0.0.1:8000-8010:80-90`, `5353:53/udp`. */
  readonly publish?: readonly string[] | undefined;
  /** Guest forwards in QEMU's grammar: `tcp:10.0.2.100:80-cmd:COMMAND`, `-tcp:HOST:PORT`, `-unix:PATH`. */
  readonly guestfwd?: readonly string[] | undefined;
  /** A folder that guests may read and write over SMB as `\\10.0.2.4\qemu`; needs Samba on the host (none). */
  readonly smb?: string | undefined;
  /** Where in the guests' net that is (10.0.2.4). */
  readonly smbServer?: string | undefined;
  /** Which flows may begin, first match wins: `["allow tcp *.debian.org:80", "default deny"]` (all may). */
  readonly rules?: readonly string[] | undefined;
  /** By which proxies guests' TCP connections leave: one for all, or rules of which the first that fits decides (none). */
  readonly proxy?: string | readonly (string | ProxyOptions)[] | undefined;
  /** Asked about every new flow: may it, may it not, is it to go elsewhere, is it taken over (nobody is asked). */
  readonly onFlow?: OnFlow | undefined;
  /** Milliseconds that a flow waits for the answer of `onFlow`; without one it is refused (10000). */
  readonly onFlowTimeout?: number | undefined;
  /** Microseconds that the process stays awake after a packet when more is likely to come at once, 1000 at most; 0 never (100, on one processor 0). */
  readonly busyPoll?: number | undefined;
  /** Closes the network. */
  readonly signal?: AbortSignal | undefined;
  /** Caps on what guests may make us hold. */
  readonly limits?: LimitsOptions | undefined;
}

/** Options with every default filled in. */
export interface ResolvedOptions {
  readonly stack: StackConfig;
  readonly guestForwards: readonly GuestForwardRule[];
  readonly smb: SmbOptions | null;
  /** The folder that TFTP serves; null for none. */
  readonly tftp: string | null;
  /** Null lets the host choose. */
  readonly outboundAddr: IpText | null;
  /** Empty asks the host's own resolvers. */
  readonly dnsUpstream: readonly Endpoint[];
  readonly uplinks: readonly UplinkConfig[];
  readonly rules: RuleSet;
  /** As the user wrote them. */
  readonly ruleLines: readonly string[];
  /** Empty for none. */
  readonly proxies: readonly ProxyRule[];
  /** Null asks nobody. */
  readonly onFlow: OnFlow | null;
  /** In milliseconds. */
  readonly onFlowTimeout: number;
  /** Microseconds. */
  readonly busyPoll: number;
  /** Null for a network that is closed by hand. */
  readonly signal: AbortSignal | null;
}

export const MIN_MTU = 1500;
export const MAX_MTU = 65_520;
/** Over UDP one frame is one datagram: 65507 bytes of payload less the Ethernet header. */
export const MAX_DGRAM_MTU: number = 65_507 - 14;
const ON_FLOW_MS = 10_000;

const NAME = "expected a name of 1 to 255 letters, digits, dots, hyphens and underscores";
const DOMAIN = "expected a domain name of labels of 1 to 63 letters, digits, hyphens and underscores, 253 in all";
const IPV4 = "expected an IPv4 address like 10.0.2.2";
const IPV6 = "expected an IPv6 address like fec0::2";
const RULES = (grammar: string): string => `expected a list of forwards like ["${grammar}"]`;

const ipv4 = z.string(IPV4).refine((text) => parseIpv4(text) !== null, IPV4);
const ipv6 = z.string(IPV6).refine((text) => parseIpv6(text) !== null, IPV6);
const name = z.string(NAME).regex(/^[A-Za-z0-9._-]{1,255}$/, NAME);
const domain = z.string(DOMAIN).regex(/^(?=.{1,254}$)(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?$/, DOMAIN);
const flag = z.boolean("expected true or false");

/** Microseconds. */
export const MAX_BUSY_POLL = 1000;
const BUSY_POLL = `expected a whole number of microseconds up to ${MAX_BUSY_POLL}`;
const BOOTFILE = "expected a file name of 1 to 127 bytes";
const FOLDER = "expected a folder that exists";
const MTU = `expected a whole number from ${MIN_MTU} to ${MAX_MTU}`;
const UPLINK = `expected an uplink like "${UPLINK_EXAMPLE}", { remotes: ["192.0.2.7"], vni: 42 }, or a list of them`;
const UPSTREAM = "expected IP[:PORT], like 192.0.2.53 or [2001:db8::53]:5353";
const PROXY = 'expected a proxy like "socks5://127.0.0.1:1080", or a list of rules { match, proxy }';
const OUTBOUND = "expected an IP address of this host";
const STATIC = 'expected addresses by MAC, like { "52:54:00:12:34:56": "10.0.2.40" }';
const MODE = `expected ${MODES.join(", ")}`;
const RULE_LIST = 'expected a list of rules like ["allow tcp *.debian.org:80", "default deny"]';

const uplink = z.union([
  z.string(),
  z.strictObject({
    remotes: z.array(z.string()).readonly(),
    vni: z.number(),
    local: z.string().optional(),
    mtu: z.number().optional(),
  }),
]);

/** Checks each field by itself; `resolveOptions` checks what they have to do with each other. */
export const NetworkOptions: z.ZodType<NetworkOptions> = z.strictObject(
  {
    subnet: z
      .string(SUBNET4)
      .refine((text) => parseSubnet4(text) !== null, SUBNET4)
      .optional(),
    host: ipv4.optional(),
    dns: ipv4.optional(),
    dhcpStart: ipv4.optional(),
    ipv4: flag.optional(),
    ipv6: flag.optional(),
    subnet6: z
      .string(SUBNET6)
      .refine((text) => parseNet6(text) !== null, SUBNET6)
      .optional(),
    host6: ipv6.optional(),
    dns6: ipv6.optional(),
    hostname: name.optional(),
    domainname: domain.optional(),
    dnsSearch: z.array(domain, `expected a list of domain names`).readonly().optional(),
    staticLeases: z.record(z.string(), ipv4, STATIC).optional(),
    bootfile: z
      .string(BOOTFILE)
      .refine(
        (text) => !text.includes("\0") && Buffer.byteLength(text) >= 1 && Buffer.byteLength(text) <= 127,
        BOOTFILE,
      )
      .optional(),
    tftp: z.string(FOLDER).refine(isFolder, FOLDER).optional(),
    tftpServerName: name.optional(),
    mtu: z.int(MTU).min(IPV6_MIN_MTU, MTU).max(MAX_MTU, MTU).optional(),
    mode: z.enum(MODES, MODE).optional(),
    uplink: z.union([uplink, z.array(uplink).readonly()], UPLINK).optional(),
    dhcp: flag.optional(),
    isolate: flag.optional(),
    restrict: flag.optional(),
    hostLoopback: flag.optional(),
    dnsRebind: z.enum(["allow", "refuse"], "expected allow or refuse").optional(),
    outboundAddr: z
      .string(OUTBOUND)
      .refine((text) => parseIp(text) !== null, OUTBOUND)
      .optional(),
    dnsUpstream: z
      .array(
        z.string(UPSTREAM).refine((text) => parseEndpoint(text, 53) !== null, UPSTREAM),
        'expected a list of resolvers like ["192.0.2.53"]',
      )
      .readonly()
      .optional(),
    hostfwd: z
      .array(z.string(RULES("tcp::2222-:22")), RULES("tcp::2222-:22"))
      .readonly()
      .optional(),
    publish: z
      .array(z.string(RULES("2222:22")), RULES("2222:22"))
      .readonly()
      .optional(),
    guestfwd: z
      .array(z.string(RULES("tcp:10.0.2.100:80-cmd:cat")), RULES("tcp:10.0.2.100:80-cmd:cat"))
      .readonly()
      .optional(),
    smb: z.string(FOLDER).refine(isFolder, FOLDER).optional(),
    smbServer: ipv4.optional(),
    rules: z.array(z.string(RULE_LIST), RULE_LIST).readonly().optional(),
    proxy: z
      .union(
        [
          z.string(),
          z
            .array(z.union([z.string(), z.strictObject({ match: z.string().optional(), proxy: z.string() })]))
            .readonly(),
        ],
        PROXY,
      )
      .optional(),
    onFlow: z
      .custom<OnFlow>((value) => typeof value === "function", 'expected a function like (flow) => "allow"')
      .optional(),
    onFlowTimeout: cap(600_000).optional(),
    busyPoll: z.int(BUSY_POLL).min(0, BUSY_POLL).max(MAX_BUSY_POLL, BUSY_POLL).optional(),
    signal: abortSignal.optional(),
    limits: LimitsShape.optional(),
  },
  "expected an object of network options",
);

/** Checks what the user said and fills in the defaults. Throws `ConfigError` about the first thing that is wrong. */
export function resolveOptions(input: NetworkOptions = {}): ResolvedOptions {
  const options = checkShape(NetworkOptions, input);
  const families = resolveFamilies(options);
  const addresses = resolveAddresses4(options);
  const { net, prefix, host, dns, dhcpStart } = addresses;
  const addresses6 = resolveAddresses6(options);
  const broadcast = (net | ~prefixMask(prefix)) >>> 0;
  const forwards = [
    ...(options.hostfwd ?? []).map((text) => checkForward(parseHostfwd(text), text, families, addresses, addresses6)),
    ...(options.publish ?? []).flatMap(parsePublish),
  ];
  const uplinks = [options.uplink ?? []].flat().map((each) => resolveUplink("uplink", each));
  const staticLeases = resolveStaticLeases(options.staticLeases ?? {}, addresses);
  const limits = resolveLimits(options.limits ?? {});
  const { guestForwards, smb } = resolveServers(options, addresses, staticLeases);
  return {
    stack: {
      net: fromNumber(net),
      prefix,
      host: fromNumber(host),
      dns: fromNumber(dns),
      dhcpStart: fromNumber(dhcpStart),
      dhcpCount: Math.min(limits.leases, broadcast - dhcpStart),
      ...families,
      net6: ipv6ToString(addresses6.net),
      prefix6: addresses6.prefix,
      host6: ipv6ToString(addresses6.host),
      dns6: ipv6ToString(addresses6.dns),
      firstGuest: families.ipv4 ? fromNumber(dhcpStart) : ipv6ToString(addresses6.first),
      hostname: options.hostname ?? null,
      domainname: options.domainname === undefined ? null : dotless(options.domainname),
      dnssearch: (options.dnsSearch ?? []).map(dotless),
      tftpServerName: options.tftpServerName ?? null,
      bootfile: options.bootfile ?? null,
      staticLeases,
      mtu: resolveMtu(options.mtu, uplinks),
      ...resolveMode(options),
      isolate: options.isolate ?? false,
      hostLoopback: options.hostLoopback ?? true,
      dnsRebind: options.dnsRebind !== "refuse",
      reserved: [...new Set([...guestForwards, ...(smb === null ? [] : [smb])].map(({ server }) => server))],
      forwards,
      limits,
    },
    guestForwards,
    smb,
    tftp: options.tftp === undefined ? null : path.resolve(options.tftp),
    outboundAddr: options.outboundAddr === undefined ? null : parseIp(options.outboundAddr),
    uplinks,
    rules: options.rules === undefined ? NO_RULES : parseRules(options.rules),
    ruleLines: options.rules ?? [],
    proxies: (typeof options.proxy === "string" ? [options.proxy] : (options.proxy ?? [])).map((each) =>
      typeof each === "string" ? parseProxy(each) : resolveProxy(each),
    ),
    onFlow: options.onFlow ?? null,
    onFlowTimeout: options.onFlowTimeout ?? ON_FLOW_MS,
    // One processor has others to serve meanwhile: those that are waited for.
    busyPoll: options.busyPoll ?? (availableParallelism() > 1 ? 100 : 0),
    signal: options.signal ?? null,
    dnsUpstream: (options.dnsUpstream ?? []).map((text) => parseEndpoint(text, 53)!),
  };
}

function resolveFamilies({ ipv4 = true, ipv6 = true, subnet6, host6, dns6 }: NetworkOptions): Families {
  if (!ipv4 && !ipv6) throw new ConfigError("ipv6", ipv6, "expected IPv4 or IPv6 to be on");
  for (const [field, value] of Object.entries({ subnet6, host6, dns6 })) {
    if (value !== undefined && !ipv6) throw new ConfigError(field, value, "expected IPv6 to be on");
  }
  return { ipv4, ipv6 };
}

/** What fits the uplinks, too. */
function resolveMtu(mtu: number | undefined, uplinks: readonly UplinkConfig[]): number {
  const most = Math.min(MAX_MTU, ...uplinks.map(uplinkInnerMtu));
  if (mtu === undefined) return most;
  if (uplinks.length === 0 && mtu < MIN_MTU) throw new ConfigError("mtu", mtu, MTU);
  if (mtu > most) throw new ConfigError("mtu", mtu, `expected at most ${most}, which fits the uplink`);
  return mtu;
}

function isFolder(text: string): boolean {
  return !text.includes("\0") && (statSync(text, { throwIfNoEntry: false })?.isDirectory() ?? false);
}

/** "example.test." is "example.test". */
function dotless(domainName: string): string {
  return domainName.endsWith(".") ? domainName.slice(0, -1) : domainName;
}
