/** Bounds of the MTU that guests are told, in bytes. */
import { IPV6_MIN_MTU } from "../../wire/ipv6.ts";

export const MIN_MTU = 1500;
export const MAX_MTU = 65_520;
/** The smallest MTU with an uplink, whose tunnel takes a part of each packet. */
export const SMALLEST_MTU: number = IPV6_MIN_MTU;
/** Over UDP one frame is one datagram: at most 65507 bytes of payload, less the Ethernet header. */
export const MAX_DGRAM_MTU: number = 65_507 - 14;
