/**
 * Listening TCP and UNIX sockets of the host: what port forwards are made of.
 *
 * A UNIX socket is bound in a private folder beside its path, made 0600 and then renamed to it: nobody else can ever
 * connect, and a stale one is replaced without a gap. One that somebody serves is left alone.
 */
import fs from "node:fs/promises";
import net from "node:net";
import path from "node:path";
import type { AcceptedTcp, Endpoint, HostListener, HostTcp, HostTcpEvents, UnixEndpoint } from "../core/host-net.ts";
import { abort, NodeTcp } from "./tcp.ts";

/** A UNIX path has to fit `sockaddr_un` with its NUL (108 bytes on Linux, 104 elsewhere); a longer one would be cut. */
const UNIX_PATH_MAX = process.platform === "linux" ? 107 : 103;
const UNIX_CLIENT: Endpoint = { host: "127.0.0.1", port: 0 };
const MAPPED = "::ffff:";

export type OnAccept = (socket: AcceptedTcp) => void;

/** Resolves when clients can connect. Rejects with an `Error` that has the system's `code`. */
export async function listenTcp(at: Endpoint | UnixEndpoint, onAccept: OnAccept): Promise<HostListener> {
  const server = new net.Server({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true });
  server.on("connection", (socket) => accepted(socket, "path" in at, onAccept));
  let listener: HostListener;
  if ("path" in at) listener = await listenUnix(server, at.path);
  else {
    await listening(server, { host: at.host, port: at.port, ipv6Only: true, exclusive: true });
    const { port } = server.address() as net.AddressInfo;
    listener = { address: { host: at.host, port }, close: () => server.close() };
  }
  // After listening, errors are those of accept (EMFILE): the next client may have more luck.
  server.on("error", () => {});
  return listener;
}

class Accepted implements AcceptedTcp {
  readonly remote: Endpoint;
  readonly #socket: net.Socket;
  readonly #unix: boolean;
  taken = false;

  constructor(remote: Endpoint, socket: net.Socket, unix: boolean) {
    this.remote = remote;
    this.#socket = socket;
    this.#unix = unix;
  }

  accept(events: HostTcpEvents): HostTcp {
    this.taken = true;
    return new NodeTcp(events, this.#socket, this.#unix);
  }
}

function accepted(socket: net.Socket, unix: boolean, onAccept: OnAccept): void {
  const { remoteAddress, remotePort } = socket;
  let remote = UNIX_CLIENT;
  if (!unix) {
    // A client that is gone already has no address.
    if (remoteAddress === undefined || remotePort === undefined) {
      socket.destroy();
      return;
    }
    const host = remoteAddress.startsWith(MAPPED) ? remoteAddress.slice(MAPPED.length) : remoteAddress;
    remote = { host, port: remotePort };
  }
  const offer = new Accepted(remote, socket, unix);
  onAccept(offer);
  if (offer.taken) return;
  socket.on("error", () => {});
  abort(socket, unix);
}

function listening(server: net.Server, options: net.ListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(options, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

async function listenUnix(server: net.Server, at: string): Promise<HostListener> {
  await refuseUnlessStale(at);
  const folder = await fs.mkdtemp(path.join(path.dirname(at), "."));
  try {
    const temporary = path.join(folder, "s");
    if (Buffer.byteLength(temporary) > UNIX_PATH_MAX || Buffer.byteLength(at) > UNIX_PATH_MAX)
      throw failure(at, "ENAMETOOLONG", "the path is too long for a socket");
    await listening(server, { path: temporary, exclusive: true });
    await fs.chmod(temporary, 0o600);
    const own = await fs.lstat(temporary, { bigint: true });
    await fs.rename(temporary, at);
    return {
      address: { path: at },
      close: () => {
        server.close();
        void unlinkOwn(at, own);
      },
    };
  } catch (error) {
    server.close();
    throw error;
  } finally {
    await fs.rm(folder, { recursive: true, force: true });
  }
}

/** Nothing at the path, or a socket that nobody serves: fine. */
async function refuseUnlessStale(at: string): Promise<void> {
  const stat = await fs.lstat(at).catch(() => null);
  if (stat === null) return;
  if (!stat.isSocket()) throw failure(at, "EEXIST", "there is a file that is not a socket");
  const code = await new Promise<string | null>((resolve) => {
    const probe = net.connect({ path: at });
    probe.once("connect", () => {
      probe.destroy();
      resolve(null);
    });
    probe.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? "EIO"));
  });
  if (code === "ECONNREFUSED" || code === "ENOENT") return;
  if (code === "EACCES") throw failure(at, code, "it is somebody else's socket");
  throw failure(at, "EADDRINUSE", "another process serves it");
}

/** Only the file that was ours: another one may have taken the path since. */
async function unlinkOwn(at: string, own: { dev: bigint; ino: bigint }): Promise<void> {
  try {
    const { dev, ino } = await fs.lstat(at, { bigint: true });
    if (dev === own.dev && ino === own.ino) await fs.unlink(at);
  } catch {
    // It is gone already.
  }
}

function failure(at: string, code: string, why: string): Error {
  const error: NodeJS.ErrnoException = new Error(`listen ${code}: ${why}: ${at}`);
  error.code = code;
  return error;
}
