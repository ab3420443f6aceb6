import { type All, internetChecksum, join, type Pseudo, u16, view } from "./bytes.ts";

export interface UdpSpec {
  readonly srcPort?: number;
  readonly dstPort?: number;
  readonly length?: number;
  readonly checksum?: number;
}

export function encodeUdp(udp: UdpSpec, data: Uint8Array, pseudo: Pseudo): Uint8Array {
  const { srcPort = 1000, dstPort = 7, length = 8 + data.length } = udp;
  const datagram = join(u16(srcPort), u16(dstPort), u16(length), [0, 0], data);
  const sum = internetChecksum(pseudo(17, datagram.length), datagram) || 0xffff;
  datagram.set(u16(udp.checksum ?? sum), 6);
  return datagram;
}

export function decodeUdp(
  datagram: Uint8Array,
  pseudo: Pseudo,
  problems: string[],
): { udp: All<UdpSpec>; payload: Uint8Array } {
  const words = view(datagram);
  const udp = {
    srcPort: words.getUint16(0),
    dstPort: words.getUint16(2),
    length: words.getUint16(4),
    checksum: words.getUint16(6),
  };
  if (udp.length !== datagram.length) problems.push(`UDP length ${udp.length}, datagram ${datagram.length}`);
  const right = udp.checksum !== 0 && internetChecksum(pseudo(17, datagram.length), datagram) === 0;
  if (!right) problems.push("UDP checksum");
  return { udp, payload: datagram.slice(8) };
}
