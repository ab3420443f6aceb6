import { type All, internetChecksum, join, type Pseudo, u16, u32, view } from "./bytes.ts";

export interface Icmp6Spec {
  readonly type?: number;
  readonly code?: number;
  /** Identifier of an echo: the second word's upper half. */
  readonly id?: number;
  /** Sequence number of an echo: its lower half. */
  readonly seq?: number;
  /** The second word instead of both: MTU of a Packet Too Big, pointer of a Parameter Problem. */
  readonly word?: number;
  readonly checksum?: number;
}

export function encodeIcmp6(icmp: Icmp6Spec, data: Uint8Array, pseudo: Pseudo): Uint8Array {
  const { type = 128, code = 0, id = 0, seq = 0 } = icmp;
  const word = icmp.word === undefined ? join(u16(id), u16(seq)) : u32(icmp.word);
  const message = join([type, code, 0, 0], word, data);
  message.set(u16(icmp.checksum ?? internetChecksum(pseudo(58, message.length), message)), 2);
  return message;
}

export function decodeIcmp6(
  message: Uint8Array,
  pseudo: Pseudo,
  problems: string[],
): { icmp6: All<Icmp6Spec>; payload: Uint8Array } {
  const words = view(message);
  const icmp6 = {
    type: message[0]!,
    code: message[1]!,
    id: words.getUint16(4),
    seq: words.getUint16(6),
    word: words.getUint32(4),
    checksum: words.getUint16(2),
  };
  if (internetChecksum(pseudo(58, message.length), message) !== 0) problems.push("ICMPv6 checksum");
  return { icmp6, payload: message.slice(8) };
}
