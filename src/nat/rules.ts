/**
 * What guests may begin and who may come to them, by rules of which the first that matches decides.
 *
 * Theory of operation. A flow is judged once, when it begins (and again when the rules change), from numbers: addresses,
 * ports, the guest's MAC. Names come in by what our DNS server has answered to this guest: a rule about a domain matches
 * a connection if the address is one that a name of that domain led to for this guest, as long as the answer was good
 * for (`proto/names`). So a bare address that nobody has resolved is no address of any domain, and an address of a
 * private network never is one, whatever a resolver says: that takes a rule about addresses.
 *
 * A query for a name is judged, too, or it would be a way out. A rule about a domain decides about its names, one about
 * no destination about all of them, one about addresses about none. A rule that only forbids certain ports or protocols
 * says nothing about names; one that allows them lets the name be resolved, since it may be of use.
 */
import type { IpAddress } from "../core/address.ts";
import { get32 } from "../wire/bytes.ts";
import { ipv6SamePrefix } from "../wire/ipv6.ts";
import { inNet4, isPrivate } from "./special-addresses.ts";

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
}

export interface RuleSet {
  readonly rules: readonly Rule[];
  /** What becomes of what guests begin and no rule matches. What comes in is then allowed: a forward is its owner's wish. */
  readonly allow: boolean;
}

export const NO_RULES: RuleSet = { rules: [], allow: true };

/** A flow that is judged. */
export interface Subject {
  readonly direction: "out" | "in";
  readonly proto: FlowProto;
  readonly guest: IpAddress;
  /** As a number. */
  readonly mac: number;
  /** Of a query its server. */
  readonly remote: IpAddress;
  /** 0 with ICMP. */
  readonly port: number;
  /** Of a query the name asked for and those that led to it, of others the names that led this guest to `remote`. */
  readonly names: readonly string[];
}

export interface Judgement {
  readonly allow: boolean;
  /** The rule's text, or the default's. */
  readonly rule: string;
  /** The rule's net, which may have named an address that is closed otherwise. */
  readonly net: Net | null;
}

export function judge(set: RuleSet, subject: Subject): Judgement {
  let rebound: Rule | null = null;
  for (const rule of set.rules) {
    if (!meansGuest(rule, subject)) continue;
    if (rule.domain !== null && rule.allow && subject.proto !== "dns" && isPrivate(subject.remote)) {
      if (matchesDomain(rule.domain, subject.names)) rebound ??= rule;
      continue;
    }
    if (subject.proto === "dns" ? matchesQuery(rule, subject) : matches(rule, subject))
      return { allow: rule.allow, rule: rule.text, net: rule.net };
  }
  if (subject.direction === "in" || set.allow) return { allow: true, rule: "default allow", net: null };
  const rule = rebound === null ? "default deny" : `default deny (a private address is none of "${rebound.text}")`;
  return { allow: false, rule, net: null };
}

function meansGuest({ direction, guest, mac }: Rule, subject: Subject): boolean {
  if (direction !== subject.direction) return false;
  if (mac !== null) return mac === subject.mac;
  return guest === null || inNet(guest, subject.guest);
}

function matchesQuery({ allow, proto, net, domain, ports }: Rule, { names }: Subject): boolean {
  if (net !== null) return false;
  if (!allow && proto !== "dns" && (proto !== null || ports.length > 0)) return false;
  return domain === null || matchesDomain(domain, names);
}

function matches({ proto, net, domain, ports }: Rule, subject: Subject): boolean {
  if (proto !== null && proto !== subject.proto) return false;
  if (ports.length > 0 && (subject.proto === "icmp" || !hasPort(ports, subject.port))) return false;
  if (net !== null) return inNet(net, subject.remote);
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
