/**
 * Rules as users write them: words in any order behind `allow`, `deny` or `limit`.
 *
 *     allow tcp *.debian.org:80,443
 *     allow udp 192.0.2.53:53 guest 52:54:00:12:34:56
 *     deny in 203.0.113.0/24 port 22
 *     allow tcp *.example.org:443 ech=allow
 *     allow tcp *.example.net rate=10mbit conns=50
 *     limit guest 10.0.2.15 rate=100mbit
 *     default deny
 */
import { addressFromText } from "../core/address.ts";
import { isHostName } from "../nat/rules/far-end.ts";
import type { Domain, FlowProto, GuestLimit, Net, Rule, RuleSet } from "../nat/rules/rules.ts";
import { macNumber } from "../wire/ethernet.ts";
import { parseIp, parseNumber } from "./addresses.ts";
import { ConfigError, show } from "./errors.ts";
import { RuleTerms } from "./rule-terms.ts";

export const MAX_RULES = 4_096;
const FORM =
  "expected [in|out] [tcp|udp|icmp|dns] [any|IP|CIDR|NAME|*.NAME][:PORTS] [port PORTS] [guest IP|CIDR|MAC|cable:NAME] [ech=allow] …, like tcp *.debian.org:80,443";
const PORTS = "expected ports from 1 to 65535, like 443 or 80,8000-8010";
const LIMIT_FORM = "expected limit [any|guest IP|CIDR|MAC|cable:NAME] rate=10mbit conns=50 …";
const MAC = /^[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}$/i;
const MAX_PORT = 65_535;
const ACTION = "expected a rule that begins with allow, deny or limit, or default allow, or default deny";
const DEFAULT = "what becomes of everything that no rule names";

/**
 * Reads all rules of a network: each is `allow …`, `deny …`, `limit …` or, once, `default allow|deny`. An empty list
 * allows everything. `fields` says where each rule was given. Throws `ConfigError`.
 */
export function parseRules(lines: readonly string[], fields: readonly string[] = []): RuleSet {
  const rules: Rule[] = [];
  const limits: GuestLimit[] = [];
  let allow: boolean | null = null;
  lines.forEach((line, i) => {
    const field = fields[i] ?? "rules";
    const [action = "", ...words] = line.trim().split(/\s+/);
    // With a flag, the flag is the first word, and the user has typed only the others.
    const typed = field.startsWith("--") ? words.join(" ") : line;
    if (action === "default") {
      if (words.length !== 1 || (words[0] !== "allow" && words[0] !== "deny"))
        throw new ConfigError(
          field,
          typed,
          typed === line ? "expected default allow or default deny" : "expected allow or deny",
        );
      if (allow !== null) throw new ConfigError(field, typed, "expected one default only");
      allow = words[0] === "allow";
    } else if (action === "limit") limits.push(parseLimit(field, line, typed, words));
    else if (action !== "allow" && action !== "deny") throw new ConfigError(field, line, ACTION);
    else rules.push(parseRule(field, line, typed, action === "allow", words));
  });
  if (rules.length + limits.length > MAX_RULES)
    throw new ConfigError("rules", rules.length + limits.length, `expected at most ${MAX_RULES} rules`);
  // A user who lists what is allowed may believe that nothing else is, so the default has to be said.
  if (rules.length > 0 && allow === null) {
    const field = fields[0] ?? "rules";
    if (field.startsWith("--")) throw new ConfigError("--default", undefined, `expected deny or allow: ${DEFAULT}`);
    throw new ConfigError(field, lines[0], `expected default deny or default allow as well: ${DEFAULT}`);
  }
  return { rules, allow: allow ?? true, limits };
}

/**
 * Reads a file's rules, one a line. `#` begins a comment at the start of a line or after a blank. Within a word `#`
 * belongs to the word, like the number in `guest cable:unix:/run/a.sock#1`. `fields` are FILE:LINE.
 */
