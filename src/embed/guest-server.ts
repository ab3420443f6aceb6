/** A listening TCP port within the guests' network. `net.listenGuest` makes one. */
import { EventEmitter } from "node:events";
import type { Endpoint } from "../core/address.ts";
import type { HostTcp, HostTcpEvents } from "../core/host-net.ts";
import { GuestSocket } from "./guest-socket.ts";

/** The events of a `GuestServer`, with the arguments of their listeners. */
export interface GuestServerEvents {
  /** A guest has connected. */
  connection: [socket: GuestSocket];
  /** The server has stopped listening. */
  close: [];
}

/** A TCP port to which guests connect, used like a `net.Server`. */
export class GuestServer extends EventEmitter<GuestServerEvents> implements Disposable {
  /** The address and port at which guests reach this server. */
  readonly address: Endpoint;
  readonly #allowHalfOpen: boolean;
  #stop: (() => void) | null = null;

  constructor(address: Endpoint, allowHalfOpen: boolean) {
    super();
    this.address = address;
    this.#allowHalfOpen = allowHalfOpen;
  }

  /** Marks the port as open; `stop` ends it. Called by the maker of servers, not by their user. */
  started(stop: () => void): void {
    this.#stop = stop;
  }

  /** Answers a guest that connects. 'connection' follows when the connection is established. */
  dialled(events: HostTcpEvents, guest: Endpoint): HostTcp {
    const socket = new GuestSocket({ remote: guest, local: this.address, allowHalfOpen: this.#allowHalfOpen });
    // Before the connection is established, the socket has no user who could handle its errors.
    socket.once("error", forget);
    socket.prependOnceListener("connect", () => {
      socket.removeListener("error", forget);
      this.emit("connection", socket);
    });
    const plug = socket.plugIn(events);
    plug.answer();
    return plug;
  }

  /** Whether guests can connect: true until `close`. */
  get listening(): boolean {
    return this.#stop !== null;
  }

  /** Accepts no more connections; those that are open go on. 'close' follows. Further calls do nothing. */
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
