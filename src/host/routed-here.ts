/**
 * Whether a route gives this machine an address that none of its interfaces has (`ip route add local 192.0.2.0/24 dev
 * lo`).
 */
import { createSocket } from "node:dgram";
import fs from "node:fs";
import { addressFromText } from "../core/address.ts";
import { ipv6SamePrefix } from "../wire/ipv6.ts";

/** Any port: nothing is sent to it. */
const PORT = 9;
const ROUTES6 = "/proc/net/ipv6_route";
/**
 * The most bytes that are read of the table of routes. Local ones may be anywhere in it; an Internet router has 200,000
 * routes.
 */
const MOST_BYTES = 4_194_304;
/** The value of RTF_LOCAL in linux/ipv6_route.h. */
const LOCAL_FLAG = 0x80000000;

/** Addresses are not looked up, so bind and connect are done when they return. */
function lookup(host: string, _family: unknown, done: (error: null, address: string, family: number) => void): void {
  done(null, host, host.includes(":") ? 6 : 4);
}

/**
 * If a socket towards an address would send from that very address, or from the loopback, the address is this
 * machine's. Over IPv6 the kernel may choose another address of this machine, so there the table of routes is read, on
 * Linux.
 */
export function isRoutedHere(host: string): boolean {
  const source = sourceTowards(host);
  if (source === null) return false;
  if (source === host || source.startsWith("127.") || source === "::1") return true;
  return host.includes(":") && isInLocalRoute6(addressFromText(host).bytes);
}

/**
 * The source address of a UDP socket that is connected to `host` (nothing is sent). Null without a route, or a
 * descriptor.
 */
function sourceTowards(host: string): string | null {
  const v6 = host.includes(":");
  const socket = createSocket({ type: v6 ? "udp6" : "udp4", ipv6Only: v6, lookup: lookup as never });
  socket.on("error", () => {});
  try {
    socket.bind({ address: v6 ? "::" : "0.0.0.0", port: 0, exclusive: true });
    socket.connect(PORT, host, () => {});
    socket.remoteAddress();
    return socket.address().address;
  } catch {
    return null;
  } finally {
    socket.close();
  }
}

/**
 * Each line has: net, prefix, source net, its prefix, next hop, metric, two counts, flags, device; all numbers
 * hexadecimal.
 */
function isInLocalRoute6(address: Uint8Array): boolean {
  for (const line of readStart(ROUTES6, MOST_BYTES).split("\n")) {
    const words = line.trim().split(/ +/);
    const [net = "", prefix = ""] = words;
    if (words.length < 10 || (Number.parseInt(words[8]!, 16) & LOCAL_FLAG) === 0) continue;
    if (ipv6SamePrefix(address, 0, Buffer.from(net, "hex"), 0, Number.parseInt(prefix, 16))) return true;
  }
  return false;
}

function readStart(file: string, most: number): string {
  try {
    const fd = fs.openSync(file, "r");
    try {
      const bytes = Buffer.alloc(most);
      let used = 0;
      for (let more = 1; more > 0 && used < most; used += more) more = fs.readSync(fd, bytes, used, most - used, null);
      return bytes.toString("latin1", 0, used);
    } finally {
      fs.closeSync(fd);
    }
  } catch {
    return "";
  }
}
