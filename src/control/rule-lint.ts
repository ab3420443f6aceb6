/** Remarks on rules that are valid but most likely not what their author means: `ctl rules check`. */
import { type Domain, deniesByClaim, isNameOf, type Net, opensAllNames, type Rule } from "../nat/rules/rules.ts";
import { guardedPrefix, inNet4 } from "../nat/rules/special-addresses.ts";
import { get32 } from "../wire/bytes.ts";
import { ipv6SamePrefix } from "../wire/ipv6.ts";
import { parseRules } from "./rules.ts";
import { isShared } from "./shared-domains.ts";

const HTTPS_PORT = 443;

export interface RuleRemark {
  /** The place of the rule: `FILE:LINE`. */
  readonly field: string;
  readonly rule: string;
  readonly remark: string;
}

/** Returns remarks in the rules' order, or none. Throws `ConfigError` about a rule that is invalid. */
export function lintRules(lines: readonly string[], fields: readonly string[]): RuleRemark[] {
  const without = !lines.some((line) => /^default(?:\s|$)/.test(line.trim()));
  const set = parseRules(without ? [...lines, "default deny"] : lines, fields);
  const places = lines.flatMap((line, i) => (/^(?:allow|deny)\s/.test(line.trim()) ? [fields[i] ?? "rules"] : []));
  const remarks: RuleRemark[] = [];
  set.rules.forEach((rule, i) => {
    const say = (remark: string): void => void remarks.push({ field: places[i] ?? "rules", rule: rule.text, remark });
    const earlier = set.rules.slice(0, i).find((each) => covers(each, rule));
    if (earlier !== undefined) say(`never decides: what it is about, "${earlier.text}" decides before it`);
    else if (onlyQuic(rule)) say("never decides: a name's UDP port 443 is QUIC, which takes quic=allow");
    else if (rule.allow && rule.direction === "in" && !set.rules.slice(i + 1).some(deniesIn))
      say("changes nothing: what comes in is allowed unless a rule denies it, and none behind this one does");
    if (deniesByClaim(rule)) say("denies by what a guest says of itself, and it can say otherwise: guest cable:NAME");
    if (rule.allow && rule.direction === "out") {
      for (const remark of moreThanItSeems(rule)) say(remark);
      if (!set.allow && isAny(rule)) say("means every address there is: name the far end");
      if (rule.net !== null && opensGuarded(rule.net))
        say("opens link-local addresses or those of cloud metadata, where machines find their credentials");
      if (
        opensAllNames({ ...set, rules: [...set.rules.slice(0, i).filter(isForAll), rule], allow: false }) === rule.text
      )
        say("lets every name be asked for, and a name carries data out: name the domains instead");
    }
  });
  const last = fields.at(-1) ?? "rules";
  if (without)
    remarks.push({ field: last, rule: "no default", remark: "has to be said, here or beside it: default deny" });
  if (set.allow) remarks.push({ field: last, rule: "default allow", remark: "what no rule denies passes" });
  return remarks;
}

function isAny({ net, domain, proto }: Rule): boolean {
  return domain === null && proto !== "dns" && (net === null || net.prefix === 0);
}

function opensGuarded({ address, prefix }: Net): boolean {
  const guarded = guardedPrefix(address);
  return guarded > 0 && prefix >= guarded;
}

/** Flows that a rule about a name allows, and of which its author may not think. */
function moreThanItSeems({ domain, proto, ports, terms }: Rule): string[] {
  if (domain === null) return [];
  const found: string[] = [];
  const { name, below } = domain;
  if (below && name !== "" && isShared(name)) found.push(`means every name below .${name}, whoever has it`);
  if (proto === null) found.push("means TCP, UDP and ping, not only the web: tcp NAME:443");
  else if (ports.length === 0 && (proto === "tcp" || proto === "udp"))
    found.push(`means every port but other name servers': ${proto} NAME:443`);
  const hides = [...(terms.ech ? ["ech=allow"] : []), ...(terms.unnamed === true ? ["unnamed=allow"] : [])];
  if (hides.length > 0)
    found.push(`means every server behind the name's addresses: ${hides.join(" and ")} hides which`);
  return found;
}

function onlyQuic({ allow, direction, proto, domain, ports, terms }: Rule): boolean {
  const quic = ports.length > 0 && ports.every((port) => port === HTTPS_PORT);
  return allow && direction === "out" && proto === "udp" && domain !== null && quic && !terms.quic;
}

function deniesIn({ allow, direction }: Rule): boolean {
  return !allow && direction === "in";
}

function isForAll({ guest, mac, cable }: Rule): boolean {
  return guest === null && mac === null && cable === undefined;
}

/** Whether the earlier rule decides about every flow that the later one matches. False where that cannot be told. */
function covers(earlier: Rule, later: Rule): boolean {
  if (earlier.direction !== later.direction || (earlier.proto !== null && earlier.proto !== later.proto)) return false;
  if (
    earlier.cable !== undefined &&
    earlier.cable !== later.cable?.replace(/#\d+$/, "") &&
    earlier.cable !== later.cable
  )
    return false;
  if (earlier.mac !== null ? earlier.mac !== later.mac : earlier.guest !== null && !holds(earlier.guest, later.guest))
    return false;
  if (earlier.guest !== null && later.mac !== null) return false;
  if (!holdsPorts(earlier.ports, later.ports)) return false;
  if (earlier.net !== null) return holds(earlier.net, later.net);
  // A rule about a name also matches queries for it. An earlier rule about connections alone does not cover that.
  if (earlier.domain === null) return later.domain === null || earlier.proto === null || earlier.proto === "dns";
  // A rule that allows a name does not match everything to that name: QUIC and private addresses take words of their
  // own.
  return later.domain !== null && (!earlier.allow || sameTerms(earlier, later)) && within(earlier.domain, later.domain);
}

function sameTerms(a: Rule, b: Rule): boolean {
  return b.allow && JSON.stringify(a.terms) === JSON.stringify({ ...b.terms, labels: a.terms.labels });
}

function holds(outer: Net, inner: Net | null): boolean {
  if (inner === null || outer.address.family !== inner.address.family || outer.prefix > inner.prefix) return false;
  const [a, b] = [inner.address.bytes, outer.address.bytes];
  return inner.address.family === 4
    ? inNet4(get32(a, 0), get32(b, 0), outer.prefix)
    : ipv6SamePrefix(a, 0, b, 0, outer.prefix);
}

function within(outer: Domain, inner: Domain): boolean {
  if (!outer.below) return !inner.below && outer.name === inner.name;
  if (outer.name === "") return true;
  return inner.below ? inner.name === outer.name || isNameOf(outer, inner.name) : isNameOf(outer, inner.name);
}

function holdsPorts(outer: readonly number[], inner: readonly number[]): boolean {
  if (outer.length === 0) return true;
  if (inner.length === 0) return false;
  for (let i = 0; i < inner.length; i += 2) {
    let inside = false;
    for (let o = 0; o < outer.length; o += 2) inside ||= outer[o]! <= inner[i]! && inner[i + 1]! <= outer[o + 1]!;
    if (!inside) return false;
  }
  return true;
}
