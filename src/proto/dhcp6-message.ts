/** The fields of a DHCPv6 client's message, read once; see `dhcp6.ts`. */
import { get32 } from "../wire/bytes.ts";
import * as wire from "../wire/dhcp6.ts";
import type { Association } from "./dhcp6-leases.ts";

/**
 * How many associations of a message, and addresses of one, are answered: more are useless on a network with one
 * prefix.
 */
const MOST_ASSOCIATIONS = 4;
const MOST_ADDRESSES = 4;
/** Offset of the first text in a vendor class (RFC 8415 section 21.16), behind enterprise number and length. */
const VENDOR_CLASS = 6;
const HTTP_CLIENT = "HTTPClient";

/** An IA_NA of a message. */
export interface Requested {
  readonly client: Association;
  readonly addresses: readonly Uint8Array[];
}

const NOTHING = new Uint8Array(0);
/** Options that are associations of any kind. */
export const ASSOCIATIONS: ReadonlySet<number> = new Set([wire.OPT6_IA_NA, wire.OPT6_IA_TA, wire.OPT6_IA_PD]);

export class Dhcp6Message {
  readonly type: number;
  readonly xid: number;
  readonly options: readonly wire.Dhcp6Option[];
  readonly clientId: Uint8Array | null;
  readonly serverId: Uint8Array | null;
  readonly asked: ReadonlySet<number>;
  readonly associations: readonly Requested[];
  /** Answers to associations that we have nothing for: temporary addresses and prefixes. */
  readonly refused: readonly wire.Dhcp6Option[];
  /** The vendor class for the answer to UEFI's HTTP boot; null for other clients. */
  readonly httpBoot: wire.Dhcp6Option | null;

  constructor(type: number, xid: number, options: readonly wire.Dhcp6Option[], mac: string) {
    this.type = type;
    this.xid = xid;
    this.options = options;
    this.clientId = wire.dhcp6Find(options, wire.OPT6_CLIENT_ID);
    this.serverId = wire.dhcp6Find(options, wire.OPT6_SERVER_ID);
    this.asked = wire.dhcp6RequestedCodes(options);
    const duid = hex(this.clientId ?? NOTHING);
    const associations: Requested[] = [];
    const refused: wire.Dhcp6Option[] = [];
    for (const { code, data } of options) {
      if (associations.length + refused.length >= MOST_ASSOCIATIONS) break;
      if (code === wire.OPT6_IA_NA) {
        const ia = wire.dhcp6Ia(data);
        if (ia === null || associations.some((other) => other.client.iaid === ia.iaid)) continue;
        associations.push({ client: { mac, duid, iaid: ia.iaid }, addresses: addressesOf(ia) });
      } else if (code === wire.OPT6_IA_TA && data.length >= 4) {
        const status = wire.dhcp6StatusOption(wire.STATUS6_NO_ADDRS, "no temporary addresses");
        refused.push(wire.dhcp6IaOption(code, get32(data, 0), 0, 0, [status]));
      } else if (code === wire.OPT6_IA_PD && data.length >= 12) {
        const status = wire.dhcp6StatusOption(wire.STATUS6_NO_PREFIX, "no prefixes");
        refused.push(wire.dhcp6IaOption(code, get32(data, 0), 0, 0, [status]));
      }
    }
    this.associations = associations;
    this.refused = refused;
    this.httpBoot = httpBootClass(wire.dhcp6Find(options, wire.OPT6_VENDOR_CLASS));
  }
}

function addressesOf(ia: wire.Dhcp6Ia): Uint8Array[] {
  const list: Uint8Array[] = [];
  for (const { code, data } of ia.options) {
    const address = code === wire.OPT6_IA_ADDR && list.length < MOST_ADDRESSES ? wire.dhcp6IaAddr(data) : null;
    if (address !== null) list.push(address);
  }
  return list;
}

/** The class that answers "HTTPClient:Arch:…", under the same enterprise number. */
function httpBootClass(data: Uint8Array | null): wire.Dhcp6Option | null {
  if (data === null || data.length < VENDOR_CLASS + HTTP_CLIENT.length) return null;
  if (!same(data.subarray(VENDOR_CLASS, VENDOR_CLASS + HTTP_CLIENT.length), ascii(HTTP_CLIENT))) return null;
  const answer = data.slice(0, VENDOR_CLASS + HTTP_CLIENT.length);
  answer[4] = 0;
  answer[5] = HTTP_CLIENT.length;
  return { code: wire.OPT6_VENDOR_CLASS, data: answer };
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Whether two arrays have the same bytes. */
export function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

export function ascii(text: string): Uint8Array {
  return Uint8Array.from(text, (c) => c.charCodeAt(0));
}
