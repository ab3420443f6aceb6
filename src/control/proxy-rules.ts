/** The proxy by which guests' connections leave: the option `proxy`, on the command line `--proxy`. */
import type { ProxyRule, ProxyServer } from "../core/config.ts";
import { parseIp, parseNet4, parseNumber, prefixMask, toNumber } from "./addresses.ts";
import { ConfigError } from "./errors.ts";

/** One rule of several. The first one that matches a connection decides. */
export interface ProxyOptions {
  /**
   * Which connections (`*`, all): `example.com` or `*.example.com` (its subdomains) by the name that the guest has
   * resolved; an address or `192.0.2.0/24` by the address. `:PORT` at the end restricts the rule to that port.
   */
  readonly match?: string | undefined;
  /**
   * `socks5://[USER:PASSWORD@]HOST[:PORT]` (port 1080), `http://[USER:PASSWORD@]HOST[:PORT]` (CONNECT, port 80), or
   * `direct`.
   */
  readonly proxy: string;
}

const SERVER = 'expected socks5://HOST[:PORT], http://HOST[:PORT] or "direct"';
const MATCH =
  "expected *, a domain like *.example.com, an address or a network like 192.0.2.0/24, each with :PORT or not";
const PORTS = { "socks5:": 1080, "http:": 80 } as const;

/** `[MATCH=]SERVER`, as on the command line. Throws `ConfigError`. */
export function parseProxy(text: string): ProxyRule {
  const equals = text.indexOf("=");
  const named = equals > 0 && !text.slice(0, equals).includes("://");
  return resolveProxy(named ? { match: text.slice(0, equals), proxy: text.slice(equals + 1) } : { proxy: text });
}

/** Throws `ConfigError`. */
export function resolveProxy(options: ProxyOptions): ProxyRule {
  const match = options.match ?? "*";
  const fits = matcher(match);
  if (fits === null) throw new ConfigError("proxy", match, MATCH);
  return { fits, server: server(options.proxy) };
}

function server(text: string): ProxyServer | null {
  if (text === "direct") return null;
  const url = URL.canParse(text) ? new URL(text) : null;
  const { protocol = "" } = url ?? {};
  if (url === null || (protocol !== "socks5:" && protocol !== "http:") || url.hostname === "")
    throw new ConfigError("proxy", text, SERVER);
  if ((url.pathname !== "" && url.pathname !== "/") || url.search !== "" || url.hash !== "")
    throw new ConfigError("proxy", text, SERVER);
  const [user, password] = [url.username, url.password].map((part) => decoded(part, text));
  return {
    kind: protocol === "socks5:" ? "socks5" : "http",
    host: url.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: url.port === "" ? PORTS[protocol] : Number(url.port),
    user: user === "" ? null : user!,
    password: password!,
  };
}

function decoded(part: string, text: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new ConfigError("proxy", text, "expected a user and password whose % is written %25");
  }
}

function matcher(text: string): ProxyRule["fits"] | null {
  const form = /^(\[[^\]]+\]|[^:]+|[^:]*:[^:]*:.*?)(?::(\d+))?$/.exec(text);
  if (form === null) return null;
  const port = form[2] === undefined ? null : parseNumber(form[2], 1, 65_535);
  if (form[2] !== undefined && port === null) return null;
  const where = place(form[1]!.replace(/^\[(.*)\]$/, "$1"));
  if (where === null) return null;
  return (to, names) => (port === null || to.port === port) && where(to.host, names);
}

function place(text: string): ((host: string, names: readonly string[]) => boolean) | null {
  if (text === "*") return () => true;
  const ip = parseIp(text);
  if (ip !== null) return (host) => host === ip;
  if (text.includes("/")) {
    const net = parseNet4(text);
    if (net === null) return null;
    const mask = prefixMask(net.prefix);
    return (host) => !host.includes(":") && (toNumber(host) & mask) >>> 0 === net.net;
  }
  if (!/^(?:\*\.)?(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}$/i.test(text)) return null;
  const name = text.toLowerCase();
  if (!name.startsWith("*.")) return (_host, names) => names.includes(name);
  return (_host, names) => names.some((each) => each.endsWith(name.slice(1)));
}
