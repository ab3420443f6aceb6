/**
 * Describes frames for people: one line as tcpdump writes it, and the headers field by field. It makes strings, so it
 * is not for the packet path. It takes unchecked bytes, and reads nothing beyond `len`.
 */
import { ARP_SENDER_MAC, arpOp, arpSenderIp, arpTargetIp } from "./arp.ts";
import { get16, get32 } from "./bytes.ts";
import { dnsCheck, dnsIsResponse, dnsQname, dnsQtype, dnsRcode } from "./dns.ts";
import { ETH_ARP, ETH_HEADER, ETH_IPV4, macToString } from "./ethernet.ts";
import { type FrameFacts, frameFacts, readFacts } from "./frame-facts.ts";
import {
  ipv4FragmentOffset,
  ipv4Id,
  ipv4MoreFragments,
  ipv4ToString,
  ipv4TotalLength,
  ipv4Ttl,
  PROTO_ICMP,
  PROTO_TCP,
} from "./ipv4.ts";
import { ipv6HopLimit, ipv6PayloadLength, ipv6ToString } from "./ipv6.ts";
import { TCP_HEADER, tcpAck, tcpFlags, tcpHeaderLength, tcpSeq, tcpWindow } from "./tcp.ts";
import { tcpOptions, tcpReadOptions } from "./tcp-options.ts";
import { UDP_HEADER, udpLength } from "./udp.ts";

const PROTO_ICMP6 = 58;
const FLAG_LETTERS: readonly [number, string][] = [
  [1, "F"],
  [2, "S"],
  [4, "R"],
  [8, "P"],
  [32, "U"],
  [16, "."],
];
const ICMP_NAMES: Readonly<Record<number, string>> = {
  0: "echo reply",
  3: "unreachable",
  8: "echo request",
  11: "time exceeded",
  12: "parameter problem",
};
const ICMP6_NAMES: Readonly<Record<number, string>> = {
  1: "unreachable",
  2: "too big",
  3: "time exceeded",
  4: "parameter problem",
  128: "echo request",
  129: "echo reply",
  133: "router solicitation",
  134: "router advertisement",
  135: "neighbour solicitation",
  136: "neighbour advertisement",
  143: "multicast listener report",
};

/** One header: its name and its fields. */
export interface PrintedLayer {
  readonly name: string;
  readonly fields: readonly (readonly [label: string, value: string])[];
}

export interface PrintedFrame {
  readonly summary: string;
  readonly layers: readonly PrintedLayer[];
}

/** Describes the frame of `len` bytes at `at`. */
export function printFrame(buf: Uint8Array, at: number, len: number): PrintedFrame {
  const facts = frameFacts();
  readFacts(facts, buf, at, len);
  if (facts.ethType < 0) return { summary: `short frame, ${len} bytes`, layers: [] };
  const layers: PrintedLayer[] = [ethernet(buf, at, facts.ethType)];
  const summary =
    facts.src < 0 ? `ethertype 0x${facts.ethType.toString(16)}, ${len} bytes` : packet(facts, at + len, layers);
  return { summary, layers };
}

function ethernet(buf: Uint8Array, at: number, type: number): PrintedLayer {
  return {
    name: "Ethernet",
    fields: [
      ["source", macToString(buf, at + 6)],
      ["destination", macToString(buf, at)],
      ["type", `0x${type.toString(16).padStart(4, "0")}`],
    ],
  };
}

function packet(f: FrameFacts, end: number, layers: PrintedLayer[]): string {
  const { buf } = f;
  const at = f.eth + ETH_HEADER;
  if (f.ethType === ETH_ARP) return arp(buf, at, layers);
  const text =
    f.ethType === ETH_IPV4 ? (o: number) => ipv4ToString(get32(buf, o)) : (o: number) => ipv6ToString(buf, o);
  const [src, dst] = [text(f.src), text(f.dst)];
  let stop: number;
  if (f.ethType === ETH_IPV4) {
    const offset = ipv4FragmentOffset(buf, at);
    stop = Math.min(end, at + ipv4TotalLength(buf, at));
    layers.push({
      name: "IPv4",
      fields: [
        ["source", src],
        ["destination", dst],
        ["protocol", String(f.proto)],
        ["TTL", String(ipv4Ttl(buf, at))],
        ["identification", String(ipv4Id(buf, at))],
        ["length", String(ipv4TotalLength(buf, at))],
        ["fragment", `offset ${offset}${ipv4MoreFragments(buf, at) ? ", more follow" : ""}`],
      ],
    });
    if (offset > 0) return `IP ${src} > ${dst}: fragment at ${offset}`;
  } else {
    stop = Math.min(end, at + 40 + ipv6PayloadLength(buf, at));
    layers.push({
      name: "IPv6",
      fields: [
        ["source", src],
        ["destination", dst],
        ["protocol", String(f.proto)],
        ["hop limit", String(ipv6HopLimit(buf, at))],
        ["payload length", String(ipv6PayloadLength(buf, at))],
      ],
    });
  }
  const payload = f.payload;
  if (payload < 0 || payload >= stop) return `IP ${src} > ${dst}: protocol ${f.proto}`;
  if (f.srcPort >= 0) {
    const names = `IP ${src}.${f.srcPort} > ${dst}.${f.dstPort}:`;
    return f.proto === PROTO_TCP
      ? `${names} ${tcp(f, payload, stop, layers)}`
      : `${names} ${udp(f, payload, stop, layers)}`;
  }
  if (f.proto === PROTO_ICMP || f.proto === PROTO_ICMP6) return `IP ${src} > ${dst}: ${icmp(f, payload, stop, layers)}`;
  return `IP ${src} > ${dst}: protocol ${f.proto}, ${stop - payload} bytes`;
}