export function readRuleLines(file: string, text: string): { lines: string[]; fields: string[] } {
  const lines: string[] = [];
  const fields: string[] = [];
  text.split(/\r?\n/).forEach((raw, i) => {
    const line = raw.replace(/(?:^|\s)#.*/, "").trim();
    if (line === "") return;
    lines.push(line);
    fields.push(`${file}:${i + 1}`);
  });
  return { lines, fields };
}

interface Draft {
  direction: Rule["direction"] | null;
  proto: FlowProto | null;
  far: Pick<Rule, "net" | "domain"> | null;
  ports: readonly number[] | null;
  guest: Pick<Rule, "guest" | "mac" | "cable"> | null;
}

/** Each part of a rule may come once. */
const ONCE: Readonly<Record<keyof Draft, string>> = {
  direction: "one direction",
  proto: "one protocol",
  far: "one far end",
  ports: "one list of ports",
  guest: "one guest",
};

/** `typed` is the part of `text` that the user has typed. */
function parseRule(field: string, text: string, typed: string, allow: boolean, words: readonly string[]): Rule {
  const wrong = (expectation: string): ConfigError => new ConfigError(field, typed, expectation);
  const draft: Draft = { direction: null, proto: null, far: null, ports: null, guest: null };
  const set = <K extends keyof Draft>(key: K, word: string, value: NonNullable<Draft[K]>): void => {
    if (draft[key] !== null) throw wrong(`expected ${ONCE[key]}, not ${show(word)} as well`);
    draft[key] = value;
  };
  const ports = (word: string): readonly number[] => {
    const parsed = parsePorts(word);
    if (parsed === null) throw wrong(`${PORTS}, not ${show(word)}`);
    return parsed;
  };
  const terms = new RuleTerms(wrong);
  let ambiguous: string | null = null;
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    if (word === "in" || word === "out") set("direction", word, word);
    else if (word === "tcp" || word === "udp" || word === "icmp" || word === "dns") set("proto", word, word);
    else if (word === "port" || word === "ports") {
      const next = words[++i] ?? "";
      set("ports", next, ports(next));
    } else if (word === "guest") {
      const next = words[++i] ?? "";
      const guest = parseGuest(next);
      if (guest === null) throw wrong(`expected a guest's IP address, net or MAC, or cable:NAME, not ${show(next)}`);
      set("guest", next, guest);
    } else if (word.includes("=")) terms.take(word);
    else {
      const [far, portText] = splitPorts(word);
      if (portText === null) ambiguous = withPerhapsAPort(word);
      const parsed = parseFar(far);
      if (parsed === null) throw wrong(FORM);
      set("far", word, parsed);
      if (portText !== null) set("ports", word, ports(portText));
    }
  }
  if (words.length === 0) throw wrong(FORM);
  const { direction, proto, far, guest } = draft;
  if (ambiguous !== null && draft.ports === null && proto !== "icmp") throw wrong(ambiguous);
  const found = draft.ports ?? [];
  if (found.length > 0 && (proto === "icmp" || proto === "dns")) throw wrong(`expected no ports with ${proto}`);
  if (direction === "in" && (far?.domain || proto === "dns")) throw wrong("expected an address or net of who comes in");
  if (direction === "in" && terms.given) throw wrong("expected limits in rules about what guests begin, or in limit");
  if (proto === "dns" && far?.net) throw wrong("expected a domain name with dns");
  return {
    ...{ text: text.trim(), allow, direction: direction ?? "out", proto, ports: found },
    ...{ net: far?.net ?? null, domain: far?.domain ?? null },
    ...{ guest: guest?.guest ?? null, mac: guest?.mac ?? null },
    ...(guest?.cable === undefined ? {} : { cable: guest.cable }),
    terms: terms.terms(allow, far?.domain ?? null),
    limit: terms.limit(text.trim(), allow ? (far?.domain ?? null) : null),
  };
}

