/** The cables of one network, by whichever way guests come, until the network closes. */
import fs from "node:fs";
import type net from "node:net";
import type { Duplex } from "node:stream";
import { type AttachAddress, attachAddressText, parseAttachAddress } from "../attach/address.ts";
import { connectTo, listenAt } from "../attach/attach.ts";
import type { Attachment, CableEnv } from "../attach/attachment.ts";
import { inheritStream } from "../attach/client.ts";
import type { Arrival } from "../attach/door.ts";
import { cable, type MemoryCable } from "../attach/memory.ts";
import { attachAccepted, attachDuplex } from "../attach/stream.ts";
import { TapCable } from "../attach/tap-cable.ts";
import { openVxlan, type VxlanUplink } from "../attach/vxlan.ts";
import { attachWebSocket, type FrameSocket } from "../attach/websocket.ts";
import { NO_BROWSERS, type WsAccess } from "../attach/ws-access.ts";
import { type Abortable, onAbort } from "../control/abortable.ts";
import { ConfigError } from "../control/errors.ts";
import { MAX_DGRAM_MTU } from "../control/options/mtu.ts";
import { signalOf } from "../control/shape.ts";
import { parseTapTarget } from "../control/tap-target.ts";
import { uplinkInnerMtu } from "../control/uplink-rules.ts";
import { resolveWsAccess, type WsAccessOptions } from "../control/ws-access.ts";
import { endpointText } from "../core/address.ts";
import { closedError } from "../core/closed.ts";
import type { StackConfig, UplinkConfig } from "../core/config.ts";
import type { Link } from "../core/link.ts";
import { whenNamespaceIsLeft } from "../host/namespace-watch.ts";
import type { OwnPorts } from "../host/own-ports.ts";
import { needTaps, type TapDevice, taps } from "../host/tap-device.ts";
import { openTap } from "../host/tap-namespace.ts";

/**
 * Where guests attach: `{ path }` and `{ host, port }` are stream sockets, `{ ws }` is a WebSocket's address
 * (`ws://127.0.0.1:8080/`) with who may connect there, and `{ vhostUser }` is the path of a vhost-user back-end's
 * socket. A text is `unix:PATH`, `tcp:HOST:PORT`, `udp:HOST:PORT`, `ws://HOST:PORT[/PATH]` or `vhost-user:PATH`.
 * Aborting `signal` ends the listening or dialling, and the cables that came by it.
 */
export type ListenTarget =
  | ({ readonly vhostUser: string } & Abortable)
  | ({ readonly path: string } & Abortable)
  | ({ readonly host: string; readonly port: number } & Abortable)
  | ({ readonly ws: string } & WsAccessOptions & Abortable)
  | string;

/** An open connection from the network to a segment of other machines, by VXLAN. */
export interface Uplink {
  /** The local address and the VNI: `vxlan:0.0.0.0:4789#42`. */
  readonly name: string;
  /** The other ends, `IP:PORT`. */
  readonly remotes: readonly string[];
  /**
   * How many frames, and bytes of them without VXLAN's headers, since the uplink was opened. Its drops are counted with
   * those of the network.
   */
  readonly stats: {
    readonly framesIn: number;
    readonly bytesIn: number;
    readonly framesOut: number;
    readonly bytesOut: number;
  };
  /** Leaves the segment. Resolves when the socket is closed. */
  close(): Promise<void>;
}

/** Sockets and streams that are, or were, a guest's cable in any network. */
const TAKEN: WeakSet<object> = new WeakSet();

export class Cables {
  readonly #env: CableEnv;
  readonly #config: StackConfig;
  readonly #ownPorts: OwnPorts;
  readonly #uplinks: Set<VxlanUplink> = new Set();
  readonly #attachments: Set<Attachment> = new Set();
  /** The attachments that listen for guests. */
  readonly #listening: Map<Attachment, AttachAddress> = new Map();
  readonly #links: Map<Link, Promise<void>> = new Map();
  readonly #inside: Set<MemoryCable> = new Set();
  #made = 0;
  #closed = false;

