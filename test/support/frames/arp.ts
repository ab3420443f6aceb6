import { type All, ip4, ip4Text, join, mac, macText, u16, view } from "./bytes.ts";

export interface ArpSpec {
  readonly op?: "request" | "reply";
  readonly senderMac?: string;
  readonly senderIp?: string;
  readonly targetMac?: string;
  readonly targetIp?: string;
}

export function encodeArp(arp: ArpSpec): Uint8Array {
  const { op = "request", senderMac = "52:54:00:12:34:56", senderIp = "10.0.2.15" } = arp;
  const target = join(mac(arp.targetMac ?? "00:00:00:00:00:00"), ip4(arp.targetIp ?? "10.0.2.2"));
  return join([0, 1, 8, 0, 6, 4], u16(op === "request" ? 1 : 2), mac(senderMac), ip4(senderIp), target);
}

/** ARP behind the Ethernet header, 28 bytes. */
export function decodeArp(bytes: Uint8Array): All<ArpSpec> {
  return {
    op: view(bytes).getUint16(6) === 1 ? "request" : "reply",
    senderMac: macText(bytes, 8),
    senderIp: ip4Text(bytes, 14),
    targetMac: macText(bytes, 18),
    targetIp: ip4Text(bytes, 24),
  };
}