/** Reads `[any|guest X] rate=10mbit …`: a limit on everything that each of these guests uses. */
function parseLimit(field: string, text: string, typed: string, words: readonly string[]): GuestLimit {
  const wrong = (expectation: string): ConfigError => new ConfigError(field, typed, expectation);
  const terms = new RuleTerms(wrong);
  let guest: Pick<Rule, "guest" | "mac" | "cable"> = { guest: null, mac: null };
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    if (word.includes("=")) terms.take(word);
    else if (i > 0 || (word !== "guest" && word !== "any")) throw wrong(LIMIT_FORM);
    else if (word === "guest") {
      const found = parseGuest(words[++i] ?? "");
      if (found === null)
        throw wrong(`expected a guest's IP address, net or MAC, or cable:NAME, not ${show(words[i] ?? "")}`);
      guest = found;
    }
  }
  return { ...guest, limit: terms.only(text.trim()) };
}

/** `1.2.3.4:80`, `[2001:db8::1]:80`, `name:80`; an IPv6 address without brackets has no port. */
function splitPorts(word: string): [far: string, ports: string | null] {
  const bracketed = /^\[([^\]]*)\](\/[0-9]+)?(?::(.*))?$/.exec(word);
  if (bracketed !== null) return [`${bracketed[1]}${bracketed[2] ?? ""}`, bracketed[3] ?? null];
  const colon = word.indexOf(":");
  if (colon < 0 || word.indexOf(":", colon + 1) >= 0) return [word, null];
  return [word.slice(0, colon), word.slice(colon + 1)];
}

/**
 * The error for an IPv6 address without brackets whose last group may be meant as a port, since the text before it is
 * an address, too; null for other words. Taken for an address, it would leave open what the user meant to deny.
 */
function withPerhapsAPort(word: string): string | null {
  const [, address = "", port = ""] = /^(.+):([1-9][0-9]{0,3})$/.exec(word) ?? [];
  if (port === "" || parseIp(address) === null || parseIp(word) === null) return null;
  return `expected [${address}]:${port} for that port, or [${word}] for that address`;
}

function parseFar(text: string): Pick<Rule, "net" | "domain"> | null {
  if (text === "any") return { net: null, domain: null };
  const net = parseNet(text);
  if (net !== null) return { net, domain: null };
  const domain = parseDomain(text);
  return domain === null ? null : { net: null, domain };
}

function parseNet(text: string): Net | null {
  const [addressText = "", prefixText, more] = text.split("/");
  const ip = parseIp(addressText);
  if (ip === null || more !== undefined) return null;
  const address = addressFromText(ip);
  const longest = address.family === 4 ? 32 : 128;
  const prefix = prefixText === undefined ? longest : parseNumber(prefixText, 0, longest);
  return prefix === null ? null : { address, prefix };
}

function parseDomain(text: string): Domain | null {
  const lower = text.toLowerCase().replace(/\.$/, "");
  if (lower === "*") return { name: "", below: true };
  const below = lower.startsWith("*.");
  const name = below ? lower.slice(2) : lower;
  return isHostName(name) ? { name, below } : null;
}

function parseGuest(text: string): Pick<Rule, "guest" | "mac" | "cable"> | null {
  const cable = /^cable:(\S+)$/.exec(text)?.[1];
  if (cable !== undefined) return { guest: null, mac: null, cable };
  if (MAC.test(text)) {
    const mac = Uint8Array.from(text.split(/[:-]/), (byte) => Number.parseInt(byte, 16));
    return { guest: null, mac: macNumber(mac, 0) };
  }
  const guest = parseNet(text);
  return guest === null ? null : { guest, mac: null };
}

function parsePorts(text: string): number[] | null {
  const ports: number[] = [];
  for (const part of text.split(",")) {
    const [firstText = "", lastText = firstText, more] = part.split("-");
    const first = parseNumber(firstText, 1, MAX_PORT);
    const last = parseNumber(lastText, 1, MAX_PORT);
    if (first === null || last === null || last < first || more !== undefined) return null;
    ports.push(first, last);
  }
  return ports;
}