  /** `ownPorts` closes to guests the ports of cables and the ports of uplinks' other ends. */
  constructor(env: CableEnv, config: StackConfig, ownPorts: OwnPorts) {
    this.#env = env;
    this.#config = config;
    this.#ownPorts = ownPorts;
  }

  /** Joins a segment. Resolves when the socket is bound. */
  async uplink(config: UplinkConfig): Promise<Uplink> {
    const most = uplinkInnerMtu(config);
    // Without a gateway of ours, guests get their MTU from another router.
    if (this.#config.gateway && this.#config.mtu > most)
      throw new ConfigError("mtu", this.#config.mtu, `expected at most ${most}, which fits the uplink`);
    const link = await this.#open(undefined, () => openVxlan(config, this.#env));
    this.#uplinks.add(link);
    const open = config.remotes.map(({ port }) => this.#ownPorts.protectEnd(port));
    void link.closed.then(() => {
      this.#uplinks.delete(link);
      for (const end of open) end();
    });
    return described(link);
  }

  uplinks(): Uplink[] {
    return [...this.#uplinks].map(described);
  }

  /** Resolves with the address when guests can connect. */
  async listen(target: ListenTarget): Promise<AttachAddress> {
    checkTarget("listen", target);
    const attachment = await this.#open(waitsFor(target), () =>
      listenAt(this.#address("listen", target), this.#env, accessOf(target)),
    );
    const address = attachment.address!;
    this.#listening.set(attachment, address);
    void attachment.closed.then(() => this.#listening.delete(attachment));
    return address;
  }

  listening(): AttachAddress[] {
    return [...this.#listening.values()];
  }

  async dial(target: ListenTarget): Promise<void> {
    checkTarget("dial", target);
    const address = this.#address("dial", target);
    if (address.kind === "ws" || address.kind === "vhost-user")
      throw new ConfigError("dial", attachAddressText(address), "expected unix:PATH, tcp:HOST:PORT or udp:HOST:PORT");
    await this.#open(waitsFor(target), () => connectTo(address, this.#env));
  }

  /** Serves the guest behind a descriptor of a socket or TAP. Resolves when the guest is gone. Throws for others. */
  inherit(fd: number, options: Abortable): Promise<void> {
    checkDescriptor("attachFd", fd);
    const signal = signalOf(options);
    signal?.throwIfAborted();
    const device = taps()?.recognize(fd) ?? null;
    if (device !== null) return this.#tap(device, options).detached;
    const attachment = inheritStream(fd, this.#env);
    this.#track(attachment);
    endBy(signal, attachment);
    return attachment.closed;
  }

  attach(duplex: Duplex, options: Abortable): Link {
    if (typeof duplex?.write !== "function" || typeof duplex.on !== "function")
      throw new ConfigError("attach", duplex, "expected a Duplex of length-prefixed frames");
    // The client of an accepted socket may be gone by now.
    if (duplex.destroyed) throw new ConfigError("attach", duplex, "expected a Duplex that is not destroyed");
    if (typeof duplex.readableEncoding === "string")
      throw new ConfigError("attach", duplex.readableEncoding, "expected a Duplex of bytes, without setEncoding");
    this.#take("attach", duplex, options);
    return this.#plugged("duplex", options, (name, gone) => attachDuplex(duplex, name, this.#env, gone)).link;
  }

  /** Serves the guest behind an accepted socket. Resolves when that guest is gone. */
  attachAccepted(socket: net.Socket, options: Abortable): Promise<void> {
    if (typeof socket?.write !== "function" || typeof socket.pause !== "function")
      throw new ConfigError("attachAccepted", socket, "expected a net.Socket");
    this.#take("attachAccepted", socket, options);
    return this.#plugged("accepted", options, (name, gone) => attachAccepted(socket, name, this.#env, gone)).detached;
  }

  attachWebSocket(socket: FrameSocket, options: Abortable): Link {
    if (typeof socket?.send !== "function" || typeof socket.addEventListener !== "function")
      throw new ConfigError("attachWebSocket", socket, "expected a WebSocket, of ws or a standard one");
    this.#take("attachWebSocket", socket, options);
    return this.#plugged("websocket", options, (name, gone) => attachWebSocket(socket, name, this.#env, gone)).link;
  }

  /**
   * Marks `socket` as a cable. Throws `ConfigError` if it was one before: two readers would each get a part of the
   * bytes.
   */
  #take(field: string, socket: object, options: Abortable): void {
    signalOf(options)?.throwIfAborted();
    if (TAKEN.has(socket)) throw new ConfigError(field, socket, "expected one that is no guest's cable yet");
    TAKEN.add(socket);
  }

  /** Throws an `Error` of one line if `fd` is no TAP's descriptor, or if this host cannot use one. */
  attachTap(fd: number, options: Abortable): { readonly link: Link; readonly detached: Promise<void> } {
    checkDescriptor("attachTap", fd);
    signalOf(options)?.throwIfAborted();
    return this.#tap(needTaps().adopt(fd), options);
  }

  /** Makes a TAP and serves the guest behind it, until nothing holds its namespace or the cable ends. */
  async makeTap(target: string, options: Abortable): Promise<{ readonly closed: Promise<void> }> {
    const { name, where } = parseTapTarget("tap", target);
    const signal = signalOf(options);
    signal?.throwIfAborted();
    const device = await openTap(name, where);
    if (this.#closed || signal?.aborted) {
      fs.closeSync(device.fd);
      signal?.throwIfAborted();
      throw closedError();
    }
    const { link, detached } = this.#tap(device, options);
    if (where !== null && "pid" in where && device.namespace !== null) {
      const forget = whenNamespaceIsLeft(device.namespace, where.pid, () => link.close());
      void detached.then(forget);
    }
    return { closed: detached };
  }

  #tap(device: TapDevice, options: Abortable): { readonly link: Link; readonly detached: Promise<void> } {
    return this.#plugged(`tap:${device.name}`, options, (name, gone) => new TapCable(device, name, this.#env, gone));
  }

  inMemory(onFrame?: (frame: Uint8Array) => void): MemoryCable {
    if (onFrame !== undefined && typeof onFrame !== "function")
      throw new ConfigError("cable", onFrame, "expected a function like (frame) => {}");
    const { receiver, pool, trace, tap, sent } = this.#env;
    const made = cable(receiver, {
      ...{ pool, trace, tap, sent, name: `memory#${++this.#made}` },
      ...(onFrame === undefined ? {} : { onFrame }),
      onClose: () => this.#inside.delete(made),
      wrong: (field, given, expectation) => new ConfigError(field, given, expectation),
    });
    this.#inside.add(made);
    return made;
  }

  /** Ends all cables. Resolves when their sockets are closed. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const link of this.#links.keys()) link.close();
    for (const each of this.#inside) each.close();
    await Promise.all([...this.#links.values(), ...[...this.#attachments].map((a) => a.close())]);
  }

  /**
   * Attaches a guest that has come to a shared door. Its cable is called `name`. `detached` resolves when it is gone.
   */
  arrival(arrival: Arrival, name: string): { readonly link: Link; readonly detached: Promise<void> } {
    return this.#keep((gone) => arrival.plug(name, this.#env, gone));
  }

  #plugged(
    kind: string,
    options: Abortable,
    plug: (name: string, gone: () => void) => Link,
  ): { readonly link: Link; readonly detached: Promise<void> } {
    const signal = signalOf(options);
    signal?.throwIfAborted();
    const { link, detached } = this.#keep((gone) => plug(`${kind}#${++this.#made}`, gone));
    endBy(signal, { closed: detached, close: () => link.close() });
    return { link, detached };
  }

  #keep(plug: (gone: () => void) => Link): { readonly link: Link; readonly detached: Promise<void> } {
    let gone = (): void => {};
    const detached = new Promise<void>((resolve) => {
      gone = resolve;
    });
    const link = plug(gone);
    this.#links.set(link, detached);
    void detached.then(() => this.#links.delete(link));
    return { link, detached };
  }

  async #open<T extends Attachment>(signal: AbortSignal | undefined, open: () => Promise<T>): Promise<T> {
    signal?.throwIfAborted();
    const attachment = await open();
    if (this.#closed || signal?.aborted) {
      await attachment.close();
      signal?.throwIfAborted();
      throw closedError();
    }
    this.#track(attachment);
    endBy(signal, attachment);
    return attachment;
  }

  #track(attachment: Attachment): void {
    this.#attachments.add(attachment);
    const { address } = attachment;
    const unprotect = address === null || !("port" in address) ? null : this.#ownPorts.protect(address.port);
    void attachment.closed.then(() => {
      this.#attachments.delete(attachment);
      unprotect?.();
    });
  }

  #address(field: string, target: ListenTarget): AttachAddress {
    const address = attachAddress(field, target);
    const { mtu } = this.#config;
    if (address.kind === "udp" && mtu > MAX_DGRAM_MTU) {
      throw new ConfigError("mtu", mtu, `expected at most ${MAX_DGRAM_MTU} for a cable over UDP`);
    }
    return address;
  }
}

/** Aborting `signal` closes `open`, if it is not closed by then. */
function endBy(signal: AbortSignal | undefined, open: { readonly closed: Promise<void>; close(): unknown }): void {
  if (signal === undefined) return;
  const forget = onAbort(signal, () => void open.close());
  void open.closed.then(forget);
}

/** The signal that ends the listening or dialling at a target. */
export function waitsFor(target: ListenTarget): AbortSignal | undefined {
  return typeof target === "string" ? undefined : signalOf(target);
}

/** Who may connect by WebSocket. Throws `ConfigError`. */
export function accessOf(target: ListenTarget): WsAccess {
  return typeof target === "string" || !("ws" in target)
    ? NO_BROWSERS
    : resolveWsAccess(target, { origins: "listen.origins", token: "listen.token" });
}

function described(link: VxlanUplink): Uplink {
  return {
    name: link.name,
    remotes: link.config.remotes.map(endpointText),
    get stats() {
      const { received, sent } = link;
      return { framesIn: received.frames, bytesIn: received.bytes, framesOut: sent.frames, bytesOut: sent.bytes };
    },
    close: () => link.close(),
  };
}

function checkDescriptor(field: string, fd: number): void {
  if (!Number.isInteger(fd) || fd < 0) throw new ConfigError(field, fd, "expected a descriptor, a whole number like 3");
}

const TARGET = "expected { path }, { host, port }, { ws }, { vhostUser } or a text like unix:PATH";

/** Throws `ConfigError` for a value that is no target: nothing has checked the types of a JavaScript program. */
export function checkTarget(field: string, target: ListenTarget): void {
  const given: unknown = target;
  if (typeof given === "string") return;
  const { path, host, port, ws, vhostUser } = (given ?? {}) as Record<string, unknown>;
  const texts = [path, ws, vhostUser].filter((each) => each !== undefined);
  const place = typeof host === "string" && typeof port === "number";
  const none = host === undefined && port === undefined;
  const one = texts.length === 0 ? place : texts.length === 1 && typeof texts[0] === "string" && none;
  if (!one) throw new ConfigError(field, given, TARGET);
}

/** Parses a target. Throws `ConfigError` about `field`. */
export function attachAddress(field: string, target: ListenTarget): AttachAddress {
  const text =
    typeof target === "string"
      ? target
      : "vhostUser" in target
        ? `vhost-user:${target.vhostUser}`
        : "path" in target
          ? `unix:${target.path}`
          : "ws" in target
            ? target.ws
            : `tcp:${target.host.includes(":") ? `[${target.host}]` : target.host}:${target.port}`;
  try {
    return parseAttachAddress(text);
  } catch (error) {
    throw new ConfigError(field, text, (error as Error).message);
  }
}
