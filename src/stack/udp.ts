/** UDP from guests, of either family: passes it to the DNS server or through the NAT, or refuses it. */
import { addressAt } from "../core/address.ts";
import { DATAGRAM_MTU, headersOf } from "../nat/egress.ts";
import { NO_PORT, PROHIBITED } from "../nat/icmp/icmp-cause.ts";
import type { Neighbour } from "../proto/neighbours.ts";
import { get16 } from "../wire/bytes.ts";
import { ETH_HEADER } from "../wire/ethernet.ts";
import { PROTO_UDP } from "../wire/ipv4.ts";
import { TFTP_HEADER, TFTP_PORT } from "../wire/tftp.ts";
import { UDP_HEADER, udpCheck, udpDst, udpLength, udpSrc } from "../wire/udp.ts";
import type { Lan } from "./lan.ts";

const DNS_PORT = 53;

/**
 * A datagram of at most `len` bytes at `at`, to the address at `dstAt` of the packet at `ip`. `pseudo` is the sum of
 * both addresses. `hops` is the rest of the packet's hop limit; `df`: it arrived whole and may not be fragmented.
 */
export function receiveUdp(
  lan: Lan,
  guest: Neighbour,
  buf: Uint8Array,
  ip: number,
  dstAt: number,
  at: number,
  len: number,
  pseudo: number,
  hops: number,
  df: boolean,
  now: number,
): void {
  // IPv6 datagrams must have a checksum (RFC 8200 section 8.1); in IPv4 zero means none.
  const bare = guest.family === 6 && len >= UDP_HEADER && get16(buf, at + 6) === 0;
  if (len < UDP_HEADER || bare || !udpCheck(buf, at, len, pseudo + PROTO_UDP + udpLength(buf, at)))
    return lan.trace.drop("udp-malformed");
  const srcPort = udpSrc(buf, at);
  const dstPort = udpDst(buf, at);
  const body = at + UDP_HEADER;
  const size = udpLength(buf, at) - UDP_HEADER;
  const { policy } = lan;
  const gateway = policy.gatewayFor(guest.family);
  if (dstPort === TFTP_PORT && lan.tftp !== null && gateway.at(buf, dstAt)) {
    const most =
      Math.min(DATAGRAM_MTU, lan.config.mtu) - (headersOf(guest.family) - ETH_HEADER) - UDP_HEADER - TFTP_HEADER;
    return lan.tftp.receive(guest, srcPort, buf, body, size, most, now);
  }
  if (lan.services.hasUdp(dstPort)) {
    const service = lan.services.udp({ host: addressAt(guest.family, buf, dstAt).text, port: dstPort });
    if (service !== null) return service(buf, body, size, { host: guest.address.text, port: srcPort });
  }
  const dns = guest.family === 4 ? policy.dns : policy.dns6;
  if (dns.at(buf, dstAt)) {
    if (dstPort !== DNS_PORT) return lan.errors.about(guest, dns, NO_PORT, buf, ip, PROTO_UDP, at, len);
    const respond = (answer: Uint8Array): void => {
      lan.egress.udp(guest, dns, DNS_PORT, srcPort, answer, 0, answer.length);
      lan.flush();
    };
    return lan.dns.queryUdp(buf, body, size, respond, { host: guest.address.text, port: srcPort });
  }
  // The host behind the gateway's address is no hop further away.
  if (lan.udp.receive(guest, srcPort, dstAt, dstPort, buf, body, size, Math.max(hops - 1, 1), df)) return;
  lan.trace.drop("policy");
  lan.errors.about(guest, gateway, PROHIBITED, buf, ip, PROTO_UDP, at, len);
}
