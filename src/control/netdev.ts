/**
 * QEMU's own option string: `user,id=n0,net=10.0.2.0/24,hostfwd=tcp::2222-:22,…`, as the value of `-netdev`.
 *
 * If a key comes twice, the last one counts, except for the lists hostfwd, guestfwd and dnssearch. QEMU also takes
 * JSON: `{"type":"user","id":"n0","hostfwd":[{"str":"tcp::2222-:22"}]}`.
 */
import { ConfigError } from "./errors.ts";
import type { NetworkOptions } from "./options/network-options.ts";
import { NETWORK, NETWORK_FIELDS, type NetworkField } from "./options/table.ts";
import { type OptionPair, splitOptions, takeType } from "./qemu-options.ts";

export interface Netdev {
  /** The name that `-device …,netdev=ID` refers to; null when not given. */
  readonly id: string | null;
  readonly options: NetworkOptions;
}

/** The network options that exist in QEMU, by QEMU's key. */
const FIELDS: ReadonlyMap<string, NetworkField> = new Map(
  NETWORK_FIELDS.flatMap((field) => (NETWORK[field].netdev === undefined ? [] : [[NETWORK[field].netdev, field]])),
);
const BOOLEANS: ReadonlyMap<string, boolean> = new Map([
  ["on", true],
  ["yes", true],
  ["true", true],
  ["y", true],
  ["off", false],
  ["no", false],
  ["false", false],
  ["n", false],
]);
/** Keys of QEMU's that are not options of their own here. */
const OTHERS = ["id", "ip", "ipv6-prefix", "ipv6-prefixlen"];
const KNOWN = [...OTHERS, ...FIELDS.keys()];

/** Throws `ConfigError`, whose field is `netdev` or `netdev KEY`. */
export function parseNetdev(text: string): Netdev {
  const { type, rest } = takeType(text.startsWith("{") ? jsonPairs(text) : splitOptions(text));
  if (type !== "user")
    throw new ConfigError("netdev", text, "expected QEMU's option string, like user,id=n0,restrict=on");
  return readUserOptions(rest);
}

/** The options behind `user,`. Throws `ConfigError`, whose field is `netdev` or `netdev KEY`. */
export function readUserOptions(pairs: readonly OptionPair[]): Netdev {
  let id: string | null = null;
  let ip: string | null = null;
  let prefix6: string | null = null;
  let prefixlen6: string | null = null;
  const read: Partial<Record<NetworkField, unknown>> = {};
  for (const { key, value } of pairs) {
    const name = `netdev ${key}`;
    const field = FIELDS.get(key);
    const reading = field === undefined ? null : NETWORK[field].reading.as;
    if (!KNOWN.includes(key))
      throw new ConfigError("netdev", key, `there is no such option of -netdev user: expected ${KNOWN.join(", ")}`);
    if (reading === "on-off" || reading === "flag") read[field!] = onOff(name, value);
    else if (value === null) throw new ConfigError(name, "", `expected ${key}=VALUE`);
    else if (reading === "list") read[field!] = [...((read[field!] as string[] | undefined) ?? []), value];
    else if (field !== undefined) read[field] = value;
    else if (key === "ip") ip = value;
    else if (key === "ipv6-prefix") prefix6 = value;
    else if (key === "ipv6-prefixlen") prefixlen6 = value;
    else id = checkId(value);
  }
  const options = read as { -readonly [K in keyof NetworkOptions]: NetworkOptions[K] };
  // `ip=` is the old name of `net=`, without a prefix.
  if (ip !== null) options.subnet ??= `${ip}/24`;
  if (prefix6 !== null || prefixlen6 !== null) options.subnet6 ??= `${prefix6 ?? "fec0::"}/${prefixlen6 ?? "64"}`;
  // As in QEMU, to turn one family on without naming the other turns the other off.
  if (options.ipv6 === true) options.ipv4 ??= false;
  if (options.ipv4 === true) options.ipv6 ??= false;
  return { id, options };
}

/** Names of QEMU objects: a letter, then letters, digits, `-`, `.` and `_`. Throws `ConfigError`. */
function checkId(id: string): string {
  if (/^[A-Za-z][A-Za-z0-9._-]{0,127}$/.test(id)) return id;
  throw new ConfigError("netdev id", id, "expected a letter, then letters, digits, hyphens, dots and underscores");
}

function onOff(field: string, value: string | null): boolean {
  const meaning = value === null ? true : BOOLEANS.get(value);
  if (meaning === undefined) throw new ConfigError(field, value, "expected on or off");
  return meaning;
}

/**
 * Reads the JSON form's members as pairs. Booleans become `on` and `off`. A list's elements, each `{"str": TEXT}`,
 * become a pair each. Throws `ConfigError`, whose field is `netdev` or `netdev KEY`.
 */
export function jsonPairs(text: string): OptionPair[] {
  let members: unknown;
  try {
    members = JSON.parse(text);
  } catch {
    throw new ConfigError("netdev", text, "expected valid JSON behind the brace");
  }
  return Object.entries(members as object).flatMap(([key, value]) =>
    (Array.isArray(value) ? value : [value]).map((each) => ({ key, value: jsonText(key, each, Array.isArray(value)) })),
  );
}

function jsonText(key: string, value: unknown, inList: boolean): string {
  if (inList && typeof value === "object" && value !== null && "str" in value) return jsonText(key, value.str, false);
  if (!inList && typeof value === "string") return value;
  if (!inList && typeof value === "boolean") return value ? "on" : "off";
  if (!inList && typeof value === "number") return String(value);
  // Nested members belong to other kinds of netdev.
  if (!inList && typeof value === "object" && value !== null) return JSON.stringify(value);
  throw new ConfigError(`netdev ${key}`, value, 'expected a text, a number, true or false, or a list of {"str": TEXT}');
}
