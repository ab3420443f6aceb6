/** The names of DNS types and response codes (IANA's registry), for people. */
const TYPES: Readonly<Record<number, string>> = {
  ...{ 1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV", 35: "NAPTR" },
  ...{ 43: "DS", 46: "RRSIG", 48: "DNSKEY", 52: "TLSA", 64: "SVCB", 65: "HTTPS", 251: "IXFR", 252: "AXFR", 255: "ANY" },
};
const CODES: readonly string[] = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];

/** "AAAA"; a type without a name here is "TYPE65280" (RFC 3597 section 5). */
export function dnsTypeName(type: number): string {
  return TYPES[type] ?? `TYPE${type}`;
}

/** "NXDOMAIN"; a code without a name here is its number. */
export function dnsCodeName(code: number): string {
  return CODES[code] ?? String(code);
}
