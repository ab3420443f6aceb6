/**
 * A guest's cable over UDP (QEMU `-netdev dgram`): each datagram is one frame.
 *
 * One socket serves one guest. The guest's address is configured, or taken from the first datagram. Then nobody else is
 * heard, unless the guest has been silent for so long that it may have come back at another port.
 */
import type dgram from "node:dgram";
import { lookup } from "node:dns/promises";
import type { Endpoint } from "../core/address.ts";
import { type Link, MAX_FRAME } from "../core/link.ts";
import { reasonOf } from "../host/reason.ts";
import { ETH_LEAST, ethPad } from "../wire/ethernet.ts";
import { attachAddressText, type DgramAddress } from "./address.ts";
import type { Attachment, CableEnv } from "./attachment.ts";
import { bindDatagrams, Datagrams, type DatagramUser } from "./datagrams.ts";
import type { ReadSlab } from "./slab.ts";

/** Milliseconds of silence after which another sender may be the guest. */
const SILENCE_MILLIS = 30_000;

export interface DgramOptions {
  /** The guest's address. If it is left out, it is taken from the first datagram. */
  readonly remote?: Endpoint;
}

/** Resolves when bound. Rejects with an `Error` of one line. */
export async function listenDgram(
  address: DgramAddress,
  env: CableEnv,
  options: DgramOptions = {},
): Promise<Attachment> {
  try {
    // The name is resolved once: a name in `send` would be looked up for each frame.
    const local = await lookup(address.host);
    const family = local.family === 6 ? 6 : 4;
    const remote = options.remote === undefined ? null : await resolveRemote(options.remote, family);
    const socket = await bindDatagrams({ host: local.address, port: address.port });
    return new DgramLink(socket, { ...address, port: socket.address().port }, env, remote);
  } catch (error) {
    throw new Error(`cannot listen on ${attachAddressText(address)}: ${reasonOf(error)}`);
  }
}

async function resolveRemote(remote: Endpoint, family: 4 | 6): Promise<Endpoint> {
  return { host: (await lookup(remote.host, { family })).address, port: remote.port };
}

class DgramLink implements Link, Attachment, DatagramUser {
  readonly address: DgramAddress;
  readonly name: string;
  readonly endless = true;
  readonly closed: Promise<void>;
  readonly #datagrams: Datagrams;
  readonly #env: CableEnv;
  readonly #configured: boolean;
  #onClosed: () => void = () => {};
  /** The guest's address: one, or none while it is unknown. */
  #remotes: readonly Endpoint[];
  #heard = 0;

  constructor(socket: dgram.Socket, address: DgramAddress, env: CableEnv, remote: Endpoint | null) {
    this.address = address;
    this.name = attachAddressText(address);
    this.#env = env;
    this.#configured = remote !== null;
    this.#remotes = remote === null ? [] : [remote];
    this.#datagrams = new Datagrams(socket, env, this);
    this.closed = new Promise((resolve) => {
      this.#onClosed = resolve;
    });
    if (remote !== null) env.receiver.attached(this);
  }

  get tx(): Uint8Array {
    return this.#datagrams.tx;
  }

  reserve(len: number): number {
    return this.#datagrams.reserve(Math.max(len, ETH_LEAST));
  }

  commit(len: number): void {
    const { tap, sent } = this.#env;
    if (tap.active && !tap.outgoing(this, this.#datagrams.tx, this.#datagrams.next, len)) return;
    sent.frames++;
    sent.bytes += len;
    const { tx, next } = this.#datagrams;
    this.#datagrams.commit(len < ETH_LEAST ? ethPad(tx, next, len) : len, this.#remotes);
  }

  flush(): void {
    this.#datagrams.flush();
  }

  close(): Promise<void> {
    if (this.#datagrams.over) return this.closed;
    this.#datagrams.close(() => {
      if (this.#remotes.length > 0) this.#env.receiver.detached(this);
      this.#onClosed();
    });
    return this.closed;
  }

  welcomes(host: string, port: number, len: number): boolean {
    if (!this.#isGuest(host, port)) return false;
    if (len > 0 && len <= MAX_FRAME) return true;
    this.#env.trace.drop("eth-short");
    return false;
  }

  datagram(slab: ReadSlab, at: number, len: number): void {
    this.#env.receiver.receive(this, slab, at, len);
  }

  batchEnd(): void {
    this.#env.receiver.batchEnd(this);
  }

  writable(): void {
    this.#env.receiver.writable(this);
  }

  #isGuest(host: string, port: number): boolean {
    const now = this.#env.clock.now();
    const known = this.#remotes[0];
    if (known === undefined || known.host !== host || known.port !== port) {
      if (this.#configured) return false;
      if (known !== undefined && now - this.#heard < SILENCE_MILLIS) {
        this.#env.trace.drop("mac-spoofed");
        return false;
      }
      this.#remotes = [{ host, port }];
      if (known === undefined) this.#env.receiver.attached(this);
    }
    this.#heard = now;
    return true;
  }
}
