/**
 * Outgoing TCP through proxies (a `HostNet` in front of another): SOCKS5 (RFC 1928) or HTTP's CONNECT (RFC 9110 section
 * 9.3.6), chosen by rules. UDP, ping and connections to this machine do not go through proxies.
 *
 * The proxy is given the address, because the address was judged: a guest's own name server could tell us a public
 * address and the proxy a private one, and so get past everything that is closed to the guest. Only a name that a rule
 * about names has allowed is given in place of the address, since the proxy may know better where it leads. The proxy
 * may stand on this machine, where our own listeners are: for a port that we hold it is given the address even then.
 */
import { once } from "node:events";
import { createRequire } from "node:module";
import net from "node:net";
import { type Endpoint, endpointText } from "../core/address.ts";
import type { ProxyRule, ProxyServer } from "../core/config.ts";
import type {
  AcceptedTcp,
  HostListener,
  HostNet,
  HostPing,
  HostPingEvents,
  HostTcp,
  HostTcpEvents,
  HostUdp,
  HostUdpEvents,
  UnixEndpoint,
} from "../core/host-net.ts";
import type { Slab } from "../core/link.ts";
import type { OwnPorts } from "./own-ports.ts";
import { reasonOf } from "./reason.ts";
import { NodeTcp } from "./tcp.ts";

const CONNECT_TIMEOUT_MS = 75_000;

type Socks = typeof import("socks");
let socks: Promise<Socks> | null = null;

/**
 * The SOCKS client, loaded when a rule names such a proxy: now, because guests may later use up the descriptors that
 * loading takes. It cannot run within an ESM bundle (it is CommonJS and requires Node's modules), so there the
 * installed package is loaded. Rejects where there is none.
 */
function loadSocks(): Promise<Socks> {
  socks ??= import("socks").catch(() => {
    try {
      return createRequire(import.meta.url)("socks") as Socks;
    } catch {
      throw new Error("the npm package socks is not installed beside this bundle");
    }
  });
  return socks;
}

export class ProxiedNet implements HostNet {
  readonly #direct: HostNet & { readonly ownPorts: OwnPorts };
  readonly #rules: readonly ProxyRule[];
  readonly #notice: (text: string) => void;
  /** Proxies whose failure has been logged; it is logged again after they have worked. */
  readonly #told: Set<ProxyServer> = new Set();

  constructor(
    direct: HostNet & { readonly ownPorts: OwnPorts },
    rules: readonly ProxyRule[],
    notice: (text: string) => void,
  ) {
    this.#direct = direct;
    this.#rules = rules;
    this.#notice = notice;
    // Each dial through the proxy reports why the library cannot be loaded.
    if (rules.some(({ server }) => server?.kind === "socks5")) loadSocks().catch(() => {});
  }

  connectTcp(
    to: Endpoint | UnixEndpoint,
    events: HostTcpEvents,
    names: readonly string[] = [],
    dialName: string | null = null,
  ): HostTcp {
    const { ownPorts } = this.#direct;
    // `direct` refuses ports that are our own.
    if ("path" in to || isHere(to.host) || ownPorts.has(to.host, to.port)) return this.#direct.connectTcp(to, events);
    const server = this.#serverFor(to, names);
    if (server === null) return this.#direct.connectTcp(to, events);
    const name = ownPorts.holds(to.port) ? null : dialName;
    const target = { host: name ?? to.host, port: to.port };
    return new ProxiedTcp(events, (signal) => this.#dial(server, target, signal));
  }

  listenTcp(at: Endpoint | UnixEndpoint, onAccept: (socket: AcceptedTcp) => void): Promise<HostListener> {
    return this.#direct.listenTcp(at, onAccept);
  }

  cork(): void {
    this.#direct.cork();
  }

  uncork(): void {
    this.#direct.uncork();
  }

  openUdp(family: 4 | 6, events: HostUdpEvents): HostUdp {
    return this.#direct.openUdp(family, events);
  }

  bindUdp(at: Endpoint, events: HostUdpEvents): Promise<HostUdp & HostListener> {
    return this.#direct.bindUdp(at, events);
  }

  openPing(family: 4 | 6, events: HostPingEvents): HostPing {
    return this.#direct.openPing(family, events);
  }

  #serverFor(to: Endpoint, names: readonly string[]): ProxyServer | null {
    for (const rule of this.#rules) if (rule.fits(to, names)) return rule.server;
    return null;
  }

  async #dial(server: ProxyServer, target: Endpoint, signal: AbortSignal): Promise<net.Socket> {
    try {
      const socket = await (server.kind === "socks5"
        ? socks5(server, target, signal)
        : connect(server, target, signal));
      this.#told.delete(server);
      return socket;
    } catch (error) {
      if (!(error instanceof Refusal) && !signal.aborted && !this.#told.has(server)) {
        this.#told.add(server);
        this.#notice(`the proxy at ${endpointText(server)} does not serve: ${reasonOf(error)}`);
      }
      throw error;
    }
  }
}

