/**
 * Frames as plain objects, for tests: `encodeFrame` and `decodeFrame` know nothing of `src/wire`, checksum included, so
 * that a mistake there cannot hide here. Everything has a default and can be made wrong on purpose. One protocol each
 * stands in `frames/`.
 */
import { type ArpSpec, decodeArp, encodeArp } from "./frames/arp.ts";
import { type All, bytesOf, join, mac, macText, type Pseudo, u16, view } from "./frames/bytes.ts";
import { decodeIcmp, encodeIcmp, type IcmpSpec } from "./frames/icmp.ts";
import { decodeIcmp6, encodeIcmp6, type Icmp6Spec } from "./frames/icmp6.ts";
import { decodeIp, encodeIp, type Ip, type IpSpec } from "./frames/ipv4.ts";
import { decodeIp6, encodeIp6, type Ip6, type Ip6Spec } from "./frames/ipv6.ts";
import { decodeNdp, encodeNdp, type Ndp, type NdpSpec, ndpType, ndpWord } from "./frames/ndp.ts";
import { decodeTcp, encodeTcp, type Tcp, type TcpSpec } from "./frames/tcp.ts";
import { decodeUdp, encodeUdp, type UdpSpec } from "./frames/udp.ts";

export { bytesOf, internetChecksum } from "./frames/bytes.ts";
export type { TcpOptionsSpec, TcpSpec } from "./frames/tcp.ts";

export interface EthSpec {
  readonly dst?: string;
  readonly src?: string;
  readonly type?: number;
}
export interface FrameSpec {
  readonly eth?: EthSpec;
  readonly arp?: ArpSpec;
  /** IPv4; TCP and UDP go over it unless `ip6` is there. */
  readonly ip?: IpSpec;
  readonly ip6?: Ip6Spec;
  readonly tcp?: TcpSpec;
  readonly udp?: UdpSpec;
  readonly icmp?: IcmpSpec;
  readonly icmp6?: Icmp6Spec;
  /** Over ICMPv6, whose fields `icmp6` can still make wrong. */
  readonly ndp?: NdpSpec;
  /** Text stands for its Latin-1 bytes. */
  readonly payload?: string | Uint8Array;
  /** Bytes behind the packet, as short frames have. */
  readonly padding?: number;
}

export interface Frame {
  eth: All<EthSpec>;
  arp?: All<ArpSpec>;
  ip?: Ip;
  ip6?: Ip6;
  tcp?: Tcp;
  udp?: All<UdpSpec>;
  icmp?: All<IcmpSpec>;
  icmp6?: All<Icmp6Spec>;
  ndp?: Ndp;
  payload: Uint8Array;
  /** Checksums and lengths that are wrong, in words. */
  problems: string[];
}

const NDP_HOP_LIMIT = 255;

/** Whether a frame goes over IPv6. */
export function isIpv6(spec: FrameSpec): boolean {
  return (spec.ip6 ?? spec.icmp6 ?? spec.ndp) !== undefined;
}

export function encodeFrame(spec: FrameSpec): Uint8Array {
  const data = bytesOf(spec.payload ?? "");
  const { dst = "ff:ff:ff:ff:ff:ff", src = "52:54:00:12:34:56" } = spec.eth ?? {};
  const type = spec.eth?.type ?? (spec.arp ? 0x0806 : isIpv6(spec) ? 0x86dd : 0x0800);
  let body = data;
  if (spec.arp) body = join(encodeArp(spec.arp), data);
  else if (isIpv6(spec)) {
    const ip6 = spec.ndp ? { hopLimit: NDP_HOP_LIMIT, ...spec.ip6 } : (spec.ip6 ?? {});
    body = encodeIp6(ip6, protoOf(spec), (pseudo) => encodeUpper(spec, data, pseudo));
  } else if (spec.ip || spec.tcp || spec.udp || spec.icmp) {
    body = encodeIp(spec.ip ?? {}, protoOf(spec), (pseudo) => encodeUpper(spec, data, pseudo));
  }
  return join(mac(dst), mac(src), u16(type), body, new Uint8Array(spec.padding ?? 0));
}

function protoOf(spec: FrameSpec): number {
  if (spec.tcp) return 6;
  if (spec.udp) return 17;
  if (spec.icmp) return 1;
  return (spec.icmp6 ?? spec.ndp) ? 58 : isIpv6(spec) ? 59 : 0;
}

function encodeUpper(spec: FrameSpec, data: Uint8Array, pseudo: Pseudo): Uint8Array {
  if (spec.tcp) return encodeTcp(spec.tcp, data, pseudo);
  if (spec.udp) return encodeUdp(spec.udp, data, pseudo);
  if (spec.icmp) return encodeIcmp(spec.icmp, data);
  if (spec.ndp) {
    const head = { type: ndpType(spec.ndp), word: ndpWord(spec.ndp), ...spec.icmp6 };
    return encodeIcmp6(head, join(encodeNdp(spec.ndp), data), pseudo);
  }
  return spec.icmp6 ? encodeIcmp6(spec.icmp6, data, pseudo) : data;
}

export function decodeFrame(frame: Uint8Array): Frame {
  const eth = { dst: macText(frame, 0), src: macText(frame, 6), type: view(frame).getUint16(12) };
  const out: Frame = { eth, payload: frame.slice(14), problems: [] };
  const { problems } = out;
  const packet = frame.subarray(14);
  if (eth.type === 0x0806) {
    out.arp = decodeArp(packet);
    out.payload = frame.slice(42);
  } else if (eth.type === 0x0800) {
    const { ip, payload, whole, pseudo } = decodeIp(packet, problems);
    Object.assign(out, { ip, payload });
    if (problems.length === 0 && whole) decodeUpper(ip.proto, payload, pseudo, out);
  } else if (eth.type === 0x86dd) {
    const { ip6, payload, whole, pseudo } = decodeIp6(packet, problems);
    Object.assign(out, { ip6, payload });
    if (problems.length === 0 && whole) decodeUpper(ip6.proto, payload, pseudo, out);
  }
  return out;
}

function decodeUpper(proto: number, bytes: Uint8Array, pseudo: Pseudo, out: Frame): void {
  const least = { 6: 20, 17: 8, 1: 8, 58: 8 }[proto] ?? 0;
  if (bytes.length < least) {
    out.problems.push(`${bytes.length} bytes are no header of protocol ${proto}`);
    return;
  }
  if (proto === 6) Object.assign(out, decodeTcp(bytes, pseudo, out.problems));
  else if (proto === 17) Object.assign(out, decodeUdp(bytes, pseudo, out.problems));
  else if (proto === 1) Object.assign(out, decodeIcmp(bytes, out.problems));
  else if (proto === 58) {
    Object.assign(out, decodeIcmp6(bytes, pseudo, out.problems));
    const ndp = decodeNdp(bytes, out.ip6?.hopLimit ?? 0, out.problems);
    if (ndp !== null) {
      out.ndp = ndp;
      out.payload = new Uint8Array(0);
    }
  }
}
