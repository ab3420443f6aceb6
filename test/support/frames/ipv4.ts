import { type All, internetChecksum, ip4, ip4Text, join, type Pseudo, u16, view } from "./bytes.ts";

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

export type Ip = All<Omit<IpSpec, "options">>;

/** The header, and what checksums above it need of it. `upper` makes the payload, `proto` names it. */
export function encodeIp(ip: IpSpec, proto: number, upper: (pseudo: Pseudo) => Uint8Array): Uint8Array {
  const { src = "10.0.2.15", dst = "198.51.100.1", ttl = 64, id = 0, df = true, mf = false, offset = 0 } = ip;
  const options = ip.options ?? [];
  const payload = upper((p, length) => join(ip4(src), ip4(dst), [0, p], u16(length)));
  const total = ip.length ?? 20 + options.length + payload.length;
  const fragment = (df ? 0x4000 : 0) | (mf ? 0x2000 : 0) | (offset >> 3);
  const first = [0x40 | (5 + options.length / 4), 0];
  const last = [ttl, ip.proto ?? proto, 0, 0];
  const header = join(first, u16(total), u16(id), u16(fragment), last, ip4(src), ip4(dst), options);
  header.set(u16(ip.checksum ?? internetChecksum(header)), 10);
  return join(header, payload);
}

/** `whole` is false for a fragment, whose payload begins nothing or ends nothing. */
export function decodeIp(
  packet: Uint8Array,
  problems: string[],
): { ip: Ip; payload: Uint8Array; whole: boolean; pseudo: Pseudo } {
  const words = view(packet);
  const header = (packet[0]! & 15) * 4;
  const length = words.getUint16(2);
  const fragment = words.getUint16(6);
  const ip = {
    src: ip4Text(packet, 12),
    dst: ip4Text(packet, 16),
    proto: packet[9]!,
    ttl: packet[8]!,
    id: words.getUint16(4),
    df: (fragment & 0x4000) !== 0,
    mf: (fragment & 0x2000) !== 0,
    offset: (fragment & 0x1fff) * 8,
    length,
    checksum: words.getUint16(10),
  };
  if (packet[0]! >> 4 !== 4) problems.push("IP version");
  if (length !== packet.length) problems.push(`IP length ${length}, packet ${packet.length}`);
  if (internetChecksum(packet.subarray(0, header)) !== 0) problems.push("IP checksum");
  const pseudo: Pseudo = (p, bytes) => join(packet.subarray(12, 20), [0, p], u16(bytes));
  return { ip, payload: packet.slice(header, length), whole: !ip.mf && ip.offset === 0, pseudo };
}
