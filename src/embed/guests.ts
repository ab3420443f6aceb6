/**
 * Access to the guests' network from within the process: dial a guest, or listen for guests. There is one such object
 * for each network. It keeps all open ports, so that they are closed with the network.
 */
import * as z from "zod/mini";
import { type Abortable, onAbort } from "../control/abortable.ts";
import { parseIp } from "../control/addresses.ts";
import { ConfigError } from "../control/errors.ts";
import { checkPort, checkShape, type Shape, signalOf } from "../control/shape.ts";
import { type Endpoint, endpointText, type IpText, ipv4FromText } from "../core/address.ts";
import type { StackConfig } from "../core/config.ts";
import type { AcceptedTcp, HostTcp, HostTcpEvents } from "../core/host-net.ts";
import type { Policy } from "../nat/rules/policy.ts";
import type { Local } from "../stack/local-services.ts";
import { GuestServer } from "./guest-server.ts";
import { GuestSocket } from "./guest-socket.ts";
import { GuestUdp } from "./guest-udp.ts";

/** The guest to dial, and how. */
export interface ConnectOptions extends Abortable {
  /** The guest's IP address (the first DHCP lease; DHCPv6's first address where there is no IPv4). */
  readonly host?: string | undefined;
  /** The port on the guest, 1 to 65535. */
  readonly port: number;
  /** As in `net.connect`: with false (the default), the socket ends its side when the guest ends its own. */
  readonly allowHalfOpen?: boolean | undefined;
  /** Aborting destroys the socket with the signal's reason, before or after it is connected. */
  readonly signal?: AbortSignal | undefined;
}

/** Where to listen, and how. */
export interface ListenGuestOptions extends Abortable {
  /**
   * The IP address to listen on (the gateway's): one of the guests' network that is not leased to guests, or one
   * outside. Guests' connections to it then come here.
   */
  readonly host?: string | undefined;
  /** The port, or 0 for the first free one from 49152 on. The server's `address` tells which one. */
  readonly port: number;
  /** As in `net.createServer` (false). */
  readonly allowHalfOpen?: boolean | undefined;
  /** Aborting closes the port. */
  readonly signal?: AbortSignal | undefined;
}

/** The address and port of a UDP port for guests. */
export type BindGuestUdpOptions = Omit<ListenGuestOptions, "allowHalfOpen">;

/** Checks only the fields' types; the network checks addresses and ports. `http.Agent` passes many more fields. */
const shape: Shape<Omit<ConnectOptions, "port">> = z.object(
  {
    host: z.optional(z.string("expected an IP address like 10.0.2.15")),
    allowHalfOpen: z.optional(z.boolean("expected true or false")),
  },
  "expected an object like { host, port }",
);
const MAX_PORT = 65_535;
/** Where the search for a free port begins (RFC 6335 section 6). */
const FIRST_FREE = 49_152;

interface Closable {
  close(): void;
  once(event: "close", listener: () => void): unknown;
}

export class Guests {
  readonly #config: StackConfig;
  readonly #local: Local;
  readonly #policy: Policy;
  readonly #first: () => IpText;
  readonly #listening: Set<Closable> = new Set();

  /** `first` gives the address of the guest that is dialled when the caller names none. */
  constructor(config: StackConfig, local: Local, policy: Policy, first: () => IpText) {
    this.#first = first;
    this.#config = config;
    this.#local = local;
    this.#policy = policy;
  }

  /** Returns a socket that is connecting, like `net.createConnection`. Throws `ConfigError` or the signal's reason. */
  createConnection(options: ConnectOptions): GuestSocket {
    const { allowHalfOpen } = checkShape(shape, options);
    const signal = signalOf(options);
    const guest = this.#guest("host", options.host ?? this.#first(), options.port);
    signal?.throwIfAborted();
    const socket = new GuestSocket({ remote: guest, local: null, allowHalfOpen });
    const local = this.#local.dial(guest, new Client(socket));
    if (local === null) {
      const error: NodeJS.ErrnoException = new Error(`connect ENOBUFS ${endpointText(guest)}: too many connections`);
      error.code = "ENOBUFS";
      socket.destroy(error);
      return socket;
    }
    socket.shownAs(local);
    if (signal !== undefined) abortable(signal, socket);
    return socket;
  }

  /** Resolves when connected. Rejects with `net.connect`'s errors, the signal's reason or `ConfigError`. */
  async connect(options: ConnectOptions): Promise<GuestSocket> {
    const socket = this.createConnection(options);
    await new Promise<void>((resolve, reject) => {
      socket.once("error", reject);
      socket.once("connect", () => {
        socket.removeListener("error", reject);
        resolve();
      });
    });
    return socket;
  }

