import { type All, ip6, ip6Text, join, type Pseudo, u16, u32, view } from "./bytes.ts";

export interface Ip6Spec {
  readonly src?: string;
  readonly dst?: string;
  /** What the last header names: the upper layer. */
  readonly proto?: number;
  readonly hopLimit?: number;
  /** Payload length, when it is to be a lie. */
  readonly length?: number;
  readonly version?: number;
  /** Extension headers in their order; a fragment header stands behind them. */
  readonly extensions?: readonly ExtensionSpec[];
  readonly fragment?: FragmentSpec;
}
export interface ExtensionSpec {
  /** 0 hop-by-hop, 43 routing, 60 destination. */
  readonly header: number;
  /** What stands behind its length; zeros (Pad1) fill the last eight. */
  readonly body: readonly number[];
  /** The length byte, when it is to be a lie. */
  readonly length?: number;
}
export interface FragmentSpec {
  /** In bytes. */
  readonly offset?: number;
  readonly mf?: boolean;
  readonly id?: number;
}

export interface Ip6 extends All<Omit<Ip6Spec, "extensions" | "fragment">> {
  extensions: { header: number; body: number[] }[];
  fragment?: All<FragmentSpec>;
}

/** `upper` makes the payload, `proto` names it. */
export function encodeIp6(ip: Ip6Spec, proto: number, upper: (pseudo: Pseudo) => Uint8Array): Uint8Array {
  const { src = "fec0::5054:ff:fe12:3456", dst = "2001:db8::1", hopLimit = 64, version = 6 } = ip;
  const payload = upper((p, length) => join(ip6(src), ip6(dst), u32(length), [0, 0, 0, p]));
  let next = ip.proto ?? proto;
  let rest = payload;
  if (ip.fragment) {
    const { offset = 0, mf = false, id = 0 } = ip.fragment;
    rest = join([next, 0], u16(offset | (mf ? 1 : 0)), u32(id), rest);
    next = 44;
  }
  for (const { header, body, length } of [...(ip.extensions ?? [])].reverse()) {
    const bytes = join([next, 0], body, new Uint8Array((8 - ((2 + body.length) % 8)) % 8));
    bytes[1] = length ?? bytes.length / 8 - 1;
    rest = join(bytes, rest);
    next = header;
  }
  return join([version << 4, 0, 0, 0], u16(ip.length ?? rest.length), [next, hopLimit], ip6(src), ip6(dst), rest);
}

/** `whole` is false for a fragment, whose payload begins nothing or ends nothing. */
export function decodeIp6(
  packet: Uint8Array,
  problems: string[],
): { ip6: Ip6; payload: Uint8Array; whole: boolean; pseudo: Pseudo } {
  const words = view(packet);
  const length = words.getUint16(4);
  if (packet[0]! >> 4 !== 6) problems.push("IPv6 version");
  if (40 + length !== packet.length) problems.push(`IPv6 length ${length}, packet ${packet.length}`);
  const extensions: { header: number; body: number[] }[] = [];
  let fragment: All<FragmentSpec> | undefined;
  let proto = packet[6]!;
  let at = 40;
  while ([0, 43, 44, 60].includes(proto) && fragment === undefined) {
    const size = proto === 44 ? 8 : 8 * ((packet[at + 1] ?? 0) + 1);
    if (at + size > packet.length) {
      problems.push("IPv6 extension header");
      break;
    }
    if (proto === 44) {
      const field = words.getUint16(at + 2);
      fragment = { offset: field & 0xfff8, mf: (field & 1) !== 0, id: words.getUint32(at + 4) };
    } else extensions.push({ header: proto, body: [...packet.subarray(at + 2, at + size)] });
    proto = packet[at]!;
    at += size;
  }
  const ip6 = {
    src: ip6Text(packet, 8),
    dst: ip6Text(packet, 24),
    proto,
    hopLimit: packet[7]!,
    length,
    version: packet[0]! >> 4,
    extensions,
    ...(fragment && { fragment }),
  };
  const pseudo: Pseudo = (p, bytes) => join(packet.subarray(8, 40), u32(bytes), [0, 0, 0, p]);
  const whole = fragment === undefined || (!fragment.mf && fragment.offset === 0);
  return { ip6, payload: packet.slice(at, 40 + length), whole, pseudo };
}
