/**
 * Decides which frames' payload may stay unread: a large segment, the next in the order of an established connection.
 */
import type { Link } from "../core/link.ts";
import { ETH_HEADER, ETH_IPV4, ETH_IPV6, ethType, macEquals } from "../wire/ethernet.ts";
import {
  IPV4_HEADER,
  ipv4Check,
  ipv4HeaderLength,
  ipv4IsFragment,
  ipv4Proto,
  ipv4Src,
  ipv4TotalLength,
  PROTO_TCP,
} from "../wire/ipv4.ts";
import { IPV6_HEADER, ipv6Check, ipv6Dst, ipv6NextHeader, ipv6PayloadLength, ipv6Src } from "../wire/ipv6.ts";
import { TCP_HEADER, tcpHeaderLength } from "../wire/tcp.ts";
import type { Lan } from "./lan.ts";

/** Offset of the destination in an IPv4 header. */
const DST = 16;

/**
 * Whether the frame of `len` bytes at `at`, whose first `head` bytes are there and whose checksum is undone, is such a
 * segment. In any case of doubt it is not: the frame then comes whole, and is checked as any other.
 */
export function leavesPayload(lan: Lan, link: Link, buf: Uint8Array, at: number, head: number, len: number): boolean {
  const ip = at + ETH_HEADER;
  if (head < ETH_HEADER + IPV6_HEADER) return false;
  const v4 = ethType(buf, at) === ETH_IPV4;
  if (!v4 && ethType(buf, at) !== ETH_IPV6) return false;
  const tcp = ip + (v4 ? ipv4HeaderLength(buf, ip) : IPV6_HEADER);
  if (tcp < ip + IPV4_HEADER || tcp + TCP_HEADER > at + head) return false;
  const header = tcpHeaderLength(buf, tcp);
  if (header < TCP_HEADER || tcp + header > at + head) return false;
  if (v4) {
    if (!lan.config.ipv4 || !ipv4Check(buf, ip, len - ETH_HEADER)) return false;
    if (ipv4IsFragment(buf, ip) || ipv4Proto(buf, ip) !== PROTO_TCP) return false;
  } else if (!lan.config.ipv6 || !ipv6Check(buf, ip, len - ETH_HEADER) || ipv6NextHeader(buf, ip) !== PROTO_TCP)
    return false;
  const guest = v4 ? lan.neighbours.get(ipv4Src(buf, ip)) : lan.neighbours.get6(buf, ipv6Src(buf, ip));
  if (guest === null || guest.link !== link || !macEquals(buf, at + 6, guest.mac)) return false;
  const payload = (v4 ? ip + ipv4TotalLength(buf, ip) : tcp + ipv6PayloadLength(buf, ip)) - tcp - header;
  return lan.tcp.leavesPayload(guest, buf, v4 ? ip + DST : ipv6Dst(buf, ip), tcp, payload);
}
