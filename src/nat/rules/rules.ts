/**
 * What guests may begin and who may come to them, by rules of which the first that matches decides.
 *
 * Theory of operation. A flow is judged once, when it begins (and again when the rules change), from numbers: addresses,
 * ports, the guest's MAC. Names come in by what our DNS server has answered to this guest: a rule about a domain matches
 * a connection if the address is one that a name of that domain led to for this guest, as long as the answer was good
 * for (`proto/names`). So a bare address that nobody has resolved is no address of any domain, and an address of a
 * private network never is one, whatever a resolver says: that takes a rule about addresses.
 *
 * Nor does a rule about a domain open the ports of other name servers (DNS, DNS over TLS and QUIC) unless it names them,
 * or QUIC, whose first bytes hide the name that TLS shows, unless it says so. What a connection's first bytes show is
 * judged again, as a connection by that name (`rule-gate`).
 *
 * A query for a name is judged, too, or it would be a way out. A rule about a domain decides about its names, one about
 * addresses about none, one about no destination about all of them, unless it is about certain ports or another protocol:
 * `allow icmp any` opens no names. A rule that forbids certain ports or protocols of a domain says nothing about its names;
 * one that allows them lets the name be resolved, since it may be of use.
 */
import type { IpAddress } from "../../core/address.ts";
import { get32 } from "../../wire/bytes.ts";
import { ipv6SamePrefix } from "../../wire/ipv6.ts";
import { embedded4, isNat64 } from "../../wire/ipv6-embedded.ts";
import type { Limit } from "./meters.ts";
import { inNet4, isPrivate } from "./special-addresses.ts";

const DNS_PORT = 53;
const DNS_TLS_PORT = 853;
const HTTPS_PORT = 443;

export type FlowProto = "tcp" | "udp" | "icmp" | "dns";

/** A network; a single address has the longest prefix. */
export interface Net {
  readonly address: IpAddress;
  readonly prefix: number;
}

/** A name in lower case, and whether it means the names below it (`*.example.org`) and not itself. "" below: any. */
export interface Domain {
  readonly name: string;
  readonly below: boolean;
}

export interface Rule {
  /** As its author wrote it: what refusals are explained by. */
  readonly text: string;
  readonly allow: boolean;
  /** "out": what guests begin; "in": who comes to a guest by a forward or is dialled through by the owner. */
  readonly direction: "out" | "in";
  /** Null for all of them. */
  readonly proto: FlowProto | null;
  /** The far end; both null for any. */
  readonly net: Net | null;
  readonly domain: Domain | null;
  /** First and last port by turns: the far end's, of what comes in the guest's. Empty for any. */
  readonly ports: readonly number[];
  /** Which guest: by an address or a net, or by the MAC as a number; both null for any. */
  readonly guest: Net | null;
  readonly mac: number | null;
  /** Which guest: by its cable's name, or that of the socket that it came in by; not set for any. */
  readonly cable?: string;
  readonly terms: Terms;
  /** What it allows each guest, of itself alone; null for as much as it likes. */
  readonly limit: Limit | null;
}

/** What a guest may use in all. */
export interface GuestLimit extends Pick<Rule, "guest" | "mac" | "cable"> {
  readonly limit: Limit;
}

/** What flows that a rule about a domain allows are held to. */
export interface Terms {
  /** TLS may encrypt the name it means, and records that say how are answered. */
  readonly ech: boolean;
  readonly quic: boolean;
  /** Connections that show no name; null lets those pass whose protocol has no place for one. */
  readonly unnamed: boolean | null;
  /** Addresses of private networks, where a name leads there: a company's mirror. */
  readonly private: boolean;
  /** How many labels names may have in front of a wildcard's domain; null for any number. */
  readonly labels: number | null;
}

export interface RuleSet {
  readonly rules: readonly Rule[];
  /** What becomes of what guests begin and no rule matches. What comes in is then allowed: a forward is its owner's wish. */
  readonly allow: boolean;
  /** Of these, too, the first that means a guest counts. */
  readonly limits: readonly GuestLimit[];
}

export const NO_RULES: RuleSet = { rules: [], allow: true, limits: [] };

/** A flow that is judged. */
export interface Subject {
  readonly direction: "out" | "in";
  readonly proto: FlowProto;
  readonly guest: IpAddress;
  /** As a number. */
  readonly mac: number;
  /** Its name: `unix:/run/x#1`; null while nobody is known to have the address. */
  readonly cable?: string | null;
  /** Of a query its server. */
  readonly remote: IpAddress;
  /** 0 with ICMP. */
  readonly port: number;
  /** Of a query the name asked for and those that led to it, of others the names that led this guest to `remote`. */
  readonly names: readonly string[];
  /** Whether `remote` is of the guests' own network. */
  readonly inside?: boolean;
}

export interface Judgement {
  readonly allow: boolean;
  /** The rule's text, or the default's. */
  readonly rule: string;
  /** The same, and behind the default what kept a rule that names the far end from counting. */
  readonly reason: string;
  /** Null for the default. */
  readonly by: Rule | null;
}

export function judge(set: RuleSet, subject: Subject): Judgement {
  let excepted = "";
  for (const rule of set.rules) {
    if (rule.direction !== subject.direction || !meansGuest(rule, subject)) continue;
    if (!(subject.proto === "dns" ? matchesQuery(rule, subject) : matches(rule, subject))) continue;
    const exception = rule.allow && rule.domain !== null ? exceptionOf(rule, rule.domain, subject) : null;
    if (exception === null) return { allow: rule.allow, rule: rule.text, reason: rule.text, by: rule };
    excepted ||= `: ${exception} is not meant by "${rule.text}"`;
  }
  if (subject.direction === "in" || set.allow)
    return { allow: true, rule: "default allow", reason: "default allow", by: null };
  return { allow: false, rule: "default deny", reason: `default deny${excepted}`, by: null };
}

