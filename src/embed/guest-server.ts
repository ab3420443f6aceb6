/** A listening TCP port within the guests' network: what `net.listenGuest` gives. */
import { EventEmitter } from "node:events";
import type { Endpoint } from "../core/address.ts";
import type { HostTcp, HostTcpEvents } from "../core/host-net.ts";
import { GuestSocket } from "./guest-socket.ts";

export interface GuestServerEvents {
  connection: [socket: GuestSocket];
  close: [];
}

export class GuestServer extends EventEmitter<GuestServerEvents> implements Disposable {
  /** Where guests find it. */
  readonly address: Endpoint;
  readonly #allowHalfOpen: boolean;
  #stop: (() => void) | null = null;

  constructor(address: Endpoint, allowHalfOpen: boolean) {
    super();
    this.address = address;
    this.#allowHalfOpen = allowHalfOpen;
  }

  /** Opens it: `stop` is what ends it. For who makes servers. */
  started(stop: () => void): void {
    this.#stop = stop;
  }

  /** A guest dials. 'connection' comes when the connection stands. For who makes servers. */
  dialled(events: HostTcpEvents, guest: Endpoint): HostTcp {
    const socket = new GuestSocket({ remote: guest, local: this.address, allowHalfOpen: this.#allowHalfOpen });
    // Before it stands it is nobody's, and its end is no news.
    socket.once("error", forget);
    socket.prependOnceListener("connect", () => {
      socket.removeListener("error", forget);
      this.emit("connection", socket);
    });
    const plug = socket.plugIn(events);
    plug.answer();
    return plug;
  }

  get listening(): boolean {
    return this.#stop !== null;
  }

  /** No new connections; those that exist go on. May be called again. */
  close(): void {
    if (this.#stop === null) return;
    this.#stop();
    this.#stop = null;
    process.nextTick(() => this.emit("close"));
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function forget(): void {}