  /** Opens a TCP port. Throws `ConfigError`, the signal's reason, or an `Error` with code EADDRINUSE. */
  listen(options: ListenGuestOptions, onSocket?: (socket: GuestSocket) => void): GuestServer {
    if (onSocket !== undefined && typeof onSocket !== "function")
      throw new ConfigError(
        "onSocket",
        onSocket,
        "expected a function like (socket) => {}; a signal is { host, port, signal }",
      );
    return this.#open(options, (at) => {
      const server = new GuestServer(at, options.allowHalfOpen ?? false);
      const stop = this.#local.serveTcp(at, (events, guest) => server.dialled(events, guest));
      if (stop === null) return null;
      if (onSocket !== undefined) server.on("connection", onSocket);
      server.started(stop);
      return server;
    });
  }

  /** Opens a UDP port. Throws the same errors as `listen`. */
  bindUdp(options: BindGuestUdpOptions): GuestUdp {
    return this.#open(options, (at) => {
      const udp = new GuestUdp(at, (bytes, port, host) =>
        this.#local.sendUdp(at, this.#guest("address", host, port), bytes),
      );
      const stop = this.#local.serveUdp(at, (bytes, from, len, guest) => udp.received(bytes, from, len, guest));
      if (stop === null) return null;
      udp.started(stop);
      return udp;
    });
  }

  /** Closes the listening ports. */
  close(): void {
    for (const each of this.#listening) each.close();
  }

  /** Opens the wanted port, or for port 0 the first free one. `open` returns null when the port is taken. */
  #open<T extends Closable>(options: BindGuestUdpOptions, open: (at: Endpoint) => T | null): T {
    checkShape(shape, options);
    const signal = signalOf(options);
    signal?.throwIfAborted();
    const host = this.#place(options.host ?? this.#config.host);
    const first = checkPort("port", options.port, 0);
    for (let port = first || FIRST_FREE; port <= (first || MAX_PORT); port++) {
      const opened = open({ host, port });
      if (opened === null) continue;
      this.#listening.add(opened);
      const forget = signal === undefined ? null : onAbort(signal, () => opened.close());
      opened.once("close", () => {
        this.#listening.delete(opened);
        forget?.();
      });
      return opened;
    }
    const error: NodeJS.ErrnoException = new Error(`address already in use ${endpointText({ host, port: first })}`);
    error.code = "EADDRINUSE";
    throw error;
  }

  /** Checks that the address is a guest's. Throws `ConfigError`. */
  #guest(field: string, host: string, port: number): Endpoint {
    const ip = typeof host === "string" ? parseIp(host) : null;
    if (ip === null || !this.#local.isGuest(ip)) throw new ConfigError(field, host, "expected a guest's address");
    return { host: ip, port: checkPort("port", port, 1) };
  }

  /** Checks an address to listen on: any but those that a guest has or may be given. Throws `ConfigError`. */
  #place(host: string): string {
    const { dhcpStart, dhcpCount, staticLeases } = this.#config;
    const text = parseIp(host);
    if (text === null) throw new ConfigError("host", host, "expected an IP address like 10.0.2.100");
    const ip = text.includes(":") ? null : ipv4FromText(text);
    const policy = this.#policy;
    if (ip !== null && policy.inNet(ip)) {
      const lease = (ip - ipv4FromText(dhcpStart)) >>> 0 < dhcpCount || [...staticLeases.values()].includes(text);
      if (lease || policy.isBroadcast(ip) || ip === policy.net)
        throw new ConfigError("host", host, "expected an address that is no guest's: neither leased nor the net's own");
    }
    return text;
  }
}

/** Aborting destroys the socket with the signal's reason. */
function abortable(signal: AbortSignal, socket: GuestSocket): void {
  const forget = onAbort(signal, () => {
    const { reason } = signal;
    socket.destroy(reason instanceof Error ? reason : new Error(String(reason)));
  });
  socket.once("close", forget);
}

/**
 * A client within the process, which the NAT treats like a client of a forward: the guest sees the gateway's address.
 */
class Client implements AcceptedTcp {
  readonly remote: Endpoint = { host: "127.0.0.1", port: 0 };
  readonly #socket: GuestSocket;

  constructor(socket: GuestSocket) {
    this.#socket = socket;
  }

  accept(events: HostTcpEvents): HostTcp {
    return this.#socket.plugIn(events);
  }
}
