/** Listening TCP and UNIX sockets of the host, by which port forwards listen. */
import net from "node:net";
import type { AcceptedTcp, Endpoint, HostListener, HostTcp, HostTcpEvents, UnixEndpoint } from "../core/host-net.ts";
import { type Client, takeClients } from "./direct-tcp.ts";
import { listening, listenUnix } from "./listen-unix.ts";
import { abort, inLine } from "./owned-socket.ts";
import type { StreamLibc } from "./stream-libc.ts";
import { NodeTcp } from "./tcp.ts";

const UNIX_CLIENT: Endpoint = { host: "127.0.0.1", port: 0 };
const MAPPED = "::ffff:";

export type OnAccept = (socket: AcceptedTcp) => void;

/**
 * Resolves when clients can connect; with `c`, their connections are direct (`direct-tcp`). Rejects with an `Error`
 * with the system's `code`.
 */
export async function listenTcp(
  at: Endpoint | UnixEndpoint,
  onAccept: OnAccept,
  c: StreamLibc | null,
): Promise<HostListener> {
  const server = new net.Server({ allowHalfOpen: true, pauseOnConnect: true });
  server.on("connection", (socket) => accepted(socket, "path" in at, onAccept));
  let listener: HostListener;
  if ("path" in at) listener = await listenOnPath(server, at.path);
  else {
    await listening(server, { host: at.host, port: at.port, ipv6Only: true, exclusive: true });
    // Set before a client connects, since the kernel takes an urgent byte out of line when it arrives.
    inLine(server);
    if (c !== null) takeClients(c, server, (client) => acceptedDirectly(client, onAccept));
    const { port } = server.address() as net.AddressInfo;
    listener = { address: { host: at.host, port }, close: () => server.close() };
  }
  // Errors that come after listening are accept's (EMFILE): the next client may succeed.
  server.on("error", () => {});
  return listener;
}

/** A client that somebody may take; if nobody does, its connection is broken. */
class Accepted implements AcceptedTcp {
  readonly remote: Endpoint;
  readonly #take: (events: HostTcpEvents) => HostTcp;
  taken = false;

  constructor(remote: Endpoint, take: (events: HostTcpEvents) => HostTcp) {
    this.remote = remote;
    this.#take = take;
  }

  accept(events: HostTcpEvents): HostTcp {
    this.taken = true;
    return this.#take(events);
  }
}

function plain(address: string): string {
  return address.startsWith(MAPPED) ? address.slice(MAPPED.length) : address;
}

function acceptedDirectly({ remote: { host, port }, take, refuse }: Client, onAccept: OnAccept): void {
  const offer = new Accepted({ host: plain(host), port }, take);
  onAccept(offer);
  if (!offer.taken) refuse();
}

function accepted(socket: net.Socket, unix: boolean, onAccept: OnAccept): void {
  const { remoteAddress, remotePort } = socket;
  let remote = UNIX_CLIENT;
  if (!unix) {
    // A client that has gone already has no address.
    if (remoteAddress === undefined || remotePort === undefined) {
      socket.destroy();
      return;
    }
    remote = { host: plain(remoteAddress), port: remotePort };
  }
  const offer = new Accepted(remote, (events) => new NodeTcp(events, socket, unix));
  onAccept(offer);
  if (offer.taken) return;
  socket.on("error", () => {});
  abort(socket, unix);
}

async function listenOnPath(server: net.Server, at: string): Promise<HostListener> {
  const file = await listenUnix(server, at).catch((error: NodeJS.ErrnoException) => {
    throw Object.assign(error, { address: at });
  });
  return {
    address: { path: at },
    close: () => {
      server.close();
      file.unlink();
    },
  };
}
