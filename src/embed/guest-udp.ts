/** A UDP port within the guests' network, used like a `dgram.Socket`. `net.bindGuestUdp` makes one. */
import { EventEmitter } from "node:events";
import { ConfigError } from "../control/errors.ts";
import type { Endpoint } from "../core/address.ts";

/** The guest that has sent a datagram. */
export interface GuestUdpSender {
  /** The guest's IP address, and below its port. */
  readonly address: string;
  readonly port: number;
  readonly family: "IPv4" | "IPv6";
  /** How many bytes the datagram has. */
  readonly size: number;
}

/** The events of a `GuestUdp`, with the arguments of their listeners. */
export interface GuestUdpEvents {
  /** A datagram from a guest. The listener may keep the bytes. */
  message: [bytes: Buffer, from: GuestUdpSender];
  /** The port has been closed. */
  close: [];
}

/** How many bytes a datagram over IPv4 can carry. */
const MAX_PAYLOAD = 65_507;

/** Sends a datagram to a guest. */
type SendUdp = (bytes: Uint8Array, port: number, address: string) => void;

/** A UDP port to which guests send datagrams, used like a `dgram.Socket`. */
export class GuestUdp extends EventEmitter<GuestUdpEvents> implements Disposable {
  /** The address and port at which guests reach this UDP port. */
  readonly address: Endpoint;
  readonly #send: SendUdp;
  #stop: (() => void) | null = null;

  constructor(address: Endpoint, send: SendUdp) {
    super();
    this.address = address;
    this.#send = send;
  }

  /** Marks the port as open; `stop` ends it. Called by the maker of the port, not by its user. */
  started(stop: () => void): void {
    this.#stop = stop;
  }

  /** Takes a guest's datagram, valid during the call. Listeners run after the network's own call. */
  received(bytes: Uint8Array, at: number, len: number, guest: Endpoint): void {
    if (this.listenerCount("message") === 0) return;
    const message = Buffer.from(bytes.subarray(at, at + len));
    const family = guest.host.includes(":") ? "IPv6" : "IPv4";
    queueMicrotask(() => {
      if (this.#stop !== null)
        this.emit("message", message, { address: guest.host, port: guest.port, family, size: len });
    });
  }

  /**
   * Sends a copy of `bytes` (a text as UTF-8) to a guest's address and port. As always with UDP, nothing tells
   * whether the datagram arrives. If the guest's MAC is not known yet, the network asks for it by ARP, and this
   * datagram is lost. Throws a `RangeError` (EMSGSIZE) for more than 65507 bytes, an `Error`
   * (ERR_SOCKET_DGRAM_NOT_RUNNING) when the port is closed, and `ConfigError` for a wrong argument or an address that
   * no guest can have.
   */
  send(bytes: Uint8Array | string, port: number, address: string): void {
    if (this.#stop === null) throw coded(new Error("the UDP port is closed"), "ERR_SOCKET_DGRAM_NOT_RUNNING");
    if (typeof bytes !== "string" && !(bytes instanceof Uint8Array))
      throw new ConfigError("bytes", bytes, "expected a Uint8Array or a text");
    const payload = typeof bytes === "string" ? Buffer.from(bytes) : bytes;
    if (payload.length > MAX_PAYLOAD)
      throw coded(new RangeError(`a datagram of ${payload.length} bytes: at most ${MAX_PAYLOAD}`), "EMSGSIZE");
    this.#send(payload, port, address);
  }

  /** Closes the port; 'close' follows. Further calls do nothing. */
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

function coded(error: Error, code: string): Error {
  return Object.assign(error, { code });
}
