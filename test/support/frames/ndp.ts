import { ip6, ip6Text, join, mac, macText, u32, view } from "./bytes.ts";

/** Neighbour discovery (RFC 4861): what stands behind an ICMPv6 header's checksum. */
export interface NdpSpec {
  readonly kind: "rs" | "ra" | "ns" | "na";
  /** Of a neighbour solicitation or advertisement. */
  readonly target?: string;
  readonly router?: boolean;
  readonly solicited?: boolean;
  readonly override?: boolean;
  /** Of a router advertisement; its lifetime is in seconds. */
  readonly hopLimit?: number;
  readonly managed?: boolean;
  readonly other?: boolean;
  readonly lifetime?: number;
  readonly options?: NdpOptionsSpec;
}
export interface NdpOptionsSpec {
  readonly sourceMac?: string;
  readonly targetMac?: string;
  readonly prefix?: PrefixSpec;
  readonly mtu?: number;
  readonly rdnss?: { readonly servers: readonly string[]; readonly lifetime: number };
  readonly dnssl?: { readonly names: readonly string[]; readonly lifetime: number };
  /** Further bytes, as they stand on the wire. */
  readonly raw?: readonly number[];
}
export interface PrefixSpec {
  /** "fec0::". */
  readonly prefix: string;
  readonly bits: number;
  readonly onLink: boolean;
  readonly autonomous: boolean;
  readonly valid: number;
  readonly preferred: number;
}

export type Ndp = { -readonly [K in keyof NdpSpec]: NdpSpec[K] } & { options: NdpOptionsSpec };

const TYPES = { rs: 133, ra: 134, ns: 135, na: 136 } as const;

export function ndpType(ndp: NdpSpec): number {
  return TYPES[ndp.kind];
}

/** The second word. */
export function ndpWord(ndp: NdpSpec): number {
  if (ndp.kind === "na") {
    return (ndp.router ? 2 ** 31 : 0) + (ndp.solicited ? 2 ** 30 : 0) + (ndp.override ? 2 ** 29 : 0);
  }
  if (ndp.kind !== "ra") return 0;
  const flags = (ndp.managed ? 0x80 : 0) | (ndp.other ? 0x40 : 0);
  return (ndp.hopLimit ?? 64) * 2 ** 24 + flags * 2 ** 16 + (ndp.lifetime ?? 1800);
}

/** What follows the second word. */
export function encodeNdp(ndp: NdpSpec): Uint8Array {
  const { sourceMac, targetMac, prefix, mtu, rdnss, dnssl, raw = [] } = ndp.options ?? {};
  const parts: ArrayLike<number>[] = [];
  if (ndp.kind === "ra") parts.push(new Uint8Array(8));
  else if (ndp.kind !== "rs") parts.push(ip6(ndp.target ?? "fec0::2"));
  if (sourceMac) parts.push([1, 1, ...mac(sourceMac)]);
  if (targetMac) parts.push([2, 1, ...mac(targetMac)]);
  if (prefix) {
    const flags = (prefix.onLink ? 0x80 : 0) | (prefix.autonomous ? 0x40 : 0);
    parts.push([3, 4, prefix.bits, flags, ...u32(prefix.valid), ...u32(prefix.preferred), 0, 0, 0, 0]);
    parts.push(ip6(prefix.prefix));
  }
  if (mtu !== undefined) parts.push([5, 1, 0, 0, ...u32(mtu)]);
  if (rdnss) {
    parts.push([25, 1 + 2 * rdnss.servers.length, 0, 0, ...u32(rdnss.lifetime), ...rdnss.servers.flatMap(ip6)]);
  }
  if (dnssl) {
    const labels = dnssl.names.flatMap((name) => [...name.split("."), ""]);
    const names = labels.flatMap((label) => [label.length, ...Array.from(label, (c) => c.charCodeAt(0))]);
    while (names.length % 8) names.push(0);
    parts.push([31, 1 + names.length / 8, 0, 0, ...u32(dnssl.lifetime), ...names]);
  }
  return join(...parts, raw);
}

/** Neighbour discovery in an ICMPv6 message, or null if it is something else. */
export function decodeNdp(message: Uint8Array, hopLimit: number, problems: string[]): Ndp | null {
  const kind = (Object.keys(TYPES) as (keyof typeof TYPES)[]).find((name) => TYPES[name] === message[0]);
  if (kind === undefined) return null;
  const words = view(message);
  if (hopLimit !== 255) problems.push(`neighbour discovery with hop limit ${hopLimit}`);
  if (message[1] !== 0) problems.push(`neighbour discovery with code ${message[1]}`);
  const fixed = { rs: 8, ra: 16, ns: 24, na: 24 }[kind];
  if (message.length < fixed) {
    problems.push(`neighbour discovery of ${message.length} bytes`);
    return null;
  }
  const flags = message[4]!;
  const options = decodeOptions(message.subarray(fixed), problems);
  if (kind === "rs") return { kind, options };
  if (kind === "ns") return { kind, target: ip6Text(message, 8), options };
  const [first, second, third] = [128, 64, 32].map((bit) => (flags & bit) !== 0) as [boolean, boolean, boolean];
  if (kind === "na") {
    return { kind, target: ip6Text(message, 8), router: first, solicited: second, override: third, options };
  }
  const bits = message[5]!;
  return {
    kind,
    hopLimit: message[4]!,
    managed: (bits & 0x80) !== 0,
    other: (bits & 0x40) !== 0,
    lifetime: words.getUint16(6),
    options,
  };
}

function decodeOptions(bytes: Uint8Array, problems: string[]): NdpOptionsSpec {
  const o: { -readonly [K in keyof NdpOptionsSpec]: NdpOptionsSpec[K] } = {};
  for (let i = 0; i < bytes.length; ) {
    const length = 8 * (bytes[i + 1] ?? 0);
    if (length === 0 || i + length > bytes.length) {
      problems.push("neighbour discovery options");
      break;
    }
    const option = bytes.subarray(i, i + length);
    const words = view(option);
    const kind = option[0]!;
    if (kind === 1) o.sourceMac = macText(option, 2);
    else if (kind === 2) o.targetMac = macText(option, 2);
    else if (kind === 3) {
      o.prefix = {
        prefix: ip6Text(option, 16),
        bits: option[2]!,
        onLink: (option[3]! & 0x80) !== 0,
        autonomous: (option[3]! & 0x40) !== 0,
        valid: words.getUint32(4),
        preferred: words.getUint32(8),
      };
    } else if (kind === 5) o.mtu = words.getUint32(4);
    else if (kind === 25) {
      const servers = Array.from({ length: (length - 8) / 16 }, (_, k) => ip6Text(option, 8 + 16 * k));
      o.rdnss = { servers, lifetime: words.getUint32(4) };
    } else if (kind === 31) o.dnssl = { names: decodeNames(option.subarray(8)), lifetime: words.getUint32(4) };
    else o.raw = [...(o.raw ?? []), ...option];
    i += length;
  }
  return o;
}

function decodeNames(bytes: Uint8Array): string[] {
  const names: string[] = [];
  let labels: string[] = [];
  for (let i = 0; i < bytes.length; i += 1 + bytes[i]!) {
    const length = bytes[i]!;
    if (length > 0) labels.push(String.fromCharCode(...bytes.subarray(i + 1, i + 1 + length)));
    else if (labels.length > 0) {
      names.push(labels.join("."));
      labels = [];
    }
  }
  return names;
}
