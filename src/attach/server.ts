/**
 * Guests that dial in, over UNIX and TCP sockets.
 *
 * A UNIX socket becomes visible last and complete: it is bound in a private folder beside its path, made 0600, and only
 * then renamed to it. So it can be connected to as soon as it is seen, nobody else ever could, and a stale one is
 * replaced without a gap. A socket that somebody serves is left alone: an error.
 */
import fs from "node:fs/promises";
import net from "node:net";
import path from "node:path";
import { attachAddressText, type StreamAddress, UNIX_PATH_MAX } from "./address.ts";
import type { Attachment, CableEnv } from "./attachment.ts";
import { adopt, StreamLink } from "./stream.ts";

type UnixAddress = StreamAddress & { readonly kind: "unix" };

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
  /** Which file our UNIX socket is, so that no one else's is removed. */
  #inode: { dev: bigint; ino: bigint } | null = null;

  constructor(env: CableEnv) {
    this.#env = env;
    this.closed = new Promise((resolve) => {
      this.#onClosed = resolve;
    });
    this.#server = net.createServer({ pauseOnConnect: true }, (socket) => this.#accept(socket));
  }

  async open(address: StreamAddress): Promise<void> {
    if (address.kind === "unix") {
      await this.#openUnix(address);
    } else {
      await this.#listen({ host: address.host, port: address.port }).catch((error: NodeJS.ErrnoException) => {
        throw failure(address, error);
      });
      const { port } = this.#server.address() as net.AddressInfo;
      this.address = { kind: "tcp", host: address.host, port };
    }
    // After listening, errors are those of accept (EMFILE): the next guest may have more luck.
    this.#server.on("error", () => {});
  }

  async close(): Promise<void> {
    if (this.#listening) {
      this.#listening = false;
      if (this.address?.kind === "unix") await this.#unlinkOwn(this.address.path);
      this.#server.close();
      for (const link of [...this.#links]) link.close();
      this.#settle();
    }
    return this.closed;
  }

  async #openUnix(address: UnixAddress): Promise<void> {
    const { path: socketPath } = address;
    await refuseUnlessStale(address);
    let folder: string | null = null;
    try {
      folder = await fs.mkdtemp(path.join(path.dirname(socketPath), "."));
      const temporary = path.join(folder, "s");
      // A longer one would be cut and bound elsewhere.
      if (Buffer.byteLength(temporary) > UNIX_PATH_MAX) {
        throw new Error(`its folder's path is too long (${UNIX_PATH_MAX - 9} bytes at most)`);
      }
      await this.#listen({ path: temporary });
      await fs.chmod(temporary, 0o600);
      const { dev, ino } = await fs.lstat(temporary, { bigint: true });
      this.#inode = { dev, ino };
      // From the rename on guests come.
      this.address = address;
      await fs.rename(temporary, socketPath);
    } catch (error) {
      this.#server.close();
      throw failure(address, error as NodeJS.ErrnoException);
    } finally {
      if (folder !== null) await fs.rm(folder, { recursive: true, force: true });
    }
  }

  #listen(options: net.ListenOptions): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(options, () => {
        this.#server.off("error", reject);
        this.#listening = true;
        resolve();
      });
    });
  }

  #accept(socket: net.Socket): void {
    socket.on("error", () => {});
    if (!this.#listening || this.#links.size >= MAX_GUESTS) {
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

  async #unlinkOwn(socketPath: string): Promise<void> {
    try {
      const { dev, ino } = await fs.lstat(socketPath, { bigint: true });
      if (dev === this.#inode?.dev && ino === this.#inode.ino) await fs.unlink(socketPath);
    } catch {
      // It is gone already.
    }
  }
}

/** Nothing at the path, or a socket that nobody serves: fine. */
async function refuseUnlessStale(address: UnixAddress): Promise<void> {
  const stat = await fs.lstat(address.path).catch(() => null);
  if (stat === null) return;
  if (!stat.isSocket()) throw failure(address, { code: "EEXIST", message: "there is a file that is not a socket" });
  const code = await new Promise<string | null>((resolve) => {
    const probe = net.connect({ path: address.path });
    probe.once("connect", () => {
      probe.destroy();
      resolve(null);
    });
    probe.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? "EIO"));
  });
  if (code === "ECONNREFUSED" || code === "ENOENT") return;
  if (code === "EACCES") throw failure(address, { code, message: "it is somebody else's socket" });
  throw failure(address, { code: "EADDRINUSE", message: "another process serves it" });
}

function failure(address: StreamAddress, cause: { code?: string | undefined; message: string }): Error {
  const error: NodeJS.ErrnoException = new Error(`cannot listen on ${attachAddressText(address)}: ${cause.message}`);
  if (cause.code !== undefined) error.code = cause.code;
  return error;
}
