/** Reading the headers of a full frame: all that the stack reads of IPv4 and TCP, without the payload's checksum. */
import { ETH_HEADER, ETH_IPV4, ethType } from "../src/wire/ethernet.ts";
import { ipv4Check, ipv4Dst, ipv4HeaderLength, ipv4Proto, ipv4Src, ipv4TotalLength } from "../src/wire/ipv4.ts";
import { tcpAck, tcpDst, tcpFlags, tcpHeaderLength, tcpSeq, tcpSrc, tcpWindow } from "../src/wire/tcp.ts";
import { type Case, same } from "./case.ts";
import { FRAME, segment } from "./guest.ts";

const FRAMES = 16;
const SRC = 0x0a00020f;
const DST = 0xc6336401 | 0;

export function headerCases(): Case[] {
  const frames = Array.from({ length: FRAMES }, (_, k) =>
    segment(
      { srcPort: 1_000 + k, dstPort: 80, seq: 7 * k, ack: 9 * k, flags: "ACK", window: 512 + k },
      new Uint8Array(1_460),
    ),
  );
  let want = 0;
  for (let k = 0; k < FRAMES; k++)
    want += ETH_IPV4 + SRC + DST + 6 + 1_500 + 1_000 + k + 80 + 7 * k + 9 * k + 20 + 16 + 512 + k;
  let seen = 0;
  return [
    {
      suite: "headers",
      name: `IPv4 and TCP of a frame of ${FRAME} bytes`,
      per: FRAMES,
      bytes: 0,
      call() {
        for (let k = 0; k < FRAMES; k++) seen += read(frames[k]!);
      },
      check: (calls) => same("headers", seen, calls * want),
    },
  ];
}

function read(buf: Uint8Array): number {
  const ip = ETH_HEADER;
  if (!ipv4Check(buf, ip, buf.length - ip)) return -1;
  const tcp = ip + ipv4HeaderLength(buf, ip);
  const total = ipv4TotalLength(buf, ip);
  const addresses = ipv4Src(buf, ip) + ipv4Dst(buf, ip) + ipv4Proto(buf, ip);
  const ports = tcpSrc(buf, tcp) + tcpDst(buf, tcp);
  const numbers = tcpSeq(buf, tcp) + tcpAck(buf, tcp);
  const rest = tcpHeaderLength(buf, tcp) + tcpFlags(buf, tcp) + tcpWindow(buf, tcp);
  return ethType(buf, 0) + addresses + total + ports + numbers + rest;
}
