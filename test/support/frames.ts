/**
 * Frames as plain objects, for tests: `encodeFrame` and `decodeFrame` know nothing of `src/wire`, checksum included, so
 * that a mistake there cannot hide here. Everything has a default and can be made wrong on purpose.
 */
export interface EthSpec {
  readonly dst?: string;
  readonly src?: string;
  readonly type?: number;
}
export interface ArpSpec {
  readonly op?: "request" | "reply";
  readonly senderMac?: string;
  readonly senderIp?: string;
  readonly targetMac?: string;
  readonly targetIp?: string;
}
export interface IpSpec {
  readonly src?: string;
  readonly dst?: string;
  readonly proto?: number;
  readonly ttl?: number;
  readonly id?: number;
  readonly df?: boolean;
  readonly mf?: boolean;
  /** In bytes. */
  readonly offset?: number;
  /** Options, in whole words. */
  readonly options?: readonly number[];
  /** Total length, when it is to be a lie. */
  readonly length?: number;
  readonly checksum?: number;
}
export interface TcpOptionsSpec {
  readonly mss?: number;
  readonly windowScale?: number;
  readonly sackPermitted?: boolean;
  /** Value and echo. */
  readonly timestamps?: readonly [number, number];
  readonly sack?: readonly (readonly [number, number])[];
  /** Bytes instead of all the others. */
  readonly raw?: readonly number[];
}
export interface TcpSpec {
  readonly srcPort?: number;
  readonly dstPort?: number;
  readonly seq?: number;
  readonly ack?: number;
  /** Names in any order, `"SYN ACK"`. */
  readonly flags?: string;
  readonly window?: number;
  readonly urgent?: number;
  readonly options?: TcpOptionsSpec;
  /** Data offset in bytes, when it is to be a lie. */
  readonly headerLength?: number;
  readonly checksum?: number;
}
export interface UdpSpec {
  readonly srcPort?: number;
  readonly dstPort?: number;
  readonly length?: number;
  readonly checksum?: number;
}
export interface IcmpSpec {
  readonly type?: number;
  readonly code?: number;
  /** Identifier of an echo. */
  readonly id?: number;
  /** Sequence number of an echo, next-hop MTU of a 3/4. */
  readonly seq?: number;
  readonly checksum?: number;
}
export interface FrameSpec {
  readonly eth?: EthSpec;
  readonly arp?: ArpSpec;
  readonly ip?: IpSpec;
  readonly tcp?: TcpSpec;
  readonly udp?: UdpSpec;
  readonly icmp?: IcmpSpec;
  /** Text stands for its Latin-1 bytes. */
  readonly payload?: string | Uint8Array;
  /** Bytes behind the packet, as short frames have. */
  readonly padding?: number;
}

type All<T> = { -readonly [K in keyof T]-?: T[K] };
export interface Frame {
  eth: All<EthSpec>;
  arp?: All<ArpSpec>;
  ip?: All<Omit<IpSpec, "options">>;
  tcp?: All<Omit<TcpSpec, "options" | "headerLength">> & { options: TcpOptionsSpec };
  udp?: All<UdpSpec>;
  icmp?: All<IcmpSpec>;
  payload: Uint8Array;
  /** Checksums and lengths that are wrong, in words. */
  problems: string[];
}

const FLAGS = ["FIN", "SYN", "RST", "PSH", "ACK", "URG"] as const;
/** The order in which `decodeFrame` names them. */
const FLAG_ORDER = ["SYN", "FIN", "RST", "PSH", "ACK", "URG"] as const;

