/** What the DHCPv4 server reads of a client's message (RFC 2131, RFC 2132). */
import { get16, get32 } from "../wire/bytes.ts";
import * as wire from "../wire/dhcp.ts";
import { macToString } from "../wire/ethernet.ts";
import type { DhcpClient } from "./dhcp-leases.ts";
import { guestLabel } from "./host-name.ts";

const ANY_ADDRESS = 0;

/** The fields of a checked message, read once. */
export class DhcpMessage {
  readonly buf: Uint8Array;
  readonly at: number;
  /** Option 53; 0 for BOOTP, -1 if the option is malformed. */
  readonly type: number;
  readonly ciaddr: number;
  readonly requestedIp: number;
  readonly serverId: number | null;
  readonly maxDatagram: number;
  readonly parameters: ReadonlySet<number>;
  /** Option 61 as it was sent. */
  readonly id: Uint8Array | null;
  readonly client: DhcpClient;
  readonly hostname: string | null;
  readonly httpBoot: boolean;

  constructor(buf: Uint8Array, at: number, len: number) {
    const option = (code: number): Uint8Array | null => wire.dhcpOption(buf, at, len, code);
    const fixed = (code: number, size: number): Uint8Array | null => {
      const value = option(code);
      return value !== null && value.length === size ? value : null;
    };
    this.buf = buf;
    this.at = at;
    const type = option(wire.OPT_MESSAGE_TYPE);
    this.type = type === null ? 0 : type.length === 1 && type[0] !== 0 ? type[0]! : -1;
    this.ciaddr = wire.dhcpCiaddr(buf, at);
    const requestedIp = fixed(wire.OPT_REQUESTED_IP, 4);
    this.requestedIp = requestedIp === null ? ANY_ADDRESS : get32(requestedIp, 0);
    const serverId = fixed(wire.OPT_SERVER_ID, 4);
    this.serverId = serverId === null ? null : get32(serverId, 0);
    const maxDatagram = fixed(wire.OPT_MAX_SIZE, 2);
    this.maxDatagram = maxDatagram === null ? 0 : get16(maxDatagram, 0);
    this.parameters = new Set(option(wire.OPT_PARAMETER_LIST));
    const id = option(wire.OPT_CLIENT_ID);
    this.id = id !== null && id.length > 0 ? id : null;
    this.client = dhcpClient(buf, at + wire.DHCP_CHADDR, this.id);
    const hostname = option(wire.OPT_HOST_NAME);
    this.hostname = hostname === null ? null : guestLabel(hostname);
    const vendorClass = option(wire.OPT_VENDOR_CLASS);
    this.httpBoot = vendorClass !== null && latin1(vendorClass, 10) === "HTTPClient";
  }
}

/** An identifier that merely repeats the MAC (type 1) names the same client as none at all. */
function dhcpClient(buf: Uint8Array, chaddr: number, id: Uint8Array | null): DhcpClient {
  const mac = macToString(buf, chaddr);
  // An identifier has at least two bytes (RFC 2132 section 9.14).
  if (id === null || id.length < 2 || id.length > 255) return { mac, id: null };
  let hex = "";
  for (const byte of id) hex += byte.toString(16).padStart(2, "0");
  return { mac, id: hex === `01${mac.replaceAll(":", "")}` ? null : hex };
}

function latin1(bytes: Uint8Array, limit: number): string {
  return String.fromCharCode(...bytes.subarray(0, limit));
}