/**
 * The rule that lets every query for a name through, of all guests or of those that it is about, and so data out in names;
 * "default allow" for the default, null where none does.
 */
export function opensAllNames({ rules, allow }: RuleSet): string | null {
  for (const rule of rules) {
    if (rule.direction !== "out") continue;
    const all = rule.domain === null ? matchesQuery(rule, ANY_NAME) : rule.domain.below && rule.domain.name === "";
    const some = rule.guest !== null || rule.mac !== null || rule.cable !== undefined;
    if (all && (rule.allow || !some)) return rule.allow ? rule.text : null;
  }
  return allow ? "default allow" : null;
}

/** Denies what a guest calls itself to be: an address or MAC, which it can change. Its cable it cannot. */
export function deniesByClaim(rule: Rule): boolean {
  return (
    !rule.allow && rule.direction === "out" && (rule.guest !== null || rule.mac !== null) && rule.cable === undefined
  );
}

/** What a rule that allows a domain does not mean all the same; null for nothing. */
function exceptionOf(
  { ports, terms }: Rule,
  domain: Domain,
  { proto, port, remote, names, inside }: Subject,
): string | null {
  if (proto === "dns") {
    const { labels } = terms;
    if (labels === null || names.some((name) => isNameOf(domain, name) && depth(domain, name) <= labels)) return null;
    return "a name of so many labels";
  }
  // Names never lead into the guests' own network, whatever the rule says of private addresses.
  if (inside === true && terms.private) return "an address of the guests' own network";
  if (inside === true || (isPrivate(remote) && !terms.private)) return "a private address";
  if (proto === "icmp") return null;
  if (ports.length === 0 && (port === DNS_PORT || port === DNS_TLS_PORT)) return "another name server's port";
  return proto === "udp" && port === HTTPS_PORT && !terms.quic ? "QUIC" : null;
}

/** How many labels a name has in front of a domain that it is of. */
function depth({ name: domain }: Domain, name: string): number {
  const front = domain === "" ? name : name.slice(0, Math.max(0, name.length - domain.length - 1));
  return front.split(".").length;
}

/** What the subject's guest may use in all; null for as much as it likes. */
export function limitOf({ limits }: RuleSet, subject: Subject): Limit | null {
  return limits.find((each) => meansGuest(each, subject))?.limit ?? null;
}

function meansGuest({ guest, mac, cable }: Pick<Rule, "guest" | "mac" | "cable">, subject: Subject): boolean {
  if (cable !== undefined) return subject.cable === cable || subject.cable?.replace(/#\d+$/, "") === cable;
  if (mac !== null) return mac === subject.mac;
  return guest === null || inNet(guest, subject.guest);
}

const ANY_NAME: Pick<Subject, "names"> = { names: [] };

function matchesQuery({ allow, proto, net, domain, ports }: Rule, { names }: Pick<Subject, "names">): boolean {
  if (net !== null) return false;
  if (domain === null || !allow) if (proto !== "dns" && (proto !== null || ports.length > 0)) return false;
  return domain === null || matchesDomain(domain, names);
}

function matches({ allow, proto, net, domain, ports }: Rule, subject: Subject): boolean {
  if (proto !== null && proto !== subject.proto) return false;
  if (ports.length > 0 && (subject.proto === "icmp" || !hasPort(ports, subject.port))) return false;
  if (net !== null) return inNet(net, subject.remote) || isWithin(net, subject.remote, allow);
  return domain === null || matchesDomain(domain, subject.names);
}

function hasPort(ports: readonly number[], port: number): boolean {
  for (let i = 0; i < ports.length; i += 2) if (port >= ports[i]! && port <= ports[i + 1]!) return true;
  return false;
}

function inNet({ address, prefix }: Net, { family, ip, bytes }: IpAddress): boolean {
  if (address.family !== family) return false;
  return family === 4
    ? inNet4(ip, get32(address.bytes, 0), prefix)
    : ipv6SamePrefix(bytes, 0, address.bytes, 0, prefix);
}

/**
 * Whether an IPv6 address leads into an IPv4 network. A rule that denies is about each address that it may lead to, one
 * that allows only about the one that it certainly does.
 */
function isWithin({ address, prefix }: Net, { family, bytes }: IpAddress, allow: boolean): boolean {
  if (address.family !== 4 || family !== 6 || (allow && !isNat64(bytes))) return false;
  return embedded4(bytes).some((ip) => inNet4(ip, get32(address.bytes, 0), prefix));
}

function matchesDomain(domain: Domain, names: readonly string[]): boolean {
  return names.some((name) => isNameOf(domain, name));
}

/** A dot that belongs to a label stands behind a backslash in a name's text (RFC 4343 section 2.1) and ends nothing. */
export function isNameOf({ name: domain, below }: Domain, name: string): boolean {
  if (!below) return name === domain;
  if (domain === "") return true;
  const dot = name.length - domain.length - 1;
  if (dot < 1 || name[dot] !== "." || !name.endsWith(domain)) return false;
  let escapes = 0;
  while (name[dot - 1 - escapes] === "\\") escapes++;
  return escapes % 2 === 0;
}
