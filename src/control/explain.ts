/** Flows as texts, for `net.explain` and `ctl why`: `tcp api.example.org:443`, `icmp 192.0.2.1`, `dns example.org`. */
import { addressFromText, type IpAddress } from "../core/address.ts";
import type { FlowProto, Subject } from "../nat/rules/rules.ts";
import { macNumber } from "../wire/ethernet.ts";
import { parseIp, parseNumber } from "./addresses.ts";
import { ConfigError } from "./errors.ts";

const FORM =
  "expected tcp|udp NAME|IP:PORT, icmp NAME|IP or dns NAME, and guest IP|MAC|cable:NAME if it matters: like tcp api.example.org:443";
const NAME = /^(?=.{1,253}$)(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?$/i;
const MAC = /^[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}$/i;
/** An address for a name that has not been resolved: a public one that nobody has (RFC 6890). */
const SOMEWHERE: IpAddress = addressFromText("192.88.99.1");

/** Throws `ConfigError`. `firstGuest` is the guest when the text names none, `dns` the address of the DNS server. */
export function parseFlow(text: string, firstGuest: string, dns: IpAddress): Subject {
  const wrong = (): ConfigError => new ConfigError("flow", text, FORM);
  const words = text.trim().split(/\s+/);
  const [proto = "", far = "", of, guestText, ...more] = words;
  if (more.length > 0 || (of !== undefined && (of !== "guest" || guestText === undefined))) throw wrong();
  if (proto !== "tcp" && proto !== "udp" && proto !== "icmp" && proto !== "dns") throw wrong();
  const { host, port } = farEnd(proto, far) ?? raise(wrong());
  const ip = parseIp(host);
  if (ip === null && !NAME.test(host)) throw wrong();
  if (ip !== null && proto === "dns") throw wrong();
  const guest = guestText === undefined ? firstGuest : guestText;
  const cable = /^cable:(.+)$/.exec(guest)?.[1];
  const mac = MAC.test(guest)
    ? macNumber(
        Uint8Array.from(guest.split(/[:-]/), (each) => Number.parseInt(each, 16)),
        0,
      )
    : -1;
  const guestIp = mac >= 0 || cable !== undefined ? firstGuest : parseIp(guest);
  if (guestIp === null) throw wrong();
  return {
    ...{ direction: "out", proto, mac, guest: addressFromText(guestIp) },
    ...(cable === undefined ? {} : { cable }),
    remote: proto === "dns" ? dns : ip === null ? SOMEWHERE : addressFromText(ip),
    port: proto === "dns" ? 53 : port,
    names: ip === null ? [host.toLowerCase().replace(/\.$/, "")] : [],
  };
}

function farEnd(proto: FlowProto, text: string): { host: string; port: number } | null {
  if (proto === "icmp" || proto === "dns") return { host: text.replace(/^\[(.*)\]$/, "$1"), port: 0 };
  const parts = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(text);
  const port = parseNumber(parts?.[3] ?? "", 1, 65_535);
  return parts === null || port === null ? null : { host: parts[1] ?? parts[2]!, port };
}

function raise(error: Error): never {
  throw error;
}
