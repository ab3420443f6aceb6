/**
 * The LAN's guard against a reader of frames that is written another way: as Linux reads them (net/core/dev.c,
 * net/ipv4/arp.c, net/ipv6/ndisc.c), lenient where that is. What the guard passes must not tell a Linux guest anything
 * that the sender may not say.
 */
import { LanGuard } from "../../src/attach/guard.ts";
import { ipv4FromText } from "../../src/core/address.ts";
import type { Link } from "../../src/core/link.ts";
import { macNumber } from "../../src/wire/ethernet.ts";
import { ipv6FromText, ipv6SamePrefix } from "../../src/wire/ipv6.ts";
import { encodeFrame, type FrameSpec } from "../support/frames.ts";

const NET = ipv4FromText("10.0.2.0");
const OURS = [2, 3].map((last) => NET + last);
const VICTIM = NET + 15;
const NET6 = ipv6FromText("fec0::");
const OURS6 = ["fec0::2", "fec0::3", "fe80::2"].map(ipv6FromText);
const VICTIM6 = ipv6FromText("fec0::15");
const VICTIMS_MAC = 0x52_54_00_00_00_01;
const LINK = { name: "hostile" } as Link;

const at6 = (address: Uint8Array, buf: Uint8Array, at: number): boolean =>
  address.every((byte, i) => buf[at + i] === byte);
const isGuest = (ip: number): boolean => (ip & -256) === NET && ip !== NET && ip !== NET + 255 && !OURS.includes(ip);
const isGuest6 = (buf: Uint8Array, at: number): boolean =>
  (ipv6SamePrefix(buf, at, NET6, 0, 64) || (buf[at] === 0xfe && (buf[at + 1]! & 0xc0) === 0x80)) &&
  !OURS6.some((ours) => at6(ours, buf, at));

const guard = new LanGuard({
  isOurs: (ip) => OURS.includes(ip),
  isOurs6: (buf, at) => OURS6.some((ours) => at6(ours, buf, at)),
  isGuest,
  isGuest6,
  isOthers: (_link, ip, buf, mac) => ip === VICTIM && macNumber(buf, mac) !== VICTIMS_MAC,
  isOthers6: (_link, buf, at, mac) => at6(VICTIM6, buf, at) && macNumber(buf, mac) !== VICTIMS_MAC,
  isPromised: () => false,
  isPromised6: () => false,
});

/** A frame of a guest that is not the victim. */
export function lanGuard(input: Uint8Array): void {
  if (input.length < 14 || macNumber(input, 6) === VICTIMS_MAC) return;
  if (!guard.allows(LINK, input, 0, input.length)) return;
  const lie = lieToLinux(input);
  if (lie !== null) throw new Error(`passed: ${lie}`);
}

