/**
 * The rules that a run has needed, gathered from the flows that were allowed (`--learn`), as the text of a file.
 *
 * Theory of operation. Each flow that only the default has allowed comes with the narrowest rule for it, as text
 * (`nat/rules/remedy`). Rules about one far end make one entry, which has its ports, their words (`private=allow`),
 * how often they were used and by whom. Flows that the user's own rules have allowed are counted by rule. `text` puts
 * the file together: the user's rules that deny or limit or were used; rules about addresses; rules about names; and
 * rules about names that were only asked for. Addresses stand before names, since a connection that is allowed by its
 * address shows no name.
 *
 * A hostile guest can ask for any name. If no rule can express a name (it has control characters), its flow is
 * counted and left out. The number of entries is limited, in all and for each cable. Names are written as in DNS, so
 * a name in another script has its `xn--` form.
 */
import { farName } from "../nat/rules/far-end.ts";
import { parseRules } from "./rules.ts";

/** The parts of a `flow-allowed` event that are used here. */
export interface AllowedFlow {
  readonly guest: string;
  readonly cable: string | null;
  /** `NAME[PID]`, if the process is known. */
  readonly process?: string;
  readonly rule: string;
  readonly needs: string | null;
  readonly instead?: string;
}

interface Use {
  count: number;
  /** The first few guests and programs that have used it. */
  readonly by: Set<string>;
}

/** The words that a port's rule needs, and who uses the port. */
interface PortUse extends Use {
  readonly words: Set<string>;
}

interface Entry {
  readonly proto: string;
  readonly far: string;
  readonly ports: Map<number, PortUse>;
}

const MOST_SHOWN = 3;
/** Rules about ICMP and DNS have no ports. In other rules an IPv6 address stands in brackets. */
const NEED =
  /^allow (?:(?<bare>icmp|dns) (?<whole>\S+)|(?<proto>tcp|udp) (?<far>\[[0-9a-f:.]+\]|[^\s:]+):(?<port>\d+))(?<words>(?: [a-z]+=allow)*)$/;

/** The first line of the file. */
export const LEARNED_HEADER = "# Rules that a run has used, by tslirp --learn.";

export class LearnedRules {
  /** How many flows were left out for want of room, and below, because no rule can express their name. */
  full = 0;
  unsayable = 0;
  readonly #entries: Map<string, Entry> = new Map();
  readonly #used: Map<string, Use> = new Map();
  readonly #perCable: Map<string, number> = new Map();
  readonly #most: number;
  readonly #mostEach: number;
  readonly #onFull: () => void;
  #size = 0;

  /**
   * Up to `most` ports of far ends are noted, of these up to `mostEach` for one cable. `onFull` is called for each
   * beyond.
   */
  constructor(most: number, mostEach: number, onFull: () => void = () => {}) {
    this.#most = most;
    this.#mostEach = mostEach;
    this.#onFull = onFull;
  }

  /** Notes an allowed flow. Returns whether the file now has more in it than another count. */
  add(flow: AllowedFlow): boolean {
    const cable = flow.cable ?? "";
    const program = flow.process === undefined ? "" : ` (${printable(flow.process.replace(/\[\d+\]$/, ""))})`;
    const who = `${hostOf(flow.guest)}${program}${cable === "" ? "" : ` on ${printable(cable)}`}`;
    if (flow.needs === null) return this.#count(this.#used, flow.rule, who);
    if (flow.instead !== undefined) this.#withdraw(flow.instead);
    const read = readNeed(flow.needs);
    if (read === null) return this.#notSaid();
    const { proto, far, port, words } = read;
    const key = `${proto} ${far}`;
    const entry = this.#entries.get(key);
    const known = entry?.ports.get(port);
    if (known === undefined) {
      if (!sayable(flow.needs) || (isName(far) && farName(far) === null)) return this.#notSaid();
      const mine = this.#perCable.get(cable) ?? 0;
      if (this.#size >= this.#most || mine >= this.#mostEach) {
        this.full++;
        this.#onFull();
        return this.full === 1;
      }
      this.#size++;
      this.#perCable.set(cable, mine + 1);
    }
    const use = known ?? { count: 0, by: new Set(), words: new Set() };
    const before = use.words.size;
    for (const word of words.trim().split(" ")) if (word !== "") use.words.add(word);
    count(use, who);
    if (entry === undefined) this.#entries.set(key, { proto, far, ports: new Map([[port, use]]) });
    else entry.ports.set(port, use);
    return known === undefined || use.words.size > before;
  }

