/** Guests that dial in, over UNIX and TCP sockets. */
import net from "node:net";
import { listening, listenUnix, type UnixFile } from "../host/listen-unix.ts";
import { attachAddressText, type StreamAddress } from "./address.ts";
import type { Attachment, CableEnv } from "./attachment.ts";
import { adopt, StreamLink } from "./stream.ts";

/** Guests at one socket. Each holds about 1 MiB of buffers. */
const MAX_GUESTS = 64;

/** Resolves when guests can connect. Rejects with an `Error` of one line, whose `code` is the system's where it has one. */
export async function listenStream(address: StreamAddress, env: CableEnv): Promise<Attachment> {
  const server = new StreamServer(env);
  await server.open(address);
  return server;
}

class StreamServer implements Attachment {
  address: StreamAddress | null = null;
  readonly closed: Promise<void>;
  readonly #env: CableEnv;
  readonly #server: net.Server;
  readonly #links: Set<StreamLink> = new Set();
  #onClosed: () => void = () => {};
  #listening = false;
  #accepted = 0;
  #file: UnixFile | null = null;

  constructor(env: CableEnv) {
    this.#env = env;
    this.closed = new Promise((resolve) => {
      this.#onClosed = resolve;
    });
    this.#server = net.createServer({ pauseOnConnect: true }, (socket) => this.#accept(socket));
  }

  async open(address: StreamAddress): Promise<void> {
    try {
      if (address.kind === "unix") {
        // From the moment that the file is seen guests come.
        this.address = address;
        this.#listening = true;
        this.#file = await listenUnix(this.#server, address.path);
      } else {
        await listening(this.#server, { host: address.host, port: address.port });
        const { port } = this.#server.address() as net.AddressInfo;
        this.address = { kind: "tcp", host: address.host, port };
        this.#listening = true;
      }
    } catch (error) {
      this.#listening = false;
      throw failure(address, error as NodeJS.ErrnoException);
    }
    // After listening, errors are those of accept (EMFILE): the next guest may have more luck.
    this.#server.on("error", () => {});
  }

  async close(): Promise<void> {
    if (this.#listening) {
      this.#listening = false;
      await this.#file?.unlink();
      this.#server.close();
      for (const link of [...this.#links]) link.close();
      this.#settle();
    }
    return this.closed;
  }

  #accept(socket: net.Socket): void {
    socket.on("error", () => {});
    const full = this.#links.size >= MAX_GUESTS;
    if (full) this.#env.trace.drop("cables-full");
    if (!this.#listening || full) {
      socket.destroy();
      return;
    }
    const name = `${attachAddressText(this.address!)}#${++this.#accepted}`;
    const link = new StreamLink(name, this.#env, () => {
      this.#links.delete(link);
      this.#settle();
    });
    this.#links.add(link);
    const adopted = adopt(socket, link.onread);
    link.start(adopted ?? socket, adopted !== null);
  }

  #settle(): void {
    if (!this.#listening && this.#links.size === 0) this.#onClosed();
  }
}

function failure(address: StreamAddress, cause: { code?: string | undefined; message: string }): Error {
  const error: NodeJS.ErrnoException = new Error(`cannot listen on ${attachAddressText(address)}: ${cause.message}`);
  if (cause.code !== undefined) error.code = cause.code;
  return error;
}
