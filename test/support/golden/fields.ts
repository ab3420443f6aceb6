/** Frames and messages as flat fields of text. What differs by nature from run to run (identifiers, ISNs) is left out. */
import type { Frame } from "../frames.ts";
import { type Fields, NONE } from "./compare.ts";

const NOTHING: Fields = { answer: NONE };

/** Headers of a frame, and its payload in hexadecimal or, where it is long, by length. */
export function frameFields(frame: Frame | null, payload = true): Fields {
  if (frame === null) return NOTHING;
  const { eth, arp, ip, ip6, tcp, udp, icmp, icmp6, ndp, problems } = frame;
  const out: Record<string, string> = { "eth.src": eth.src, "eth.dst": eth.dst };
  if (problems.length > 0) out.problems = problems.join("; ");
  if (arp) put(out, "arp", arp);
  if (ip) put(out, "ip", { src: ip.src, dst: ip.dst, ttl: ip.ttl, df: ip.df });
  if (ip6) put(out, "ip6", { src: ip6.src, dst: ip6.dst, hopLimit: ip6.hopLimit });
  if (udp) put(out, "udp", { srcPort: udp.srcPort, dstPort: udp.dstPort });
  if (tcp)
    put(out, "tcp", {
      flags: tcp.flags,
      window: tcp.window,
      mss: tcp.options.mss ?? "absent",
      options: optionNames(tcp.options),
    });
  if (icmp) put(out, "icmp", { type: icmp.type, code: icmp.code });
  if (icmp6 && !ndp) put(out, "icmp6", { type: icmp6.type, code: icmp6.code });
  if (ndp) for (const [key, value] of Object.entries(ndp)) out[`ndp.${key}`] = JSON.stringify(value);
  if (payload && !arp && !ndp) {
    const bytes = Buffer.from(frame.payload);
    out.payload = bytes.length <= 32 ? bytes.toString("hex") : `${bytes.length} bytes`;
  }
  return out;
}

/** Which options there are; their values are numbers of the moment. */
function optionNames(options: object): string {
  return Object.keys(options).join(" ");
}

function put(out: Record<string, string>, prefix: string, fields: object): void {
  for (const [key, value] of Object.entries(fields)) out[`${prefix}.${key}`] = String(value);
}

/** A DHCP or BOOTP reply: headers, fixed fields, and each option in hexadecimal. */
export function dhcpFields(frame: Frame | null): Fields {
  if (frame === null) return NOTHING;
  const bytes = Buffer.from(frame.payload);
  const ip = (at: number): string => bytes.subarray(at, at + 4).join(".");
  const text = (at: number, length: number): string => bytes.toString("latin1", at, at + length).replace(/\0.*$/s, "");
  const out: Record<string, string> = {
    ...frameFields(frame, false),
    op: String(bytes[0]),
    flags: bytes.toString("hex", 10, 12),
    ciaddr: ip(12),
    yiaddr: ip(16),
    siaddr: ip(20),
    giaddr: ip(24),
    sname: text(44, 64),
    file: text(108, 128),
    cookie: bytes.toString("hex", 236, 240),
  };
  for (let at = 240; at < bytes.length && bytes[at] !== 255; ) {
    const code = bytes[at]!;
    const length = code === 0 ? -1 : bytes[at + 1]!;
    if (code !== 0) out[`option ${code}`] = optionText(code, bytes.subarray(at + 2, at + 2 + length));
    at += 2 + length;
  }
  return out;
}

function optionText(code: number, value: Buffer): string {
  if ([1, 3, 6, 28, 54].includes(code)) return value.join(".");
  if ([12, 15, 56, 66, 67].includes(code)) return JSON.stringify(value.toString("latin1"));
  return value.length <= 4 ? String(value.readUIntBE(0, value.length)) : value.toString("hex");
}

/** A DNS answer: headers, flags, counts, and everything behind the header. */
export function dnsFields(frame: Frame | null): Fields {
  if (frame === null) return NOTHING;
  return { ...frameFields(frame, false), ...dnsMessageFields(frame.payload) };
}

export function dnsMessageFields(message: Uint8Array): Fields {
  const bytes = Buffer.from(message);
  if (bytes.length < 12) return { answer: `${bytes.length} bytes` };
  const counts = [4, 6, 8, 10].map((at) => bytes.readUInt16BE(at)).join(" ");
  const rest = bytes.subarray(12);
  return {
    "dns.flags": bytes.toString("hex", 2, 4),
    "dns.counts": counts,
    "dns.rest": rest.length <= 100 ? rest.toString("hex") : `${rest.length} bytes`,
  };
}
