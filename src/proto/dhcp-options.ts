/**
 * The options of the DHCPv4 server's replies (RFC 2132): which there are, in what order, and which a small reply goes
 * without.
 */
import type { StackConfig } from "../core/config.ts";
import { put16, put32 } from "../wire/bytes.ts";
import * as wire from "../wire/dhcp.ts";
import type { DhcpMessage } from "./dhcp-message.ts";

/** Seconds. Renewal and rebinding times follow RFC 2131 section 4.4.5. */
export const LEASE_TIME = 86_400;
const RENEWAL_TIME = LEASE_TIME / 2;
const REBINDING_TIME = (LEASE_TIME / 8) * 7;

/** A client has no network without these options: they are sent first, and even if it did not ask for them. */
const ESSENTIAL: ReadonlySet<number> = new Set([
  wire.OPT_MESSAGE_TYPE,
  wire.OPT_SERVER_ID,
  wire.OPT_LEASE_TIME,
  wire.OPT_CLIENT_ID,
  wire.OPT_SUBNET_MASK,
  wire.OPT_ROUTER,
  wire.OPT_DNS,
  wire.OPT_RENEWAL_TIME,
  wire.OPT_REBINDING_TIME,
  wire.OPT_VENDOR_CLASS,
]);

/** What the options carry, in the form of packets: addresses as words, texts as bytes. */
export interface DhcpFacts {
  readonly host: number;
  readonly mask: number;
  readonly dns: number;
  readonly serverName: Uint8Array | null;
  readonly bootfile: Uint8Array | null;
}

export class DhcpOptions {
  readonly #host: number;
  /** Options for every client, the most important first. */
  readonly #offered: readonly wire.DhcpOption[];
  /** Options only for clients that ask for them. */
  readonly #onRequest: readonly wire.DhcpOption[];

  constructor(config: StackConfig, { host, mask, dns, serverName, bootfile }: DhcpFacts) {
    this.#host = host;
    const offered: wire.DhcpOption[] = [word(wire.OPT_SUBNET_MASK, mask)];
    if (!config.restrict) offered.push(word(wire.OPT_ROUTER, host), word(wire.OPT_DNS, dns));
    if (config.hostname !== null) offered.push({ code: wire.OPT_HOST_NAME, data: text(config.hostname) });
    if (config.domainname !== null) offered.push({ code: wire.OPT_DOMAIN_NAME, data: text(config.domainname) });
    if (serverName !== null) offered.push({ code: wire.OPT_TFTP_SERVER, data: serverName });
    offered.push({ code: wire.OPT_SEARCH_LIST, data: wire.dhcpSearchList(config.dnssearch) });
    this.#offered = offered.filter((option) => option.data.length > 0);

    // A client that did not ask for the MTU would neither expect nor send packets of that size.
    const mtu = new Uint8Array(2);
    put16(mtu, 0, config.mtu);
    const onRequest: wire.DhcpOption[] = [{ code: wire.OPT_MTU, data: mtu }];
    if (bootfile !== null) onRequest.push({ code: wire.OPT_BOOTFILE, data: bootfile });
    if (!config.restrict) {
      // A default route, because a client that asks for this option ignores option 3 when it gets it (RFC 3442).
      const routes = new Uint8Array(5);
      put32(routes, 1, host);
      onRequest.push({ code: wire.OPT_CLASSLESS_ROUTES, data: routes });
    }
    this.#onRequest = onRequest;
  }

  /**
   * A reply's options: ours, then the requested ones in the order of the request (RFC 2132 section 9.8), then the rest.
   */
  of(message: DhcpMessage, type: number, leased: boolean): wire.DhcpOption[] {
    const options = type === 0 ? [] : this.preamble(message, type);
    const rest = [...this.#offered];
    if (type !== 0 && leased) {
      options.push(word(wire.OPT_LEASE_TIME, LEASE_TIME));
      rest.unshift(word(wire.OPT_RENEWAL_TIME, RENEWAL_TIME), word(wire.OPT_REBINDING_TIME, REBINDING_TIME));
    }
    const asked = message.parameters;
    const httpBoot = message.httpBoot;
    // UEFI's HTTP boot ignores offers without this class, and wants the URI as an option (UEFI 2.10 section 24.7).
    if (httpBoot) options.push({ code: wire.OPT_VENDOR_CLASS, data: text("HTTPClient") });
    for (const option of this.#onRequest) {
      const unfit = option.code === wire.OPT_BOOTFILE && (httpBoot || option.data.length > wire.DHCP_FILE_MAX);
      if (unfit || asked.has(option.code)) rest.push(option);
    }
    for (const code of asked) {
      const index = rest.findIndex((option) => option.code === code);
      if (index >= 0) options.push(...rest.splice(index, 1));
    }
    options.push(...rest);
    return options;
  }

  /** Options at the start of every reply. The client identifier is returned as it was sent (RFC 6842). */
  preamble(message: DhcpMessage, type: number): wire.DhcpOption[] {
    const options = [{ code: wire.OPT_MESSAGE_TYPE, data: Uint8Array.of(type) }, word(wire.OPT_SERVER_ID, this.#host)];
    if (message.id !== null) options.push({ code: wire.OPT_CLIENT_ID, data: message.id });
    return options;
  }
}

/** Puts options first that a client needs, for a reply that may not have room for all. */
export function essentialFirst(options: wire.DhcpOption[]): void {
  options.sort((a, b) => Number(ESSENTIAL.has(b.code)) - Number(ESSENTIAL.has(a.code)));
}

export function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

function word(code: number, value: number): wire.DhcpOption {
  const data = new Uint8Array(4);
  put32(data, 0, value);
  return { code, data };
}
