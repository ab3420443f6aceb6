/** A UDP port within the guests' network: what `net.bindGuestUdp` gives, with the manners of `dgram.Socket`. */
import { EventEmitter } from "node:events";
import { ConfigError } from "../control/errors.ts";
import type { Endpoint } from "../core/address.ts";

/** Who sent a datagram. */
export interface GuestUdpSender {
  readonly address: string;
  readonly port: number;
  readonly family: "IPv4" | "IPv6";
  /** Bytes of the datagram. */
  readonly size: number;
}

export interface GuestUdpEvents {
  /** The bytes are the listener's to keep. */
  message: [bytes: Buffer, from: GuestUdpSender];
  close: [];
}

/** The longest payload of a datagram over IPv4. */
const MAX_PAYLOAD = 65_507;

/** Sends a datagram to a guest. */
type SendUdp = (bytes: Uint8Array, port: number, address: string) => void;

export class GuestUdp extends EventEmitter<GuestUdpEvents> implements Disposable {
  /** Where guests find it. */
  readonly address: Endpoint;
  readonly #send: SendUdp;
  #stop: (() => void) | null = null;

  constructor(address: Endpoint, send: SendUdp) {
    super();
    this.address = address;
    this.#send = send;
  }

  /** Opens it: `stop` is what ends it. For who makes it. */
  started(stop: () => void): void {
    this.#stop = stop;
  }

  /** A guest's datagram, valid during the call. Listeners run once the network's own call has returned. */
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
   * Sends a copy. As ever with UDP, nothing tells whether it arrives: a guest that nobody knows yet is asked for by ARP
   * and this datagram is lost. Throws a RangeError when it is too long, an Error when closed, `ConfigError` about an argument.
   */
  send(bytes: Uint8Array | string, port: number, address: string): void {
    if (this.#stop === null) throw new Error("the UDP port is closed");
    if (typeof bytes !== "string" && !(bytes instanceof Uint8Array))
      throw new ConfigError("bytes", bytes, "expected a Uint8Array or a text");
    const payload = typeof bytes === "string" ? Buffer.from(bytes) : bytes;
    if (payload.length > MAX_PAYLOAD)
      throw new RangeError(`a datagram of ${payload.length} bytes: at most ${MAX_PAYLOAD}`);
    this.#send(payload, port, address);
  }

  /** May be called again. */
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
