/**
 * VXLAN (RFC 7348 section 5): eight bytes between the UDP header and the inner Ethernet frame, which has no FCS.
 *
 *     R R R R I R R R | reserved (24) | VNI (24) | reserved (8)
 */
import { get32, put32 } from "./bytes.ts";

export const VXLAN_HEADER = 8;
export const VXLAN_PORT = 4789;
export const VXLAN_MAX_VNI = 0xff_ffff;
/** The only flag: the VNI is valid. */
const FLAG_I = 0x08;
/** EtherTypes of tags (IEEE 802.1Q, 802.1ad). */
const TAG = 0x8100;
const SERVICE_TAG = 0x88a8;

/**
 * Whether the `len` bytes at `at` begin with a header that has a VNI. Reserved bits are ignored on receipt (section 5).
 */
export function vxlanCheck(buf: Uint8Array, at: number, len: number): boolean {
  return len >= VXLAN_HEADER && (buf[at]! & FLAG_I) !== 0;
}

export function vxlanVni(buf: Uint8Array, at: number): number {
  return get32(buf, at + 4) >>> 8;
}

/** Writes the header, its reserved bits zero; returns where the inner frame goes. */
export function vxlanWrite(buf: Uint8Array, at: number, vni: number): number {
  put32(buf, at, FLAG_I << 24);
  put32(buf, at + 4, vni << 8);
  return at + VXLAN_HEADER;
}

/** Whether the inner frame's EtherType is a VLAN tag: such a frame is neither sent nor accepted (section 6.1). */
export function vxlanTagged(type: number): boolean {
  return type === TAG || type === SERVICE_TAG;
}

/**
 * The largest inner IP packet, in bytes, that one unfragmented packet of `mtu` bytes carries. A VTEP does not fragment
 * (section 4.3).
 */
export function vxlanInnerMtu(mtu: number, family: 4 | 6): number {
  return mtu - (family === 4 ? 20 : 40) - 8 - VXLAN_HEADER - 14;
}
