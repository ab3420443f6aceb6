/** The causes of ICMP errors, as each family writes them (RFC 792, RFC 4443). */
import type { Family } from "../../core/address.ts";
import type { HostIcmpError } from "../../core/host-net.ts";
import {
  ICMP_PARAMETER_PROBLEM,
  ICMP_TIME_EXCEEDED,
  ICMP_UNREACHABLE,
  UNREACHABLE_HOST,
  UNREACHABLE_NET,
  UNREACHABLE_PORT,
  UNREACHABLE_PROHIBITED,
  UNREACHABLE_PROTOCOL,
  UNREACHABLE_TOO_BIG,
} from "../../wire/icmp.ts";
import {
  EXCEEDED6_HOPS,
  EXCEEDED6_REASSEMBLY,
  ICMP6_PARAMETER_PROBLEM,
  ICMP6_TIME_EXCEEDED,
  ICMP6_TOO_BIG,
  ICMP6_UNREACHABLE,
  UNREACHABLE6_ADDRESS,
  UNREACHABLE6_NO_ROUTE,
  UNREACHABLE6_PORT,
  UNREACHABLE6_PROHIBITED,
  UNREACHABLE6_SCOPE,
} from "../../wire/icmp6.ts";

/** A cause's type and code in each family. */
export interface IcmpCause {
  readonly v4: readonly [type: number, code: number];
  readonly v6: readonly [type: number, code: number];
}
export const NO_PORT: IcmpCause = {
  v4: [ICMP_UNREACHABLE, UNREACHABLE_PORT],
  v6: [ICMP6_UNREACHABLE, UNREACHABLE6_PORT],
};
export const NO_HOST: IcmpCause = {
  v4: [ICMP_UNREACHABLE, UNREACHABLE_HOST],
  v6: [ICMP6_UNREACHABLE, UNREACHABLE6_ADDRESS],
};
export const NO_ROUTE: IcmpCause = {
  v4: [ICMP_UNREACHABLE, UNREACHABLE_NET],
  v6: [ICMP6_UNREACHABLE, UNREACHABLE6_NO_ROUTE],
};
export const PROHIBITED: IcmpCause = {
  v4: [ICMP_UNREACHABLE, UNREACHABLE_PROHIBITED],
  v6: [ICMP6_UNREACHABLE, UNREACHABLE6_PROHIBITED],
};
/** A protocol that nobody here speaks; in IPv6 it is a problem of the header that names it (`headerProblem`). */
export const NO_PROTOCOL: IcmpCause = {
  v4: [ICMP_UNREACHABLE, UNREACHABLE_PROTOCOL],
  v6: [ICMP6_PARAMETER_PROBLEM, 1],
};
export const TOO_BIG: IcmpCause = { v4: [ICMP_UNREACHABLE, UNREACHABLE_TOO_BIG], v6: [ICMP6_TOO_BIG, 0] };
export const EXPIRED: IcmpCause = { v4: [ICMP_TIME_EXCEEDED, 0], v6: [ICMP6_TIME_EXCEEDED, EXCEEDED6_HOPS] };
/** Fragments of a packet did not all arrive in time (RFC 792, RFC 4443 section 3.3). */
export const INCOMPLETE: IcmpCause = { v4: [ICMP_TIME_EXCEEDED, 1], v6: [ICMP6_TIME_EXCEEDED, EXCEEDED6_REASSEMBLY] };
/** A packet from a link-local address would have to leave the cable (RFC 4443 section 3.1); IPv6 only. */
export const BEYOND_SCOPE: IcmpCause = { v4: PROHIBITED.v4, v6: [ICMP6_UNREACHABLE, UNREACHABLE6_SCOPE] };

/**
 * A header that cannot be processed (RFC 792, RFC 4443 section 3.4). The error's `word` is the pointer into the header.
 */
export function headerProblem(code: number): IcmpCause {
  return { v4: [ICMP_PARAMETER_PROBLEM, 0], v6: [ICMP6_PARAMETER_PROBLEM, code] };
}

/** The causes of host errors that came without an ICMP packet. */
const BY_CODE: ReadonlyMap<string, IcmpCause> = new Map([
  ["ECONNREFUSED", NO_PORT],
  ["EHOSTUNREACH", NO_HOST],
  ["EHOSTDOWN", NO_HOST],
  ["ENETUNREACH", NO_ROUTE],
  ["ENETDOWN", NO_ROUTE],
  ["EADDRNOTAVAIL", NO_ROUTE],
  ["EAFNOSUPPORT", NO_ROUTE],
  ["EMSGSIZE", TOO_BIG],
  ["EACCES", PROHIBITED],
  ["EPERM", PROHIBITED],
]);
/** The types of ICMP errors that are passed on unchanged (RFC 792; RFC 4443 section 3). */
const PASSED4: readonly number[] = [ICMP_UNREACHABLE, ICMP_TIME_EXCEEDED, ICMP_PARAMETER_PROBLEM];
const PASSED6: readonly number[] = [ICMP6_UNREACHABLE, ICMP6_TOO_BIG, ICMP6_TIME_EXCEEDED, ICMP6_PARAMETER_PROBLEM];

/** Which ICMP error a host socket's error code becomes for the guest; null for none. */
export function icmpCauseOfCode(code: string): IcmpCause | null {
  return BY_CODE.get(code) ?? null;
}

/** Which ICMP error the guest is told when the host has received one; null for none. */
export function icmpCauseOf(error: HostIcmpError, family: Family): IcmpCause | null {
  if (error.type < 0) return icmpCauseOfCode(error.code);
  if (!(family === 4 ? PASSED4 : PASSED6).includes(error.type)) return null;
  const what: readonly [number, number] = [error.type, error.icmpCode];
  return { v4: what, v6: what };
}

/** Whether the cause means that nobody listens on the port. */
export function isNoPort(cause: IcmpCause, family: Family): boolean {
  const [type, code] = family === 4 ? cause.v4 : cause.v6;
  const [noType, noCode] = family === 4 ? NO_PORT.v4 : NO_PORT.v6;
  return type === noType && code === noCode;
}