function arp(buf: Uint8Array, at: number, layers: PrintedLayer[]): string {
  const [sender, target] = [ipv4ToString(arpSenderIp(buf, at)), ipv4ToString(arpTargetIp(buf, at))];
  const mac = macToString(buf, at + ARP_SENDER_MAC);
  layers.push({
    name: "ARP",
    fields: [
      ["operation", String(arpOp(buf, at))],
      ["sender", `${sender} at ${mac}`],
      ["target", target],
    ],
  });
  return arpOp(buf, at) === 1 ? `ARP who has ${target}, tell ${sender}` : `ARP ${sender} is at ${mac}`;
}

function tcp({ buf, srcPort, dstPort }: FrameFacts, at: number, end: number, layers: PrintedLayer[]): string {
  if (at + TCP_HEADER > end) return "TCP, cut";
  const header = tcpHeaderLength(buf, at);
  const flags = FLAG_LETTERS.map(([bit, letter]) => ((tcpFlags(buf, at) & bit) === 0 ? "" : letter)).join("");
  const [seq, ack] = [tcpSeq(buf, at) >>> 0, tcpAck(buf, at) >>> 0];
  const payload = Math.max(0, end - at - header);
  const fields: [string, string][] = [
    ["ports", `${srcPort} > ${dstPort}`],
    ["flags", flags],
    ["sequence", String(seq)],
    ["acknowledgement", String(ack)],
    ["window", String(tcpWindow(buf, at))],
    ["payload", `${payload} bytes`],
  ];
  if (header > TCP_HEADER && at + header <= end) {
    const o = tcpOptions();
    tcpReadOptions(buf, at, o);
    if (o.mss > 0) fields.push(["MSS", String(o.mss)]);
    if (o.windowScale >= 0) fields.push(["window scale", String(o.windowScale)]);
    if (o.sackPermitted) fields.push(["SACK", "permitted"]);
    if (o.timestamps) fields.push(["timestamp", String(o.tsValue >>> 0)]);
  }
  layers.push({ name: "TCP", fields });
  return `Flags [${flags}], seq ${seq}, ack ${ack}, win ${tcpWindow(buf, at)}, length ${payload}`;
}

function udp({ buf, srcPort, dstPort }: FrameFacts, at: number, end: number, layers: PrintedLayer[]): string {
  if (at + UDP_HEADER > end) return "UDP, cut";
  const length = udpLength(buf, at);
  layers.push({
    name: "UDP",
    fields: [
      ["ports", `${srcPort} > ${dstPort}`],
      ["length", String(length)],
    ],
  });
  const body = at + UDP_HEADER;
  if ((srcPort === 53 || dstPort === 53) && dnsCheck(buf, body, end - body))
    return dns(buf.subarray(body, end), layers);
  return `UDP, length ${Math.max(0, length - UDP_HEADER)}`;
}

function dns(message: Uint8Array, layers: PrintedLayer[]): string {
  const name = dnsQname(message, 0);
  const answer = dnsIsResponse(message, 0);
  layers.push({
    name: "DNS",
    fields: [
      ["name", name],
      ["type", String(dnsQtype(message, 0))],
      ["answer", answer ? `rcode ${dnsRcode(message, 0)}` : "no, a query"],
    ],
  });
  return answer ? `DNS answer for ${name}, rcode ${dnsRcode(message, 0)}` : `DNS query for ${name}`;
}

function icmp({ buf, proto }: FrameFacts, at: number, end: number, layers: PrintedLayer[]): string {
  if (at + 8 > end) return "ICMP, cut";
  const [type, code] = [buf[at]!, buf[at + 1]!];
  const word = (proto === PROTO_ICMP ? ICMP_NAMES : ICMP6_NAMES)[type] ?? `type ${type}`;
  const echo = proto === PROTO_ICMP ? type === 0 || type === 8 : type === 128 || type === 129;
  const numbers = echo ? `, id ${get16(buf, at + 4)}, seq ${get16(buf, at + 6)}` : code > 0 ? `, code ${code}` : "";
  layers.push({
    name: proto === PROTO_ICMP ? "ICMP" : "ICMPv6",
    fields: [
      ["type", `${type} (${word})`],
      ["code", String(code)],
    ],
  });
  return `ICMP ${word}${numbers}, length ${end - at}`;
}
