/**
 * Describes options: the only place where each is described. From here come the library's `NetworkOptions` and its
 * check, the command line's flags and `--help`, the keys of QEMU's `-netdev user`, and the tables in the documents.
 *
 * To add an option of a network: write one entry in `addresses`, `services`, `reach` or `process` beside this file,
 * and run `npm run options`, which writes `network-options.ts` and the documents. Then use the option, mostly in
 * `resolveOptions`. An option that only a command has belongs in `command`.
 */
import * as z from "zod/mini";
import { parseEndpoint, parseIp, parseIpv4, parseIpv6 } from "../addresses.ts";
import type { Shape } from "../shape.ts";
import type { NetworkOptions } from "./network-options.ts";

/** The commands that take options. */
export type Command = "serve" | "qemu" | "run";

/** How the text behind a flag is read. */
export type Reading =
  /** The text as it is. */
  | { readonly as: "text" }
  /** The flag may come several times; each time adds a text. */
  | { readonly as: "list" }
  /** `on` or `off`. */
  | { readonly as: "on-off" }
  /** The flag alone means true. With `orOnOff`, `on` or `off` may follow it. */
  | { readonly as: "flag"; readonly orOnOff?: boolean }
  | { readonly as: "number"; readonly min: number; readonly max: number; readonly unit?: string }
  /**
   * A line that goes into one list for `--allow`, `--deny`, `--limit` and `--default`, since the first rule that
   * matches counts. `once`: the flag comes once at most.
   */
  | { readonly as: "rule"; readonly action: string; readonly once?: true }
  /** Texts that `cli/arguments` reads in its own way. */
  | { readonly as: "texts" };

/** Whether the flag may come several times. */
export function isRepeatable(reading: Reading): boolean {
  return reading.as === "list" || reading.as === "texts" || (reading.as === "rule" && reading.once !== true);
}

/** The description that every option has. */
export interface Description {
  /** The flag in commander's syntax: `-p, --publish <rule>`. */
  readonly flag: string;
  readonly reading: Reading;
  /** One sentence without a full stop, for `--help`, the library's docstring and the documents. */
  readonly help: string;
  /** The default in words, for brackets behind `help`. Left out if nothing is done without the option. */
  readonly initial?: string;
  /** Further text for the documents, in Markdown. */
  readonly more?: string;
  /** The commands that have the option (all). */
  readonly commands?: readonly Command[];
}

/** An option of a network. */
export interface NetworkOption<T> extends Omit<Description, "flag" | "reading"> {
  /** Null for an option that only the library has. */
  readonly flag: string | null;
  readonly reading: Reading;
  /** The key of the option in `-netdev user`. */
  readonly netdev?: string;
  /** The type of the option in the library, in TypeScript. */
  readonly type: string;
  /** Further text for the library's docstring. */
  readonly doc?: string;
  /** Makes the check of its values. Called only for options that are given: a check takes a while to make. */
  readonly shape: () => Shape<T>;
}

/** A group of options of a network. */
export type NetworkGroup<K extends keyof NetworkOptions> = {
  readonly [Key in K]-?: NetworkOption<NonNullable<NetworkOptions[Key]>>;
};

export const TEXT: Reading = { as: "text" };
export const LIST: Reading = { as: "list" };
export const ON_OFF: Reading = { as: "on-off" };

const IPV4 = "expected an IPv4 address like 10.0.2.2";
const IPV6 = "expected an IPv6 address like fec0::2";
const IP = "expected an IP address of this host";
const NAME = "expected a name of 1 to 255 letters, digits, dots, hyphens and underscores";
const DOMAIN = "expected a domain name of labels of 1 to 63 letters, digits, hyphens and underscores, 253 in all";
const RESOLVER = "expected IP[:PORT], like 192.0.2.53 or [2001:db8::53]:5353";

/** A text that `accepts` returns true for. The error for any other value says `expectation`. */
export function checked(expectation: string, accepts: (text: string) => boolean): Shape<string> {
  return z.string(expectation).check(z.refine(accepts, expectation));
}

/** A text that is not empty. */
export function something(expectation: string): Shape<string> {
  return checked(expectation, (text) => text !== "");
}

export const ipv4 = (): Shape<string> => checked(IPV4, (text) => parseIpv4(text) !== null);
export const ipv6 = (): Shape<string> => checked(IPV6, (text) => parseIpv6(text) !== null);
export const ip = (): Shape<string> => checked(IP, (text) => parseIp(text) !== null);
export const name = (): Shape<string> => checked(NAME, (text) => /^[A-Za-z0-9._-]{1,255}$/.test(text));
export const domain = (): Shape<string> =>
  checked(DOMAIN, (text) => /^(?=.{1,254}$)(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?$/.test(text));
export const resolver = (): Shape<string> => checked(RESOLVER, (text) => parseEndpoint(text, 53) !== null);
export const bool = (): Shape<boolean> => z.boolean("expected true or false");

/** A list of texts, each of the shape `each`. */
export function list(each: Shape<string>, expectation: string): Shape<readonly string[]> {
  return z.readonly(z.array(each, expectation));
}

/** A list of texts whose grammar is checked later, by their own parser: forwards and the like. */
export function grammar(example: string, what = "forwards"): Shape<readonly string[]> {
  const expectation = `expected a list of ${what} like ["${example}"]`;
  return list(z.string(expectation), expectation);
}

export function wholeNumber(min: number, max: number, expectation: string): Shape<number> {
  return z.int(expectation).check(z.minimum(min, expectation), z.maximum(max, expectation));
}
