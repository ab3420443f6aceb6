/**
 * A SOCKS5 server (RFC 1928) by which any program of this host reaches any guest: CONNECT to an address of the guests'
 * network, or to a guest's DHCP host name. No authentication: whoever may open the socket may dial, so it listens on
 * the loopback or on a UNIX path, and its port is closed to guests.
 */
import net from "node:net";
import type { StreamAddress } from "../attach/address.ts";
import { listening, listenUnix, type UnixFile } from "../host/listen-unix.ts";
import { reasonOf } from "../host/reason.ts";
import type { Network } from "../network.ts";
import { ipv4ToString } from "../wire/ipv4.ts";
import { ipv6ToString } from "../wire/ipv6.ts";
import { splice } from "./splice.ts";

const VERSION = 5;
const NO_AUTHENTICATION = 0;
const NO_METHOD = 0xff;
const CONNECT = 1;
const IPV4 = 1;
const NAME = 3;
const IPV6 = 4;

/** The server's reply codes (section 6). */
const SUCCEEDED = 0;
const FAILED = 1;
const HOST_UNREACHABLE = 4;
const REFUSED = 5;
const COMMAND_UNSUPPORTED = 7;
const ADDRESS_UNSUPPORTED = 8;

/** Bytes of the longest greeting and request: 255 methods, and a name of 255 bytes. */
const MAX_HANDSHAKE = 1024;
const HANDSHAKE_MILLIS = 10_000;

export interface Socks {
  readonly address: StreamAddress;
  close(): Promise<void>;
}

/** Resolves when clients can connect. Rejects with an `Error` of one line. */
export async function serveSocks(network: Network, address: StreamAddress): Promise<Socks> {
  const clients = new Set<net.Socket>();
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    clients.add(client);
    client.on("close", () => clients.delete(client));
    client.on("error", () => {});
    void serve(network, client);
  });
  server.maxConnections = network.config.limits.socksClients;
  server.on("drop", () => network.refusedClient());
  let file: UnixFile | null = null;
  let port = 0;
  try {
    if (address.kind === "unix") file = await listenUnix(server, address.path);
    else {
      await listening(server, { host: address.host, port: address.port, exclusive: true });
      port = (server.address() as net.AddressInfo).port;
    }
  } catch (error) {
    const where = address.kind === "unix" ? `unix:${address.path}` : `tcp:${address.host}:${address.port}`;
    throw new Error(`cannot serve SOCKS on ${where}: ${reasonOf(error)}`, { cause: error });
  }
  server.on("error", () => {});
  const unprotect = address.kind === "tcp" ? network.protectPort(port) : () => {};
  return {
    address: address.kind === "tcp" ? { ...address, port } : address,
    close: async () => {
      file?.unlink();
      unprotect();
      for (const client of clients) client.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A request's destination, or the code of its refusal. */
type Request = { readonly host: string; readonly port: number } | number;

async function serve(network: Network, client: net.Socket): Promise<void> {
  client.setTimeout(HANDSHAKE_MILLIS, () => client.destroy());
  try {
    const reader = new Handshake(client);
    const [version, methods] = await reader.take(2);
    if (version !== VERSION) return void client.destroy();
    if (!(await reader.take(methods!)).includes(NO_AUTHENTICATION)) {
      return void client.end(Uint8Array.from([VERSION, NO_METHOD]));
    }
    client.write(Uint8Array.from([VERSION, NO_AUTHENTICATION]));
    const request = await readRequest(reader, network);
    if (typeof request === "number") return void client.end(reply(request));
    const guest = await network
      .connect({ ...request, allowHalfOpen: true })
      .catch((error: NodeJS.ErrnoException) => error);
    if (guest instanceof Error) return void client.end(reply(codeOf(guest)));
    if (client.destroyed) return void guest.destroy();
    client.setTimeout(0);
    client.write(reply(SUCCEEDED));
    reader.release();
    splice(guest, client);
  } catch {
    // The client has gone, or has sent too much.
    client.destroy();
  }
}

async function readRequest(reader: Handshake, network: Network): Promise<Request> {
  const [version, command, , kind] = await reader.take(4);
  if (version !== VERSION) return FAILED;
  let host: string | null;
  if (kind === IPV4) host = ipv4ToString((await reader.take(4)).readInt32BE(0));
  else if (kind === IPV6) host = ipv6ToString(await reader.take(16), 0);
  else if (kind === NAME) {
    const [len] = await reader.take(1);
    const name = (await reader.take(len!)).toString("latin1");
    host = net.isIP(name) !== 0 ? name : network.guestNamed(name);
  } else return ADDRESS_UNSUPPORTED;
  const port = (await reader.take(2)).readUInt16BE(0);
  if (command !== CONNECT) return COMMAND_UNSUPPORTED;
  return host === null ? HOST_UNREACHABLE : port === 0 ? REFUSED : { host, port };
}

/** Reads the bytes before the stream, piece by piece. */
class Handshake {
  readonly #client: net.Socket;
  #bytes: Buffer = Buffer.alloc(0);
  #total = 0;
  #wake: (() => void) | null = null;
  #over = false;
  readonly #onData = (chunk: Buffer): void => {
    this.#total += chunk.length;
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    // Bytes behind the request belong to the stream, and wait in the socket.
    if (this.#total > MAX_HANDSHAKE) this.#client.pause();
    this.#wake?.();
  };
  readonly #onOver = (): void => {
    this.#over = true;
    this.#wake?.();
  };

  constructor(client: net.Socket) {
    this.#client = client;
    client.on("data", this.#onData).on("end", this.#onOver).on("close", this.#onOver);
  }

  /** The next `count` bytes. Rejects when they do not come. */
  async take(count: number): Promise<Buffer> {
    while (this.#bytes.length < count) {
      if (this.#over || this.#client.isPaused()) throw new Error("no whole request");
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const taken = this.#bytes.subarray(0, count);
    this.#bytes = this.#bytes.subarray(count);
    return taken;
  }

  /** The remaining bytes belong to the stream. */
  release(): void {
    this.#client.off("data", this.#onData).off("end", this.#onOver).off("close", this.#onOver).pause();
    if (this.#bytes.length > 0) this.#client.unshift(this.#bytes);
  }
}

/** The address in the reply is zeros: nobody has a use for it. */
function reply(code: number): Uint8Array {
  return Uint8Array.from([VERSION, code, 0, IPV4, 0, 0, 0, 0, 0, 0]);
}

function codeOf(error: NodeJS.ErrnoException): number {
  if (error.code === "ECONNREFUSED" || error.code === "ECONNRESET") return REFUSED;
  return error.code === "ETIMEDOUT" || error.code === "EHOSTUNREACH" ? HOST_UNREACHABLE : FAILED;
}
