/** Guests that dial in, over UNIX and TCP sockets. */
import type net from "node:net";
import { attachAddressText, type StreamAddress } from "./address.ts";
import type { Attachment, CableEnv } from "./attachment.ts";
import { type Door, openDoor } from "./door.ts";
import { StreamLink } from "./stream.ts";

/** Resolves when guests can connect. Rejects with an `Error` of one line, whose `code` is the system's where it has one. */
export async function listenStream(address: StreamAddress, env: CableEnv): Promise<Attachment> {
  const server = new StreamServer(env);
  await server.open(address);
  return server;
}

class StreamServer implements Attachment {
  readonly closed: Promise<void>;
  readonly #env: CableEnv;
  readonly #links: Set<StreamLink> = new Set();
  #onClosed: () => void = () => {};
  #door: Door | null = null;
  #listening = false;
  #accepted = 0;

  constructor(env: CableEnv) {
    this.#env = env;
    this.closed = new Promise((resolve) => {
      this.#onClosed = resolve;
    });
  }

  get address(): StreamAddress {
    return this.#door!.address;
  }

  async open(address: StreamAddress): Promise<void> {
    this.#listening = true;
    this.#door = await openDoor(address, (socket, at) => this.#accept(socket, at));
  }

  async close(): Promise<void> {
    if (this.#listening) {
      this.#listening = false;
      await this.#door!.close();
      for (const link of [...this.#links]) link.close();
      this.#settle();
    }
    return this.closed;
  }

  #accept(socket: net.Socket, at: StreamAddress): void {
    // Each holds about 1 MiB of buffers.
    const full = this.#links.size >= this.#env.limits.cables;
    if (full) this.#env.trace.drop("cables-full");
    if (!this.#listening || full) {
      socket.destroy();
      return;
    }
    const name = `${attachAddressText(at)}#${++this.#accepted}`;
    const link = new StreamLink(name, this.#env, () => {
      this.#links.delete(link);
      this.#settle();
    });
    this.#links.add(link);
    link.startAccepted(socket);
  }

  #settle(): void {
    if (!this.#listening && this.#links.size === 0) this.#onClosed();
  }
}
