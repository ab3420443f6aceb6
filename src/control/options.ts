/**
 * Checks a network's options against each other, fills in the defaults, which are libslirp's, and makes the
 * `StackConfig` that the stack takes as it is. `options/` describes each option by itself.
 */

import { availableParallelism } from "node:os";
import path from "node:path";
import type { Endpoint, IpText } from "../core/address.ts";
import type { GuestForwardRule, ProxyRule, StackConfig, UplinkConfig } from "../core/config.ts";
import { NO_RULES, type RuleSet } from "../nat/rules/rules.ts";
import { ipv6ToString } from "../wire/ipv6.ts";
import { fromNumber, parseEndpoint, parseIp, prefixMask } from "./addresses.ts";
import { parseDnsHost, parseDnsZone } from "./dns-rules.ts";
import { ConfigError } from "./errors.ts";
import { checkForward, type Families } from "./forward-guests.ts";
import { parseHostfwd, parsePublish } from "./forward-rules.ts";
import { resolveServers, type SmbOptions } from "./guestfwd-rules.ts";
import { resolveLimits } from "./limits.ts";
import { resolveMode } from "./mode.ts";
import { parseNameTtl } from "./name-ttl.ts";
import type { OnAsk } from "./on-ask.ts";
import type { OnFlow } from "./on-flow.ts";
import type { ResolvedAudit } from "./options/audit-options.ts";
import { MAX_MTU, MIN_MTU } from "./options/mtu.ts";
import type { NetworkOptions } from "./options/network-options.ts";
import type { RecordOptions, ResolvedRecord } from "./options/record-options.ts";
import { shapeOf } from "./options/table.ts";
import { parseProxy, resolveProxy } from "./proxy-rules.ts";
import { parseRules } from "./rules.ts";
import { checkShape } from "./shape.ts";
import { resolveStaticLeases } from "./static-leases.ts";
import { resolveAddresses4 } from "./subnet4.ts";
import { resolveAddresses6 } from "./subnet6.ts";
import { resolveUplink, uplinkInnerMtu } from "./uplink-rules.ts";

export type { NetworkOptions };

/** Options with every default filled in. */
export interface ResolvedOptions {
  readonly stack: StackConfig;
  readonly guestForwards: readonly GuestForwardRule[];
  readonly smb: SmbOptions | null;
  /** The folder that TFTP serves; null for none. */
  readonly tftp: string | null;
  /** Null lets the host choose. */
  readonly outboundAddr: IpText | null;
  /** Empty for the host's own resolvers. */
  readonly dnsUpstream: readonly Endpoint[];
  readonly uplinks: readonly UplinkConfig[];
  readonly rules: RuleSet;
  /** The rules as the user wrote them. */
  readonly ruleLines: readonly string[];
  /** The options as the user wrote them. */
  readonly dnsHostLines: readonly string[];
  readonly dnsZoneLines: readonly string[];
  /** Empty for none. */
  readonly proxies: readonly ProxyRule[];
  /** Null for none. */
  readonly onFlow: OnFlow | null;
  /** Milliseconds. */
  readonly onFlowTimeout: number;
  /** Microseconds. */
  readonly busyPoll: number;
  readonly ask: boolean;
  /** Null for none. */
  readonly onAsk: OnAsk | null;
  /** The file for learned rules; null for none. */
  readonly learn: string | null;
  /** Null for none. */
  readonly audit: ResolvedAudit | null;
  /** Null for none. */
  readonly record: ResolvedRecord | null;
  /** Null when only `close` ends the network. */
  readonly signal: AbortSignal | null;
}

const ON_FLOW_MS = 10_000;

