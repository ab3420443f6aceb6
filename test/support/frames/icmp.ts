import { type All, internetChecksum, join, u16, view } from "./bytes.ts";

export interface IcmpSpec {
  readonly type?: number;
  readonly code?: number;
  /** Identifier of an echo. */
  readonly id?: number;
  /** Sequence number of an echo, next-hop MTU of a 3/4. */
  readonly seq?: number;
  readonly checksum?: number;
}

export function encodeIcmp(icmp: IcmpSpec, data: Uint8Array): Uint8Array {
  const { type = 8, code = 0, id = 0, seq = 0 } = icmp;
  const message = join([type, code, 0, 0], u16(id), u16(seq), data);
  message.set(u16(icmp.checksum ?? internetChecksum(message)), 2);
  return message;
}

export function decodeIcmp(message: Uint8Array, problems: string[]): { icmp: All<IcmpSpec>; payload: Uint8Array } {
  const words = view(message);
  const icmp = {
    type: message[0]!,
    code: message[1]!,
    id: words.getUint16(4),
    seq: words.getUint16(6),
    checksum: words.getUint16(2),
  };
  if (internetChecksum(message) !== 0) problems.push("ICMP checksum");
  return { icmp, payload: message.slice(8) };
}
