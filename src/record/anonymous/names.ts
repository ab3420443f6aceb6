/**
 * Replaces names label by label, so that names below a domain stay below it. A label keeps its length, so frames keep
 * theirs. Words that the network or its rules know stay.
 */

import { parseIp, parseIpv6 } from "../../control/addresses.ts";
import type { Random } from "../../core/random.ts";
import { RULE_WORDS } from "../../nat/rules/far-end.ts";
import { RESERVED_NAMES } from "../../proto/host-name.ts";
import { addressOfReverseName, reverseName } from "../../proto/reverse-name.ts";
import type { Addresses } from "./addresses.ts";
import { Substitutes } from "./substitutes.ts";

const LETTERS = "abcdefghijklmnopqrstuvwxyz";
const FURTHER = `${LETTERS}0123456789`;
/** Words that stay: of DNS, of cables' names, of values in configurations and verdicts. */
const WORDS: ReadonlySet<string> = new Set([
  ...RESERVED_NAMES,
  ...RULE_WORDS,
  ...["arpa", "in-addr", "ip6", "cable", "memory", "unix", "dgram", "ws", "wss", "tap", "fd", "vhost-user", "vxlan"],
  ...["redirect", "empty", "take", "reset", "drop", "offered", "bound", "released", "declined", "seen"],
  ...["missing", "true", "false", "infinity"],
]);
const MAC = /^[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}$/i;
/** A MAC, an IPv4 address, a possible IPv6 address, or a word with the escapes of DNS. */
const TOKEN =
  /[0-9a-f]{2}(?::[0-9a-f]{2}){5}(?![0-9a-f:])|\d+\.\d+\.\d+\.\d+(?![\d.])|[0-9a-f]*:[0-9a-f]*:[0-9a-f:.]*|(?:\\\d{3}|\\.|[\p{L}\p{N}_-])+/giu;
const ESCAPE = /\\(?:\d{3}|.)/gu;

export class Names {
  readonly #addresses: Addresses;
  readonly #labels: Substitutes;

  constructor(addresses: Addresses, random: Random) {
    this.#addresses = addresses;
    this.#labels = new Substitutes(random);
  }

  get count(): number {
    return this.#labels.size;
  }

  seal(): void {
    this.#labels.seal();
  }

  /**
   * The substitute of a label or word, which may have any bytes, escaped as in DNS (`\007`). Letters keep their case.
   */
  label(text: string): string {
    const lower = text.toLowerCase();
    // A label that begins with an underscore is a kind of service; numbers are ports and ordinals.
    if (WORDS.has(lower) || /^_|^\d{1,5}$|^-*$/.test(lower)) return text;
    const length = text.replace(ESCAPE, "x").length;
    const other = this.#labels.of(lower, () => this.#letters(length));
    if (other === lower) return text;
    return [...other].map((letter, i) => (isUpper(text, i, length) ? letter.toUpperCase() : letter)).join("");
  }

  /**
   * The substitutes of all labels of a name. The reverse name of an address becomes that of the address's substitute,
   * if the lengths fit.
   */
  labels(labels: readonly string[]): string[] {
    const name = labels.join(".").toLowerCase();
    const address = addressOfReverseName(name);
    if (address !== null) {
      const other = reverseName(this.#addresses.text(address.text)).split(".");
      if (other.every((label, i) => label.length === labels[i]!.length)) return other;
    }
    return labels.map((label) => this.label(label));
  }

  /** Replaces addresses, MACs and words in any text. */
  text(value: string): string {
    const ip = parseIp(value);
    if (ip !== null) return this.#addresses.text(ip);
    if (MAC.test(value)) return this.#addresses.macText(value);
    // A system's error code.
    if (/^E[A-Z0-9]+$/.test(value)) return value;
    if (addressOfReverseName(value.toLowerCase()) !== null) return this.labels(value.split(".")).join(".");
    return value.replace(TOKEN, (token) => {
      if (MAC.test(token)) return this.#addresses.macText(token);
      if (/^[\d.]+$/.test(token) && parseIp(token) !== null) return this.#addresses.text(token);
      if (!token.includes(":")) return this.label(token);
      if (parseIpv6(token) !== null) return this.#addresses.text(token);
      return token
        .split(":")
        .map((word) => this.label(word))
        .join(":");
    });
  }

  /** Replaces words in a message's text, in place; the length stays. */
  bytes(buf: Uint8Array, at: number, end: number): void {
    const text = String.fromCharCode(...buf.subarray(at, end));
    const other = text.replace(/[A-Za-z0-9_-]+/g, (word) => this.label(word));
    for (let i = 0; i < other.length; i++) {
      const code = other.charCodeAt(i);
      // Characters beyond ASCII may belong to a name, too.
      buf[at + i] = code < 0x80 ? code : 0x78;
    }
  }

  /** Replaces addresses and names in a rule, as users write it. */
  rule(line: string): string {
    let guest = false;
    return line
      .split(/(\s+)/)
      .map((word) => {
        if (word.trim() === "" || word.includes("=")) return word;
        const other = guest ? this.#guest(word) : this.#far(word);
        guest = word === "guest";
        return other;
      })
      .join("");
  }

  #guest(word: string): string {
    if (word.startsWith("cable:")) return `cable:${this.text(word.slice(6))}`;
    return MAC.test(word) ? this.#addresses.macText(word) : this.#far(word);
  }

  /** Replaces a rule's far end: `any`, an address, a network, or a name, with or without ports. */
  #far(word: string): string {
    const [, far = word, ports = ""] = /^(\[[^\]]*\](?:\/\d+)?|[^:]*)(:[\d,-]+)$/.exec(word) ?? [];
    const bracketed = far.startsWith("[");
    const [address = "", length] = far.replace(/[[\]]/g, "").split("/");
    const ip = parseIp(address);
    if (ip === null) return `${this.text(far)}${ports}`;
    const [net, shorter] = this.#addresses.net(length === undefined ? ip : `${ip}/${length}`).split("/");
    return `${bracketed ? `[${net}]` : net}${length === undefined ? "" : `/${shorter}`}${ports}`;
  }

  #letters(length: number): string | null {
    const letters = Array.from({ length }, (_, i) => {
      const from = i === 0 && length > 1 ? LETTERS : FURTHER;
      return from[this.#labels.below(from.length)]!;
    }).join("");
    return WORDS.has(letters) ? null : letters;
  }
}

function isUpper(text: string, i: number, length: number): boolean {
  const letter = text[i];
  return text.length === length && letter !== undefined && letter !== letter.toLowerCase();
}