/** The proxy works, and reports that the destination does not. */
class Refusal extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

async function socks5(server: ProxyServer, target: Endpoint, signal: AbortSignal): Promise<net.Socket> {
  const { host, port, user, password } = server;
  const { SocksClient } = await loadSocks();
  const existing = net.connect({ host, port, signal });
  existing.setTimeout(CONNECT_TIMEOUT_MS, () => existing.destroy(new Error("it does not answer")));
  await once(existing, "connect");
  existing.setTimeout(0);
  const client = new SocksClient({
    proxy: { host, port, type: 5, ...(user === null ? {} : { userId: user, password }) },
    command: "connect",
    destination: target,
    timeout: CONNECT_TIMEOUT_MS,
  });
  return new Promise((resolve, reject) => {
    client.once("established", ({ socket }) => resolve(withHead(socket)));
    client.once("error", (error) => reject(socksRefusal(error)));
    client.connect(existing);
  });
}

/** The library emits bytes that came with the reply as 'data', an immediate after it has reported the connection. */
function withHead(socket: net.Socket): Promise<net.Socket> {
  const head: Buffer[] = [];
  const onData = (chunk: Buffer): void => void head.push(chunk);
  socket.pause();
  socket.on("data", onData);
  return new Promise((resolve) => {
    setImmediate(() => {
      socket.off("data", onData);
      socket.pause();
      if (head.length > 0) socket.unshift(Buffer.concat(head));
      resolve(socket);
    });
  });
}

/** The library tells the reply's meaning only in its message (RFC 1928 section 6). */
function socksRefusal(error: Error): Error {
  const codes = {
    ConnectionRefused: "ECONNREFUSED",
    HostUnreachable: "EHOSTUNREACH",
    NetworkUnreachable: "ENETUNREACH",
  };
  for (const [reply, code] of Object.entries(codes)) {
    if (error.message.includes(reply)) return new Refusal(code, error.message);
  }
  return /NotAllowed|TTLExpired|Failure/.test(error.message) ? new Refusal("EHOSTUNREACH", error.message) : error;
}

async function connect(server: ProxyServer, target: Endpoint, signal: AbortSignal): Promise<net.Socket> {
  // Part of Node, but loaded only where it is needed, since it takes time at the start.
  const http = await import("node:http");
  const { host, port, user, password } = server;
  const path = endpointText(target);
  const credentials = Buffer.from(`${user}:${password}`).toString("base64");
  const headers = { Host: path, ...(user === null ? {} : { "Proxy-Authorization": `Basic ${credentials}` }) };
  return new Promise((resolve, reject) => {
    const options = { host, port, method: "CONNECT", path, headers, signal, agent: false, timeout: CONNECT_TIMEOUT_MS };
    const request = http.request(options);
    request.once("connect", (response, socket, head) => {
      const status = response.statusCode ?? 0;
      if (status >= 200 && status < 300) {
        socket.setTimeout(0);
        if (head.length > 0) socket.unshift(head);
        resolve(socket as net.Socket);
        return;
      }
      socket.destroy();
      const message = `CONNECT ${path}: ${status} ${response.statusMessage}`;
      // 5xx: the proxy could not reach the destination. Others: the proxy refuses, which is for its administrator to
      // change.
      reject(status >= 500 ? new Refusal("EHOSTUNREACH", message) : new Error(message));
    });
    request.once("timeout", () => request.destroy(new Error("it does not answer")));
    request.once("error", reject);
    request.end();
  });
}

/** A connection by way of a proxy. Until the proxy has connected, calls are kept for later. */
class ProxiedTcp implements HostTcp {
  readonly #abort: AbortController = new AbortController();
  #tcp: NodeTcp | null = null;

  constructor(events: HostTcpEvents, dial: (signal: AbortSignal) => Promise<net.Socket>) {
    const { signal } = this.#abort;
    dial(signal).then(
      (socket) => {
        if (signal.aborted) return void socket.destroy();
        this.#tcp = new NodeTcp(events, socket, false);
        events.onConnect();
      },
      (error: NodeJS.ErrnoException) => {
        if (!signal.aborted) events.onClose(error instanceof Refusal ? error.code : "EHOSTUNREACH");
      },
    );
  }

  get backlog(): number {
    return this.#tcp?.backlog ?? 0;
  }

  get local(): Endpoint | null {
    return this.#tcp?.local ?? null;
  }

  write(slab: Slab, at: number, len: number): void {
    this.#tcp?.write(slab, at, len);
  }

  end(): void {
    this.#tcp?.end();
  }

  pause(): void {
    this.#tcp?.pause();
  }

  resume(): void {
    this.#tcp?.resume();
  }

  reset(): void {
    this.#abort.abort();
    this.#tcp?.reset();
  }
}

/** Whether the host is this machine, by the gateway's loopback. */
function isHere(host: string): boolean {
  return host.startsWith("127.") || host === "::1";
}
