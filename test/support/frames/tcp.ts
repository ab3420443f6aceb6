import { type All, internetChecksum, join, type Pseudo, u16, u32, view } from "./bytes.ts";

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

export type Tcp = All<Omit<TcpSpec, "options" | "headerLength">> & { options: TcpOptionsSpec };

const FLAGS = ["FIN", "SYN", "RST", "PSH", "ACK", "URG"] as const;
/** The order in which `decodeFrame` names them. */
const FLAG_ORDER = ["SYN", "FIN", "RST", "PSH", "ACK", "URG"] as const;

export function encodeTcp(tcp: TcpSpec, data: Uint8Array, pseudo: Pseudo): Uint8Array {
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
  segment.set(u16(tcp.checksum ?? internetChecksum(pseudo(6, segment.length), segment)), 16);
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

export function decodeTcp(segment: Uint8Array, pseudo: Pseudo, problems: string[]): { tcp: Tcp; payload: Uint8Array } {
  const words = view(segment);
  const header = (segment[12]! >> 4) * 4;
  const set = FLAG_ORDER.filter((name) => segment[13]! & (1 << FLAGS.indexOf(name)));
  const tcp = {
    srcPort: words.getUint16(0),
    dstPort: words.getUint16(2),
    seq: words.getUint32(4),
    ack: words.getUint32(8),
    flags: set.join(" "),
    window: words.getUint16(14),
    urgent: words.getUint16(18),
    checksum: words.getUint16(16),
    options: decodeTcpOptions(segment.subarray(20, header), problems),
  };
  if (internetChecksum(pseudo(6, segment.length), segment) !== 0) problems.push("TCP checksum");
  return { tcp, payload: segment.slice(header) };
}

function decodeTcpOptions(bytes: Uint8Array, problems: string[]): TcpOptionsSpec {
  const words = view(bytes);
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
    if (kind === 2) o.mss = words.getUint16(i + 2);
    else if (kind === 3) o.windowScale = bytes[i + 2]!;
    else if (kind === 4) o.sackPermitted = true;
    else if (kind === 8) o.timestamps = [words.getUint32(i + 2), words.getUint32(i + 6)];
    else if (kind === 5) {
      const blocks: [number, number][] = [];
      for (let k = i + 2; k < i + length; k += 8) blocks.push([words.getUint32(k), words.getUint32(k + 4)]);
      o.sack = blocks;
    }
    i += length;
  }
  return o;
}
