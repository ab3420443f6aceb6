/** The host's sockets on Node.js: the real `HostNet`. */
import type {
  AcceptedTcp,
  Endpoint,
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
import type { Random } from "../core/random.ts";
import { Dialling } from "./dialling.ts";
import { dialDirectly, FailedTcp, isLoopback } from "./direct-tcp.ts";
import { NodePings } from "./icmp.ts";
import { type Libc, libc } from "./libc.ts";
import { listenTcp } from "./listen.ts";
import { Outbox } from "./outbox.ts";
import { OwnPorts } from "./own-ports.ts";
import { tellsReadable } from "./readable.ts";
import { type StreamLibc, streamLibc } from "./stream-libc.ts";
import { NodeTcp } from "./tcp.ts";
import { BoundUdp, brokenUdp, NodeUdp, type UdpEnv, udpSource } from "./udp.ts";
import { AddressedUdp, isEveryAddress } from "./udp-addressed.ts";
import { HeardUdp } from "./udp-heard.ts";

/** The same as in libslirp, and in BSD before it. */
const CONNECT_TIMEOUT_MS = 75_000;
/** The pause between two log lines about missing descriptors. */
const STARVED_PAUSE_MS = 60_000;

export interface NodeHostNetOptions {
  /** Chooses UDP ports. */
  readonly random: Random;
  /** Source address of outgoing sockets to destinations of its family. Connections to the loopback keep their own. */
  readonly outboundAddr?: string;
  /** How long a connect may go unanswered, in milliseconds (75000). */
  readonly connectTimeout?: number;
  /** Called with a line for the log when the host lacks something that guests want. */
  readonly notice?: (text: string) => void;
  /** Whether to use the C library where it can be had (true). */
  readonly libc?: boolean;
}

/** Shared by all networks of the process; made when the first UDP mapping uses the C library. */
let outbox: Outbox | null = null;

export class NodeHostNet implements HostNet {
  readonly #outboundAddr: string | null;
  readonly #dialling: Dialling;
  /** Ports of this machine that no guest may reach. */
  readonly ownPorts: OwnPorts = new OwnPorts();
  readonly #udp: UdpEnv;
  readonly #pings: NodePings;
  readonly #useLibc: boolean;

  constructor(options: NodeHostNetOptions) {
    this.#outboundAddr = options.outboundAddr ?? null;
    const notice = options.notice ?? (() => {});
    this.#dialling = new Dialling(options.connectTimeout ?? CONNECT_TIMEOUT_MS, starvation(notice));
    this.#udp = { random: options.random, outboundAddr: this.#outboundAddr, ownPorts: this.ownPorts, peers: 0 };
    this.#useLibc = options.libc ?? true;
    this.#pings = new NodePings(this.#outboundAddr, notice, this.#useLibc);
  }

  connectTcp(to: Endpoint | UnixEndpoint, events: HostTcpEvents): HostTcp {
    if (!("path" in to) && this.ownPorts.has(to.host, to.port)) return new FailedTcp("ECONNREFUSED", events);
    if (!("path" in to) && isLoopback(to.host)) {
      const c = this.#streams();
      const direct = c === null ? null : dialDirectly(c, to, events);
      if (direct !== null) return direct;
    }
    const socket = new NodeTcp(events, null, "path" in to);
    socket.dial(to, "path" in to ? null : this.#source(to.host), this.#dialling);
    return socket;
  }

  listenTcp(at: Endpoint | UnixEndpoint, onAccept: (socket: AcceptedTcp) => void): Promise<HostListener> {
    return listenTcp(at, onAccept, this.#streams());
  }

  #streams(): StreamLibc | null {
    return this.#useLibc ? streamLibc() : null;
  }

  openUdp(family: 4 | 6, events: HostUdpEvents): HostUdp {
    const c = this.#useLibc && tellsReadable() ? libc() : null;
    return c === null ? new NodeUdp(this.#udp, family, events) : this.#openHeard(c, family, events);
  }

  async bindUdp(at: Endpoint, events: HostUdpEvents): Promise<HostUdp & HostListener> {
    const c = this.#useLibc && isEveryAddress(at.host) ? libc() : null;
    return c === null ? new BoundUdp(at, events) : new AddressedUdp(c, at, events);
  }

  cork(): void {
    outbox?.cork();
  }

  uncork(): void {
    outbox?.uncork();
  }

  #openHeard(c: Libc, family: 4 | 6, events: HostUdpEvents): HostUdp {
    try {
      outbox ??= new Outbox(c);
      return new HeardUdp(c, outbox, family, udpSource(this.#udp, family), this.#udp, events);
    } catch (error) {
      return brokenUdp((error as NodeJS.ErrnoException).code ?? "EIO", events);
    }
  }

  openPing(family: 4 | 6, events: HostPingEvents): HostPing {
    return this.#pings.open(family, events);
  }

  #source(to: string): string | null {
    const from = this.#outboundAddr;
    if (from === null || from.includes(":") !== to.includes(":")) return null;
    return isLoopback(to) ? null : from;
  }
}

/** Returns a function that logs, now and then, that descriptors are missing and what helps. */
function starvation(notice: (text: string) => void): (code: string) => void {
  let saidAt = Number.NEGATIVE_INFINITY;
  return (code) => {
    const now = performance.now();
    if (now - saidAt < STARVED_PAUSE_MS) return;
    saidAt = now;
    const whose =
      code === "EMFILE" ? "this process may open (ulimit -n, LimitNOFILE=)" : "this machine has (fs.file-max)";
    notice(`no descriptor is left of those that ${whose}; guests' connections fail until others have ended`);
  };
}
