/**
 * Answers made from the host's own name service (getaddrinfo, getnameinfo), for hosts that list no resolver: Windows,
 * some phones and containers. The service knows addresses and names only, so queries for other types get no data.
 */
import { lookup, lookupService } from "node:dns";
import { isIP, isIPv4 } from "node:net";
import {
  DNS_A,
  DNS_AAAA,
  DNS_IN,
  DNS_NOERROR,
  DNS_NOTIMP,
  DNS_NXDOMAIN,
  DNS_PTR,
  dnsEncodeName,
  dnsQclass,
  dnsQname,
  dnsQtype,
  dnsReply,
} from "../wire/dns.ts";
import { ipv6FromText } from "../wire/ipv6.ts";

/** How many calls may be under way: they share libuv's few threads with file operations. */
const MAX_RUNNING = 32;
/** The time to live of answers, since the system does not tell how long they are valid. */
const TTL_SECONDS = 30;
const MAX_RECORDS = 64;
const ANY_PORT = 53;

/** The parts of `node:dns` that are used; tests have their own. */
export interface NameService {
  lookup(
    name: string,
    options: { all: true },
    done: (error: NodeJS.ErrnoException | null, found: { address: string; family: number }[]) => void,
  ): void;
  lookupService(
    address: string,
    port: number,
    done: (error: NodeJS.ErrnoException | null, hostname: string) => void,
  ): void;
}

export class SystemResolver {
  readonly #names: NameService;
  #running = 0;

  constructor(names: NameService = { lookup, lookupService }) {
    this.#names = names;
  }

  /** Answers `query` later, or gives null: the service is failing or has too many calls. A call cannot be cancelled. */
  ask(query: Uint8Array, onAnswer: (answer: Uint8Array | null) => void): void {
    const reply = (rcode: number, rdata: readonly Uint8Array[] = []): Uint8Array =>
      dnsReply(query, 0, query.length, rcode, rdata, TTL_SECONDS);
    const later = (answer: Uint8Array | null): void => process.nextTick(onAnswer, answer);
    if (this.#running >= MAX_RUNNING) return later(null);
    if (dnsQclass(query, 0) !== DNS_IN) return later(reply(DNS_NOTIMP));
    const type = dnsQtype(query, 0);
    const name = dnsQname(query, 0);
    const address = type === DNS_PTR ? addressOfReverseName(name) : null;
    if (address !== null) {
      this.#running++;
      this.#names.lookupService(address, ANY_PORT, (error, hostname) => {
        this.#running--;
        if (error !== null) return onAnswer(failed(error) ? null : reply(DNS_NXDOMAIN));
        // For an address without a name, the service returns the address.
        const encoded = isIP(hostname) !== 0 ? null : dnsEncodeName(hostname);
        onAnswer(encoded === null ? reply(DNS_NXDOMAIN) : reply(DNS_NOERROR, [encoded]));
      });
      return;
    }
    if ((type !== DNS_A && type !== DNS_AAAA) || name === ".") return later(reply(DNS_NOERROR));
    if (name.includes("\\")) return later(reply(DNS_NXDOMAIN));
    this.#running++;
    // Both families are looked up. A name with addresses of the other family exists, so NXDOMAIN would be wrong.
    this.#names.lookup(name, { all: true }, (error, found) => {
      this.#running--;
      if (error !== null) return onAnswer(failed(error) ? null : reply(DNS_NXDOMAIN));
      const family = type === DNS_A ? 4 : 6;
      const rdata = found.filter((a) => a.family === family).map((a) => addressBytes(a.address));
      onAnswer(reply(DNS_NOERROR, rdata.slice(0, MAX_RECORDS)));
    });
  }
}

/** Whether the name service itself failed, rather than not knowing the name. */
function failed(error: NodeJS.ErrnoException): boolean {
  return error.code !== "ENOTFOUND" && error.code !== "ENODATA";
}

/** 4 or 16 bytes. A scope id is left out, since it means nothing to a guest. */
function addressBytes(text: string): Uint8Array {
  if (isIPv4(text)) return Uint8Array.from(text.split("."), Number);
  return ipv6FromText(text.split("%", 1)[0]!);
}

/** "4.3.2.1.in-addr.arpa" → "1.2.3.4" (RFC 1035 section 3.5); ip6.arpa by nibbles (RFC 3596 section 2.5). */
function addressOfReverseName(name: string): string | null {
  const v4 = /^((?:\d{1,3}\.){4})in-addr\.arpa$/i.exec(name)?.[1];
  if (v4 !== undefined) {
    const text = v4.slice(0, -1).split(".").reverse().join(".");
    return isIPv4(text) ? text : null;
  }
  const v6 = /^((?:[0-9a-f]\.){32})ip6\.arpa$/i.exec(name)?.[1];
  if (v6 === undefined) return null;
  return v6
    .replaceAll(".", "")
    .split("")
    .reverse()
    .join("")
    .replace(/(....)(?!$)/g, "$1:");
}