/** What a Linux guest would believe of a frame that the sender may not say; null for nothing. */
function lieToLinux(frame: Uint8Array): string | null {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const short = (at: number): number => (at + 2 <= frame.length ? view.getUint16(at) : -1);
  let at = 12;
  while (short(at) === 0x8100 || short(at) === 0x88a8) at += 4;
  const type = short(at);
  const packet = at + 2;
  const len = frame.length - packet;
  const speaks = (ip: number): boolean => isGuest(ip) && ip !== VICTIM;
  const speaks6 = (where: number): boolean => isGuest6(frame, where) && !at6(VICTIM6, frame, where);
  if (type === 0x0806) {
    const fits = len >= 28 && short(packet + 2) === 0x0800 && frame[packet + 4] === 6 && frame[packet + 5] === 4;
    const hardware = short(packet);
    const op = short(packet + 6);
    if (!fits || (hardware !== 1 && hardware !== 6) || (op !== 1 && op !== 2)) return null;
    const sender = view.getInt32(packet + 14);
    if (sender === 0 && op === 1) return null;
    return speaks(sender) ? null : "ARP from an address that is not its own";
  }
  if (type === 0x0800) {
    if (len < 20 || frame[packet]! >> 4 !== 4) return null;
    const header = (frame[packet]! & 15) * 4;
    const total = short(packet + 2);
    if (header < 20 || total < header || total > len) return null;
    const src = view.getInt32(packet + 12);
    const [proto, offset, body] = [frame[packet + 9], short(packet + 6) & 0x1fff, packet + header];
    // No datagram: dropped.
    if (proto === 17 && offset === 0 && total < header + 8) return null;
    const port = proto === 17 && offset === 0 ? short(body + 2) : -1;
    if (port === 68) return "a DHCP server's answer";
    if (proto === 1 && offset === 0 && total >= header + 8 && (frame[body] === 5 || frame[body] === 9))
      return "an ICMP redirect or router";
    if (src === 0) return port === 67 || proto === 2 ? null : "a packet from nobody";
    return speaks(src) ? null : "IPv4 from an address that is not its own";
  }
  if (type !== 0x86dd) return null;
  if (len < 40 || frame[packet]! >> 4 !== 6 || short(packet + 4) > len - 40) return null;
  const end = packet + 40 + short(packet + 4);
  const nameless = frame.subarray(packet + 8, packet + 24).every((byte) => byte === 0);
  if (!nameless && !speaks6(packet + 8)) return "IPv6 from an address that is not its own";
  let next = frame[packet + 6]!;
  let where = packet + 40;
  for (;;) {
    if (where + 8 > end) return null;
    if (next === 17) return short(where + 2) === 546 ? "a DHCPv6 server's answer" : null;
    if (next === 58) {
      const kind = frame[where];
      if (kind === 134 || kind === 137) return "a router advertisement or redirect";
      return kind === 136 && where + 24 <= end && !speaks6(where + 8) ? "a neighbour that it is not" : null;
    }
    if (next === 44 && (short(where + 2) & 0xfff8) !== 0) return null;
    if (next !== 0 && next !== 43 && next !== 44 && next !== 51 && next !== 60) return null;
    const length = frame[where + 1]!;
    const size = next === 44 ? 8 : next === 51 ? (length + 2) * 4 : (length + 1) * 8;
    next = frame[where]!;
    where += size;
  }
}

/** Lies and honest frames, plain and in tags. */
export function lanGuardSeeds(): Uint8Array[] {
  const eth = { src: "52:54:00:00:00:66", dst: "ff:ff:ff:ff:ff:ff" };
  const senderMac = eth.src;
  const specs: FrameSpec[] = [
    ...["10.0.2.2", "10.0.2.15", "10.0.2.66"].map((senderIp) => ({
      eth,
      arp: { op: "reply" as const, senderMac, senderIp, targetIp: "10.0.2.16" },
    })),
    ...["10.0.2.66", "8.8.8.8", "0.0.0.0"].flatMap((src) =>
      [67, 68, 9].map((dstPort) => ({ eth, ip: { src, dst: "10.0.2.15" }, udp: { srcPort: 1067, dstPort } })),
    ),
    { eth, ip6: { src: "fe80::66", dst: "ff02::1" }, ndp: { kind: "ra" } },
    {
      eth,
      ip6: { src: "fe80::66", dst: "ff02::1" },
      ndp: { kind: "na", target: "fec0::66", options: { targetMac: senderMac } },
    },
    { eth, ip6: { src: "fec0::66", dst: "ff02::1" }, udp: { srcPort: 9, dstPort: 546 } },
  ];
  return specs.flatMap((spec) => {
    const frame = encodeFrame(spec);
    const tag = (...tags: number[]) => Uint8Array.of(...frame.subarray(0, 12), ...tags, ...frame.subarray(12));
    const seeds = [frame, tag(0x81, 0, 0, 0), tag(0x88, 0xa8, 0, 0, 0x81, 0, 0, 0)];
    if (spec.ip6 === undefined) return seeds;
    const behind = (next: number, ...header: number[]) => {
      const long = Uint8Array.of(...frame.subarray(0, 54), frame[20]!, ...header, ...frame.subarray(54));
      long[20] = next;
      long[19] = frame[19]! + header.length + 1;
      return long;
    };
    return [...seeds, behind(0, 0, 0, 0, 0, 0, 0, 0), behind(44, 0, 0, 0, 0, 0, 0, 1), behind(51, 0, 0, 0, 0, 0, 0, 0)];
  });
}