/** RFC 1071, the plain way. */
export function internetChecksum(...parts: readonly Uint8Array[]): number {
  let sum = 0;
  for (const part of parts) {
    for (let i = 0; i < part.length; i += 2) sum += part[i]! * 256 + (part[i + 1] ?? 0);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return 0xffff - sum;
}

export function bytesOf(payload: string | Uint8Array): Uint8Array {
  return typeof payload === "string" ? Uint8Array.from(payload, (c) => c.charCodeAt(0)) : payload;
}

export function encodeFrame(spec: FrameSpec): Uint8Array {
  const data = bytesOf(spec.payload ?? "");
  const { dst = "ff:ff:ff:ff:ff:ff", src = "52:54:00:12:34:56" } = spec.eth ?? {};
  const type = spec.eth?.type ?? (spec.arp ? 0x0806 : 0x0800);
  let body = data;
  if (spec.arp) body = join(encodeArp(spec.arp), data);
  else if (spec.ip || spec.tcp || spec.udp || spec.icmp) body = encodeIp(spec, data);
  return join(mac(dst), mac(src), u16(type), body, new Uint8Array(spec.padding ?? 0));
}

function encodeArp(arp: ArpSpec): Uint8Array {
  const { op = "request", senderMac = "52:54:00:12:34:56", senderIp = "10.0.2.15" } = arp;
  const target = join(mac(arp.targetMac ?? "00:00:00:00:00:00"), ip4(arp.targetIp ?? "10.0.2.2"));
  return join([0, 1, 8, 0, 6, 4], u16(op === "request" ? 1 : 2), mac(senderMac), ip4(senderIp), target);
}

function encodeIp(spec: FrameSpec, data: Uint8Array): Uint8Array {
  const {
    src = "10.0.2.15",
    dst = "198.51.100.1",
    ttl = 64,
    id = 0,
    df = true,
    mf = false,
    offset = 0,
  } = spec.ip ?? {};
  const options = spec.ip?.options ?? [];
  let proto = spec.ip?.proto ?? 0;
  let payload = data;
  const pseudo = (p: number, length: number): Uint8Array => join(ip4(src), ip4(dst), [0, p], u16(length));
  if (spec.tcp) {
    proto = spec.ip?.proto ?? 6;
    payload = encodeTcp(spec.tcp, data, (length) => pseudo(6, length));
  } else if (spec.udp) {
    proto = spec.ip?.proto ?? 17;
    const { srcPort = 1000, dstPort = 7, length = 8 + data.length } = spec.udp;
    payload = join(u16(srcPort), u16(dstPort), u16(length), [0, 0], data);
    const sum = internetChecksum(pseudo(17, payload.length), payload) || 0xffff;
    payload.set(u16(spec.udp.checksum ?? sum), 6);
  } else if (spec.icmp) {
    proto = spec.ip?.proto ?? 1;
    const { type = 8, code = 0, seq = 0 } = spec.icmp;
    payload = join([type, code, 0, 0], u16(spec.icmp.id ?? 0), u16(seq), data);
    payload.set(u16(spec.icmp.checksum ?? internetChecksum(payload)), 2);
  }
  const total = spec.ip?.length ?? 20 + options.length + payload.length;
  const fragment = (df ? 0x4000 : 0) | (mf ? 0x2000 : 0) | (offset >> 3);
  const first = [0x40 | (5 + options.length / 4), 0];
  const header = join(first, u16(total), u16(id), u16(fragment), [ttl, proto, 0, 0], ip4(src), ip4(dst), options);
  header.set(u16(spec.ip?.checksum ?? internetChecksum(header)), 10);
  return join(header, payload);
}

function encodeTcp(tcp: TcpSpec, data: Uint8Array, pseudo: (length: number) => Uint8Array): Uint8Array {
  const { srcPort = 1000, dstPort = 80, seq = 0, ack = 0, flags = "ACK", window = 65_535, urgent = 0 } = tcp;
  const options = encodeTcpOptions(tcp.options ?? {});
  let bits = 0;
  for (const name of flags.split(" ")) {
    const bit = FLAGS.indexOf(name as (typeof FLAGS)[number]);
    if (bit < 0) throw new Error(`no such flag: ${name}`);
    bits |= 1 << bit;
  }
  const offset = [((tcp.headerLength ?? 20 + options.length) / 4) << 4, bits];
  const head = join(u16(srcPort), u16(dstPort), u32(seq), u32(ack), offset, u16(window), [0, 0], u16(urgent));
  const segment = join(head, options, data);
  segment.set(u16(tcp.checksum ?? internetChecksum(pseudo(segment.length), segment)), 16);
  return segment;
}

function encodeTcpOptions(o: TcpOptionsSpec): Uint8Array {
  if (o.raw) return Uint8Array.from(o.raw);
  const bytes: number[] = [];
  if (o.mss !== undefined) bytes.push(2, 4, ...u16(o.mss));
  if (o.windowScale !== undefined) bytes.push(3, 3, o.windowScale);
  if (o.sackPermitted) bytes.push(4, 2);
  if (o.timestamps) bytes.push(8, 10, ...u32(o.timestamps[0]), ...u32(o.timestamps[1]));
  if (o.sack) bytes.push(5, 2 + 8 * o.sack.length, ...o.sack.flatMap(([l, r]) => [...u32(l), ...u32(r)]));
  while (bytes.length % 4) bytes.push(1);
  return Uint8Array.from(bytes);
}

export function decodeFrame(frame: Uint8Array): Frame {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  const eth = { dst: macText(frame, 0), src: macText(frame, 6), type: view.getUint16(12) };
  const out: Frame = { eth, payload: frame.slice(14), problems: [] };
  if (eth.type === 0x0806) {
    out.arp = {
      op: view.getUint16(20) === 1 ? "request" : "reply",
      senderMac: macText(frame, 22),
      senderIp: ipText(frame, 28),
      targetMac: macText(frame, 32),
      targetIp: ipText(frame, 38),
    };
    out.payload = frame.slice(42);
  } else if (eth.type === 0x0800) decodeIp(frame.subarray(14), out);
  return out;
}

function decodeIp(packet: Uint8Array, out: Frame): void {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
  const header = (packet[0]! & 15) * 4;
  const length = view.getUint16(2);
  const fragment = view.getUint16(6);
  out.ip = {
    src: ipText(packet, 12),
    dst: ipText(packet, 16),
    proto: packet[9]!,
    ttl: packet[8]!,
    id: view.getUint16(4),
    df: (fragment & 0x4000) !== 0,
    mf: (fragment & 0x2000) !== 0,
    offset: (fragment & 0x1fff) * 8,
    length,
    checksum: view.getUint16(10),
  };
  if (packet[0]! >> 4 !== 4) out.problems.push("IP version");
  if (length !== packet.length) out.problems.push(`IP length ${length}, packet ${packet.length}`);
  if (internetChecksum(packet.subarray(0, header)) !== 0) out.problems.push("IP checksum");
  const payload = packet.subarray(header, length);
  out.payload = payload.slice();
  if (out.problems.length > 0 || out.ip.mf || out.ip.offset > 0) return;
  const least = { 6: 20, 17: 8, 1: 8 }[out.ip.proto] ?? 0;
  if (payload.length < least) {
    out.problems.push(`${payload.length} bytes are no header of protocol ${out.ip.proto}`);
    return;
  }
  const pseudo = join(packet.subarray(12, 20), [0, out.ip.proto], u16(payload.length));
  if (out.ip.proto === 6) decodeTcp(payload, pseudo, out);
  else if (out.ip.proto === 17) decodeUdp(payload, pseudo, out);
  else if (out.ip.proto === 1) decodeIcmp(payload, out);
}

function decodeTcp(segment: Uint8Array, pseudo: Uint8Array, out: Frame): void {
  const view = new DataView(segment.buffer, segment.byteOffset, segment.length);
  const header = (segment[12]! >> 4) * 4;
  const set = FLAG_ORDER.filter((name) => segment[13]! & (1 << FLAGS.indexOf(name)));
  out.tcp = {
    srcPort: view.getUint16(0),
    dstPort: view.getUint16(2),
    seq: view.getUint32(4),
    ack: view.getUint32(8),
    flags: set.join(" "),
    window: view.getUint16(14),
    urgent: view.getUint16(18),
    checksum: view.getUint16(16),
    options: decodeTcpOptions(segment.subarray(20, header), out.problems),
  };
  if (internetChecksum(pseudo, segment) !== 0) out.problems.push("TCP checksum");
  out.payload = segment.slice(header);
}

function decodeTcpOptions(bytes: Uint8Array, problems: string[]): TcpOptionsSpec {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const o: { -readonly [K in keyof TcpOptionsSpec]: TcpOptionsSpec[K] } = {};
  for (let i = 0; i < bytes.length && bytes[i] !== 0; ) {
    const kind = bytes[i]!;
    if (kind === 1) {
      i++;
      continue;
    }
    const length = bytes[i + 1] ?? 0;
    if (length < 2 || i + length > bytes.length) {
      problems.push("TCP options");
      break;
    }
    if (kind === 2) o.mss = view.getUint16(i + 2);
    else if (kind === 3) o.windowScale = bytes[i + 2]!;
    else if (kind === 4) o.sackPermitted = true;
    else if (kind === 8) o.timestamps = [view.getUint32(i + 2), view.getUint32(i + 6)];
    else if (kind === 5) {
      const blocks: [number, number][] = [];
      for (let k = i + 2; k < i + length; k += 8) blocks.push([view.getUint32(k), view.getUint32(k + 4)]);
      o.sack = blocks;
    }
    i += length;
  }
  return o;
}

function decodeUdp(datagram: Uint8Array, pseudo: Uint8Array, out: Frame): void {
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.length);
  const [srcPort, dstPort, length, checksum] = [0, 2, 4, 6].map((at) => view.getUint16(at)) as [
    number,
    number,
    number,
    number,
  ];
  out.udp = { srcPort, dstPort, length, checksum };
  if (length !== datagram.length) out.problems.push(`UDP length ${length}, datagram ${datagram.length}`);
  if (checksum === 0 || internetChecksum(pseudo, datagram) !== 0) out.problems.push("UDP checksum");
  out.payload = datagram.slice(8);
}

function decodeIcmp(message: Uint8Array, out: Frame): void {
  const view = new DataView(message.buffer, message.byteOffset, message.length);
  out.icmp = {
    type: message[0]!,
    code: message[1]!,
    id: view.getUint16(4),
    seq: view.getUint16(6),
    checksum: view.getUint16(2),
  };
  if (internetChecksum(message) !== 0) out.problems.push("ICMP checksum");
  out.payload = message.slice(8);
}

function join(...parts: readonly ArrayLike<number>[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

function u16(value: number): number[] {
  return [(value >>> 8) & 255, value & 255];
}

function u32(value: number): number[] {
  return [...u16(value >>> 16), ...u16(value)];
}

function mac(text: string): number[] {
  return text.split(":").map((part) => Number.parseInt(part, 16));
}

function ip4(text: string): number[] {
  return text.split(".").map(Number);
}

function macText(buf: Uint8Array, at: number): string {
  return Array.from(buf.subarray(at, at + 6), (b) => b.toString(16).padStart(2, "0")).join(":");
}

function ipText(buf: Uint8Array, at: number): string {
  return buf.subarray(at, at + 4).join(".");
}