/** Checks what the user said and fills in the defaults. Throws `ConfigError` about the first thing that is wrong. */
export function resolveOptions(input: NetworkOptions = {}): ResolvedOptions {
  const options = checkShape(shapeOf(input), input);
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
  const audit = resolveAudit(options.audit);
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
      ...(options.nameTtl === undefined ? {} : { nameTtl: parseNameTtl(options.nameTtl)! }),
      dnsHosts: (options.dnsHosts ?? []).map(parseDnsHost),
      dnsZones: (options.dnsZones ?? []).map(parseDnsZone),
      learn: options.learn !== undefined,
      tellAllowed: options.learn !== undefined || audit?.allowed === true,
      refuseHttp: options.refuseHttp ?? true,
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
    dnsHostLines: options.dnsHosts ?? [],
    dnsZoneLines: options.dnsZones ?? [],
    proxies: (typeof options.proxy === "string" ? [options.proxy] : (options.proxy ?? [])).map((each) =>
      typeof each === "string" ? parseProxy(each) : resolveProxy(each),
    ),
    onFlow: options.onFlow ?? null,
    onFlowTimeout: options.onFlowTimeout ?? ON_FLOW_MS,
    // If there is one processor, staying awake would keep it from the very processes that are to answer.
    busyPoll: options.busyPoll ?? (availableParallelism() > 1 ? 100 : 0),
    ask: resolveAsk(options),
    onAsk: options.onAsk ?? null,
    learn: options.learn === undefined ? null : path.resolve(options.learn),
    audit,
    record: resolveRecord(options.record),
    signal: options.signal ?? null,
    dnsUpstream: (options.dnsUpstream ?? []).map((text) => parseEndpoint(text, 53)!),
  };
}

function resolveFamilies({ ipv4 = true, ipv6 = true, subnet6, host6, dns6 }: NetworkOptions): Families {
  if (!ipv4 && !ipv6) throw new ConfigError("ipv6", ipv6, "expected one of ipv4 and ipv6 to be on, not both off");
  for (const [field, value] of Object.entries({ subnet6, host6, dns6 })) {
    if (value !== undefined && !ipv6) throw new ConfigError(field, value, "expected IPv6 to be on");
  }
  return { ipv4, ipv6 };
}

function resolveAsk({ onAsk, ask = onAsk !== undefined, onFlow, record, learn }: NetworkOptions): boolean {
  const wrong = (expectation: string): ConfigError =>
    onAsk === undefined ? new ConfigError("ask", ask, expectation) : new ConfigError("onAsk", onAsk, expectation);
  if (onAsk !== undefined && !ask) throw wrong("expected ask to be on beside it, or left out");
  if (!ask) return false;
  if (onFlow !== undefined) throw wrong("expected no onFlow beside it, which is asked about every flow");
  if (record !== undefined) throw wrong("expected no record beside it: answers are not recorded");
  if (learn !== undefined) throw wrong("expected no learn beside it, under which the default refuses nothing");
  return true;
}

const AUDIT_BYTES = 64_000_000;
const AUDIT_FILES = 3;

function resolveAudit(audit: NetworkOptions["audit"]): ResolvedAudit | null {
  if (audit === undefined) return null;
  const {
    file,
    allowed = false,
    rotateBytes = AUDIT_BYTES,
    keepFiles = AUDIT_FILES,
  } = typeof audit === "string" ? { file: audit } : audit;
  return { file: path.resolve(file), allowed, rotateBytes, keepFiles };
}

/** Checks the argument of `Network.record`. Throws `ConfigError`. */
export function checkRecord(record: string | RecordOptions): ResolvedRecord {
  const resolved = resolveRecord(checkShape(shapeOf({ record }), { record }).record);
  if (resolved === null) throw new ConfigError("record", record, "expected a new file's name");
  return resolved;
}

function resolveRecord(record: NetworkOptions["record"]): ResolvedOptions["record"] {
  if (record === undefined) return null;
  const { file, payload = true } = typeof record === "string" ? { file: record } : record;
  if (file.includes("\0")) throw new ConfigError("record", file, "expected a new file's name");
  return { file: path.resolve(file), payload };
}

/** The MTU that guests are told, which must also fit the uplinks. */
function resolveMtu(mtu: number | undefined, uplinks: readonly UplinkConfig[]): number {
  const most = Math.min(MAX_MTU, ...uplinks.map(uplinkInnerMtu));
  if (mtu === undefined) return most;
  if (uplinks.length === 0 && mtu < MIN_MTU)
    throw new ConfigError("mtu", mtu, `expected a whole number from ${MIN_MTU} to ${MAX_MTU}`);
  if (mtu > most) throw new ConfigError("mtu", mtu, `expected at most ${most}, which fits the uplink`);
  return mtu;
}

/** A domain name without its last dot. */
function dotless(domainName: string): string {
  return domainName.endsWith(".") ? domainName.slice(0, -1) : domainName;
}