  /** The text of the file. `given` are the user's rules in force. */
  text(given: readonly string[]): string {
    const lines = [LEARNED_HEADER, "# Under them alone: --rules THIS-FILE --default deny"];
    const own = given.map((rule) => rule.trim());
    const used = [...this.#used.keys()].filter((rule) => rule.startsWith("allow ") && !own.includes(rule));
    for (const rule of [...own, ...used]) {
      const use = this.#used.get(rule);
      if (/^(?:deny|limit)\s/.test(rule)) lines.push(printable(rule));
      else if (use !== undefined && /^allow\s/.test(rule)) lines.push(`${printable(rule)}  # ${usedText(use)}`);
    }
    const entries = [...this.#entries.values()].filter(({ ports }) => ports.size > 0);
    const named = new Set(entries.filter(({ proto, far }) => proto !== "dns" && isName(far)).map(({ far }) => far));
    const of = (kind: (entry: Entry) => boolean): void => {
      for (const entry of entries.filter(kind).sort(byFar)) lines.push(...linesOf(entry));
    };
    of(({ proto, far }) => proto !== "dns" && !isName(far));
    of(({ proto, far }) => proto !== "dns" && isName(far));
    of(({ proto, far }) => proto === "dns" && !named.has(far));
    lines.push(...wildcards(entries));
    if (this.unsayable > 0) lines.push(`# left out: ${this.unsayable} flows or queries by names that no rule can say`);
    if (this.full > 0)
      lines.push(`# left out: ${this.full} flows, since there is no room for more rules (--max learnedRules)`);
    return `${lines.join("\n")}\n`;
  }

  #notSaid(): boolean {
    return ++this.unsayable === 1;
  }

  /** Takes back one use of a rule: the connection has turned out not to need it. */
  #withdraw(needs: string): void {
    const read = readNeed(needs);
    if (read === null) return;
    const key = `${read.proto} ${read.far}`;
    const ports = this.#entries.get(key)?.ports;
    const use = ports?.get(read.port);
    if (use === undefined || --use.count > 0) return;
    ports!.delete(read.port);
    this.#size--;
    if (ports!.size === 0) this.#entries.delete(key);
  }

  #count(uses: Map<string, Use>, rule: string, who: string): boolean {
    const known = uses.get(rule);
    const use = known ?? { count: 0, by: new Set() };
    count(use, who);
    // The user's own rules are limited in number, but other rules may replace them while the network runs.
    if (known === undefined && uses.size < this.#most) uses.set(rule, use);
    return known === undefined;
  }
}

function readNeed(rule: string): { proto: string; far: string; port: number; words: string } | null {
  const found = NEED.exec(rule)?.groups;
  if (found === undefined) return null;
  const { bare, whole, proto, far, port = "0", words = "" } = found;
  return { proto: bare ?? proto!, far: whole ?? far!, port: Number(port), words };
}

function count(use: Use, who: string): void {
  use.count++;
  if (use.by.size <= MOST_SHOWN) use.by.add(who);
}

function sayable(rule: string): boolean {
  try {
    parseRules([rule, "default deny"]);
    return true;
  } catch {
    return false;
  }
}

function isName(far: string): boolean {
  return !far.startsWith("[") && !/^[0-9.]+$/.test(far) && !far.includes(":");
}

/** Ports whose rules need the same words share one rule. */
function linesOf({ proto, far, ports }: Entry): string[] {
  const byWords = new Map<string, [number, PortUse][]>();
  for (const [port, use] of [...ports].sort(([a], [b]) => a - b)) {
    const words = [...use.words]
      .sort()
      .map((word) => ` ${word}`)
      .join("");
    const same = byWords.get(words);
    if (same === undefined) byWords.set(words, [[port, use]]);
    else same.push([port, use]);
  }
  return [...byWords].map(([words, uses]) => {
    const list = uses.map(([port]) => port).filter((port) => port > 0);
    const all: Use = { count: 0, by: new Set(uses.flatMap(([, { by }]) => [...by])) };
    for (const [, use] of uses) all.count += use.count;
    const foreign = far.includes("xn--")
      ? "; xn-- is a name in another script, which may look like one that you know"
      : "";
    return `allow ${proto} ${far}${list.length > 0 ? `:${ranges(list)}` : ""}${words}  # ${usedText(all)}${foreign}`;
  });
}

/** Writes ports as `80,8000-8002`. */
function ranges(ports: readonly number[]): string {
  const parts: [first: number, last: number][] = [];
  for (const port of ports) {
    const last = parts.at(-1);
    if (last !== undefined && last[1] === port - 1) last[1] = port;
    else parts.push([port, port]);
  }
  return parts.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(",");
}

function usedText({ count: times, by }: Use): string {
  const shown = [...by].slice(0, MOST_SHOWN).join(", ");
  return `${times}x, ${shown}${by.size > MOST_SHOWN ? " and others" : ""}`;
}

/** For names with a common domain: a rule that would allow all names below it, as a comment. */
function wildcards(entries: readonly Entry[]): string[] {
  const families = new Map<string, { readonly names: Set<string>; readonly ports: Set<number> }>();
  for (const { proto, far, ports } of entries) {
    const domain = far.slice(far.indexOf(".") + 1);
    if (proto === "dns" || proto === "icmp" || !isName(far) || !domain.includes(".")) continue;
    const key = `${proto} *.${domain}`;
    const family = families.get(key) ?? { names: new Set(), ports: new Set() };
    families.set(key, family);
    family.names.add(far);
    for (const port of ports.keys()) family.ports.add(port);
  }
  return [...families]
    .filter(([, { names }]) => names.size > 1)
    .map(
      ([key, { names, ports }]) =>
        `# or, for every name there in place of these ${names.size}: allow ${key}:${ranges([...ports].sort((a, b) => a - b))}`,
    );
}

function byFar(a: Entry, b: Entry): number {
  const [x, y] = [`${a.far} ${a.proto}`, `${b.far} ${b.proto}`];
  return x < y ? -1 : x > y ? 1 : 0;
}

function hostOf(guest: string): string {
  return guest.replace(/:\d+$/, "").replace(/^\[(.*)\]$/, "$1");
}

function printable(text: string): string {
  return text.replace(/[^ -~]/g, "?");
}
