/**
 * Filters of frames in the words of tcpdump: `tcp port 80 and host 10.0.2.15`, `not arp`, `udp or icmp6`, `net
 * 192.0.2.0/24`, `ether host 52:54:00:12:34:56`, with parentheses. As in tcpdump, `and` binds closer than `or`, and
 * `tcp port 80` means `tcp and port 80`. A filter is parsed once; the packet path runs the predicate.
 */
import { ETH_ARP, ETH_IPV4, ETH_IPV6, macEquals } from "../wire/ethernet.ts";
import { type FrameFacts, frameFacts, readFacts } from "../wire/frame-facts.ts";
import { PROTO_ICMP, PROTO_TCP, PROTO_UDP } from "../wire/ipv4.ts";
import { addressBytes, parseIp, parseNumber } from "./addresses.ts";
import { ConfigError } from "./errors.ts";

/** Whether the filter lets the frame of `len` bytes at `at` through. */
export type FrameFilter = (buf: Uint8Array, at: number, len: number) => boolean;

type Predicate = (facts: FrameFacts) => boolean;

const PROTO_ICMP6 = 58;
const EXPECTED =
  "expected a filter like tcp port 80 and host 10.0.2.15: tcp, udp, icmp, icmp6, arp, ip, ip6, host IP, net CIDR, port N, ether host MAC, joined by and, or, not and parentheses";
/** How deep parentheses may nest. Nobody types more. */
const MAX_DEPTH = 32;

const KINDS: Readonly<Record<string, Predicate>> = {
  tcp: (f) => f.proto === PROTO_TCP,
  udp: (f) => f.proto === PROTO_UDP,
  icmp: (f) => f.ethType === ETH_IPV4 && f.proto === PROTO_ICMP,
  icmp6: (f) => f.ethType === ETH_IPV6 && f.proto === PROTO_ICMP6,
  arp: (f) => f.ethType === ETH_ARP,
  ip: (f) => f.ethType === ETH_IPV4,
  ip6: (f) => f.ethType === ETH_IPV6,
};

/** Throws `ConfigError` about `field`. */
export function parseFrameFilter(field: string, text: string): FrameFilter {
  const predicate = new Parser(field, text).parse();
  const facts = frameFacts();
  return (buf, at, len) => {
    readFacts(facts, buf, at, len);
    return predicate(facts);
  };
}

class Parser {
  readonly #field: string;
  readonly #text: string;
  readonly #words: readonly string[];
  #next = 0;
  #depth = 0;

  constructor(field: string, text: string) {
    this.#field = field;
    this.#text = text;
    this.#words = text.toLowerCase().match(/[()!]|&&|\|\||[^\s()!&|]+/g) ?? [];
  }

  parse(): Predicate {
    const predicate = this.#or();
    if (this.#next < this.#words.length) throw this.#wrong();
    return predicate;
  }

  #wrong(): ConfigError {
    return new ConfigError(this.#field, this.#text, EXPECTED);
  }

  #take(...wanted: readonly string[]): boolean {
    const word = this.#words[this.#next];
    if (word === undefined || !wanted.includes(word)) return false;
    this.#next++;
    return true;
  }

  #word(): string {
    const word = this.#words[this.#next++];
    if (word === undefined) throw this.#wrong();
    return word;
  }

  #or(): Predicate {
    let left = this.#and();
    while (this.#take("or", "||")) {
      const a = left;
      const b = this.#and();
      left = (f) => a(f) || b(f);
    }
    return left;
  }

  #and(): Predicate {
    let left = this.#not();
    while (this.#take("and", "&&")) {
      const a = left;
      const b = this.#not();
      left = (f) => a(f) && b(f);
    }
    return left;
  }

  #not(): Predicate {
    if (++this.#depth > MAX_DEPTH) throw this.#wrong();
    let inner: Predicate;
    if (this.#take("not", "!")) {
      const a = this.#not();
      inner = (f) => !a(f);
    } else if (this.#take("(")) {
      inner = this.#or();
      if (!this.#take(")")) throw this.#wrong();
    } else inner = this.#primitive();
    this.#depth--;
    return inner;
  }

  #primitive(): Predicate {
    const word = this.#word();
    const kind = Object.hasOwn(KINDS, word) ? KINDS[word]! : null;
    if (kind === null) return this.#term(word);
    // `tcp port 80`: a kind, with a term about it.
    const next = this.#words[this.#next];
    if (next !== "port" && next !== "host" && next !== "net") return kind;
    const term = this.#term(this.#word());
    return (f) => kind(f) && term(f);
  }

  #term(word: string): Predicate {
    switch (word) {
      case "port": {
        const port = parseNumber(this.#word(), 0, 65_535);
        if (port === null) throw this.#wrong();
        return (f) => f.srcPort === port || f.dstPort === port;
      }
      case "host":
        return this.#network(this.#word(), null);
      case "net": {
        const [address = "", prefix] = this.#word().split("/");
        return this.#network(address, prefix ?? null);
      }
      case "ether": {
        if (this.#word() !== "host") throw this.#wrong();
        const text = this.#word();
        if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(text)) throw this.#wrong();
        const mac = Uint8Array.from(text.split(":"), (byte) => Number.parseInt(byte, 16));
        return (f) => f.ethType >= 0 && (macEquals(f.buf, f.eth, mac) || macEquals(f.buf, f.eth + 6, mac));
      }
      default:
        throw this.#wrong();
    }
  }

  #network(text: string, prefixText: string | null): Predicate {
    const ip = parseIp(text);
    if (ip === null) throw this.#wrong();
    const bytes = addressBytes(ip);
    const most = bytes.length * 8;
    const prefix = prefixText === null ? most : parseNumber(prefixText, 0, most);
    if (prefix === null) throw this.#wrong();
    const isFamily: Predicate = bytes.length === 4 ? (f) => f.ethType !== ETH_IPV6 : (f) => f.ethType === ETH_IPV6;
    return (f) =>
      f.src >= 0 && isFamily(f) && (within(f.buf, f.src, bytes, prefix) || within(f.buf, f.dst, bytes, prefix));
  }
}

/** Whether the address at `at` shares its first `prefix` bits with `net`. */
function within(buf: Uint8Array, at: number, net: Uint8Array, prefix: number): boolean {
  const whole = prefix >> 3;
  for (let i = 0; i < whole; i++) if (buf[at + i] !== net[i]) return false;
  const rest = prefix & 7;
  return rest === 0 || (buf[at + whole]! ^ net[whole]!) >> (8 - rest) === 0;
}
