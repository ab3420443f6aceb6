/**
 * Which flows guests may begin and who may come to them. The first rule that matches decides.
 *
 * Theory of operation. A flow is judged when it begins (and again when the rules change), from numbers: addresses,
 * ports, the guest's MAC. Names come from the answers that our DNS server has given this guest: a rule about a domain
 * matches a connection if a name of that domain led this guest to the address, for as long as the answer was valid
 * (`proto/names`). So an address that nobody has resolved belongs to no domain. Nor does an address of a private
 * network, whatever a resolver says: it needs a rule about addresses.
 *
 * A rule about a domain does not open the ports of other name servers (DNS, DNS over TLS and QUIC) unless it names
 * those ports. It does not open QUIC, whose first bytes hide the name that TLS shows, unless it says `quic`. The name
 * that a connection's first bytes show is judged again, as a connection by that name (`rule-gate`).
 *
 * A query for a name is judged, too, because data could leave in names. A rule about a domain decides about that
 * domain's names, a rule about addresses about none. A rule without a destination decides about all names, unless it is
 * limited to certain ports or another protocol: `allow icmp any` opens no names. A rule that denies certain ports or
 * protocols of a domain does not concern queries; one that allows them does, since the name may be of use.
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

/** A name in lower case; `below`: the names below it and not itself (`*.example.org`). "" with `below`: any name. */
export interface Domain {
  readonly name: string;
  readonly below: boolean;
}

export interface Rule {
  /** The text as its author wrote it; refusals quote it. */
  readonly text: string;
  readonly allow: boolean;
  /** "out": flows that guests begin. "in": flows that come to a guest by a forward, or that the owner dials. */
  readonly direction: "out" | "in";
  /** Null for all of them. */
  readonly proto: FlowProto | null;
  /** The far end, as a network or a name; both null for any. */
  readonly net: Net | null;
  readonly domain: Domain | null;
  /**
   * First and last port of each range in turn: the far end's, or the guest's of a flow that comes in. Empty for any.
   */
  readonly ports: readonly number[];
  /** Which guest: by an address or a net, or by the MAC as a number; both null for any. */
  readonly guest: Net | null;
  readonly mac: number | null;
  /** Which guest: by its cable's name, or that of the socket that the cable came in by; unset for any. */
  readonly cable?: string;
  readonly terms: Terms;
  /** The limits for each guest by itself; null for none. */
  readonly limit: Limit | null;
}

/** What a guest may use in all. */
export interface GuestLimit extends Pick<Rule, "guest" | "mac" | "cable"> {
  readonly limit: Limit;
}

/** Conditions for flows that a rule about a domain allows. */
export interface Terms {
  /** TLS may encrypt the server's name (ECH), and records that tell the keys for that are answered. */
  readonly ech: boolean;
  readonly quic: boolean;
  /** Whether connections that show no name pass; null: only if their protocol has no place for one. */
  readonly unnamed: boolean | null;
  /** Names may lead to addresses of private networks, such as a company's mirror. */
  readonly private: boolean;
  /** How many labels names may have in front of a wildcard's domain; null for any number. */
  readonly labels: number | null;
}

export interface RuleSet {
  readonly rules: readonly Rule[];
  /**
   * The default for flows that guests begin. Flows that come in are open by default, because the user asked for the
   * forward.
   */
  readonly allow: boolean;
  /** As with rules, the first one that is about a guest counts. */
  readonly limits: readonly GuestLimit[];
}

export const NO_RULES: RuleSet = { rules: [], allow: true, limits: [] };

/** A flow that is judged. */
export interface Subject {
  readonly direction: "out" | "in";
  readonly proto: FlowProto;
  readonly guest: IpAddress;
  /** The guest's MAC as a number. */
  readonly mac: number;
  /** The name of the guest's cable (`unix:/run/x#1`); null while nobody is known to have the address. */
  readonly cable?: string | null;
  /** The far end; of a query, its server. */
  readonly remote: IpAddress;
  /** The far end's port, or the guest's of a flow that comes in; 0 with ICMP. */
  readonly port: number;
  /**
   * Of a query, the name asked for and the names that led to it; of other flows, the names that led this guest to
   * `remote`.
   */
  readonly names: readonly string[];
  /** Whether `remote` is of the guests' own network. */
  readonly inside?: boolean;
}

export interface Judgement {
  readonly allow: boolean;
  /** The rule's text, or the default's. */
  readonly rule: string;
  /** The rule's text; with the default, also why a rule that names the far end does not hold. */
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
 * The rule that lets every query for a name through, of all guests or of those it is about, so data can leave in names.
 * "default allow" for the default; null when neither does.
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

/** Whether a rule denies by a guest's address or MAC. A guest can change those, but not its cable. */
export function deniesByClaim(rule: Rule): boolean {
  return (
    !rule.allow && rule.direction === "out" && (rule.guest !== null || rule.mac !== null) && rule.cable === undefined
  );
}

/** Why a rule that allows a domain does not hold for this flow; null if it does. */
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
  // Names never lead into the guests' own network, even where the rule says `private`.
  if (inside === true && terms.private) return "an address of the guests' own network";
  if (inside === true || (isPrivate(remote) && !terms.private)) return "a private address";
  if (proto === "icmp") return null;
  if (ports.length === 0 && (port === DNS_PORT || port === DNS_TLS_PORT)) return "another name server's port";
  return proto === "udp" && port === HTTPS_PORT && !terms.quic ? "QUIC" : null;
}

/** How many labels a name has in front of a domain that it belongs to. */
function depth({ name: domain }: Domain, name: string): number {
  const front = domain === "" ? name : name.slice(0, Math.max(0, name.length - domain.length - 1));
  return front.split(".").length;
}

/** What the subject's guest may use in all; null for no limit. */
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
 * Whether an address is in a net, also by an IPv4 address within an IPv6 one. A rule that denies matches each IPv4
 * address that the IPv6 address may lead to, a rule that allows only the one that it certainly leads to.
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
