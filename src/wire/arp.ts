import { get16, get32, put16, put32 } from "./bytes.ts";

/** ARP for IPv4 over Ethernet (RFC 826): 28 bytes after the Ethernet header. */
export const ARP_LENGTH = 28;
export const ARP_REQUEST = 1;
export const ARP_REPLY = 2;

/** Whether `len` bytes hold an Ethernet/IPv4 ARP request or reply of 28 bytes. */
export function arpCheck(buf: Uint8Array, at: number, len: number): boolean {
  if (len < ARP_LENGTH) return false;
  const op = arpOp(buf, at);
  return (
    get16(buf, at) === 1 &&
    get16(buf, at + 2) === 0x0800 &&
    buf[at + 4] === 6 &&
    buf[at + 5] === 4 &&
    (op === ARP_REQUEST || op === ARP_REPLY)
  );
}

export function arpOp(buf: Uint8Array, at: number): number {
  return get16(buf, at + 6);
}

/** Where the sender's hardware address stands. */
export const ARP_SENDER_MAC = 8;

export function arpSenderIp(buf: Uint8Array, at: number): number {
  return get32(buf, at + 14);
}

export function arpTargetIp(buf: Uint8Array, at: number): number {
  return get32(buf, at + 24);
}

export function arpWrite(
  buf: Uint8Array,
  at: number,
  op: number,
  senderMac: Uint8Array,
  senderIp: number,
  targetMac: Uint8Array,
  targetIp: number,
): number {
  put16(buf, at, 1);
  put16(buf, at + 2, 0x0800);
  buf[at + 4] = 6;
  buf[at + 5] = 4;
  put16(buf, at + 6, op);
  for (let i = 0; i < 6; i++) {
    buf[at + 8 + i] = senderMac[i]!;
    buf[at + 18 + i] = targetMac[i]!;
  }
  put32(buf, at + 14, senderIp);
  put32(buf, at + 24, targetIp);
  return at + ARP_LENGTH;
}
