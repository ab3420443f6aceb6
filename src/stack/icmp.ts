/** ICMP from guests, of either family: echo requests to us and to far ends, and errors about packets that we sent. */

import { guestError } from "../nat/icmp/guest-errors.ts";
import { PROHIBITED } from "../nat/icmp/icmp-cause.ts";
import type { Neighbour } from "../proto/neighbours.ts";
import { get32 } from "../wire/bytes.ts";
import { ICMP_ECHO, ICMP_ECHO_REPLY, ICMP_HEADER } from "../wire/icmp.ts";
import { ICMP6_ECHO, ICMP6_ECHO_REPLY } from "../wire/icmp6.ts";
import { PROTO_ICMP } from "../wire/ipv4.ts";
import { PROTO_ICMP6 } from "../wire/ipv6.ts";
import type { Lan } from "./lan.ts";

/**
 * A message of `len` bytes at `at`, whose checksum is right, to the address at `dstAt` of the packet at `ip`, which has
 * `hops` left. `df`: it arrived whole and may not be fragmented.
 */
export function receiveIcmp(
  lan: Lan,
  guest: Neighbour,
  buf: Uint8Array,
  ip: number,
  dstAt: number,
  at: number,
  len: number,
  hops: number,
  df: boolean,
  now: number,
): void {
  const v4 = guest.family === 4;
  const type = buf[at]!;
  if (type !== (v4 ? ICMP_ECHO : ICMP6_ECHO)) {
    if (!guestError(guest, buf, at, len, lan.flows)) lan.trace.drop("icmp-type");
    return;
  }
  const ours = lan.policy.oursAt(guest.family, buf, dstAt);
  if (ours !== null) {
    const reply = v4 ? ICMP_ECHO_REPLY : ICMP6_ECHO_REPLY;
    lan.egress.icmp(guest, ours, reply, 0, get32(buf, at + 4), buf, at + ICMP_HEADER, len - ICMP_HEADER);
    return;
  }
  if (lan.icmp.receive(guest, dstAt, buf, at, len, hops - 1, df, now)) return;
  lan.trace.drop("policy");
  const gateway = lan.policy.gatewayFor(guest.family);
  lan.errors.about(guest, gateway, PROHIBITED, buf, ip, v4 ? PROTO_ICMP : PROTO_ICMP6, at, len);
}
