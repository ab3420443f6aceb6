/**
 * QEMU's own option string: `user,id=n0,net=10.0.2.0/24,hostfwd=tcp::2222-:22,…`, as it stands behind `-netdev`.
 *
 * Of a key that comes twice the last one counts, except for the lists hostfwd, guestfwd and dnssearch. QEMU takes the same
 * as JSON: `{"type":"user","id":"n0","hostfwd":[{"str":"tcp::2222-:22"}]}`.
 */
import { ConfigError } from "./errors.ts";
import type { NetworkOptions } from "./options.ts";
import { type OptionPair, splitOptions, takeType } from "./qemu-options.ts";

export interface Netdev {
  /** The name that `-device …,netdev=ID` refers to; null when not given. */
  readonly id: string | null;
  readonly options: NetworkOptions;
}

/** What QEMU's key means to us. */
const TEXTS: ReadonlyMap<
  string,
  | "subnet6"
  | "host6"
  | "dns6"
  | "subnet"
  | "host"
  | "dns"
  | "dhcpStart"
  | "hostname"
  | "domainname"
  | "bootfile"
  | "tftp"
  | "tftpServerName"
  | "smb"
  | "smbServer"
> = new Map([
  ["net", "subnet"],
  ["host", "host"],
  ["dns", "dns"],
  ["dhcpstart", "dhcpStart"],
  ["ipv6-net", "subnet6"],
  ["ipv6-host", "host6"],
  ["ipv6-dns", "dns6"],
  ["hostname", "hostname"],
  ["domainname", "domainname"],
  ["bootfile", "bootfile"],
  ["tftp", "tftp"],
  ["tftp-server-name", "tftpServerName"],
  ["smb", "smb"],
  ["smbserver", "smbServer"],
] as const);
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
const KNOWN = [
  ...["id", "ip", "restrict", "ipv4", "ipv6", "ipv6-prefix", "ipv6-prefixlen", "hostfwd", "guestfwd", "dnssearch"],
  ...TEXTS.keys(),
];

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
  const options: { -readonly [K in keyof NetworkOptions]: NetworkOptions[K] } = {};
  const hostfwd: string[] = [];
  const guestfwd: string[] = [];
  const dnsSearch: string[] = [];
  for (const { key, value } of pairs) {
    const field = `netdev ${key}`;
    const textField = TEXTS.get(key);
    if (key === "restrict") options.restrict = onOff(field, value);
    else if (key === "ipv4" || key === "ipv6") options[key] = onOff(field, value);
    else if (!KNOWN.includes(key)) {
      throw new ConfigError("netdev", key, `there is no such option of -netdev user: expected ${KNOWN.join(", ")}`);
    } else if (value === null) throw new ConfigError(field, "", `expected ${key}=VALUE`);
    else if (textField !== undefined) options[textField] = value;
    else if (key === "hostfwd") hostfwd.push(value);
    else if (key === "guestfwd") guestfwd.push(value);
    else if (key === "dnssearch") dnsSearch.push(value);
    else if (key === "ip") ip = value;
    else if (key === "ipv6-prefix") prefix6 = value;
    else if (key === "ipv6-prefixlen") prefixlen6 = value;
    else id = checkId(value);
  }
  // The old name of net=, which has no prefix.
  if (ip !== null) options.subnet ??= `${ip}/24`;
  if (prefix6 !== null || prefixlen6 !== null) options.subnet6 ??= `${prefix6 ?? "fec0::"}/${prefixlen6 ?? "64"}`;
  // As QEMU has it, to turn one family on and say nothing of the other turns that off.
  if (options.ipv6 === true) options.ipv4 ??= false;
  if (options.ipv4 === true) options.ipv6 ??= false;
  if (hostfwd.length > 0) options.hostfwd = hostfwd;
  if (guestfwd.length > 0) options.guestfwd = guestfwd;
  if (dnsSearch.length > 0) options.dnsSearch = dnsSearch;
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
 * The JSON form's members as pairs: booleans are `on` and `off`, and of a list, whose elements are `{"str": TEXT}`, each
 * element is a pair. Throws `ConfigError`, whose field is `netdev` or `netdev KEY`.
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
