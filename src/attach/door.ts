/** Listening sockets by which guests come, before anybody makes cables of them. */
import net from "node:net";
import type { Link } from "../core/link.ts";
import { listening, listenUnix, type UnixFile } from "../host/listen-unix.ts";
import { portHint } from "../host/port-hint.ts";
import { type AttachAddress, attachAddressText, type StreamAddress } from "./address.ts";
import type { CableEnv } from "./attachment.ts";

/** A guest at the door: nothing of what it says has been read. */
export interface Arrival {
  /** Makes its cable, on the network of `env`. `onGone` follows `detached`. */
  plug(name: string, env: CableEnv, onGone: () => void): Link;
  /** Sends it away. */
  refuse(): void;
}

/** Where guests arrive. */
export interface GuestDoor {
  /** A port that was 0 is the one taken. */
  readonly address: AttachAddress;
  /** Takes the socket away; guests that have come are their taker's. */
  close(): Promise<void>;
}

/** Opens a door that hands each guest to `onArrival`. The first may come before it resolves. */
export type OpenGuestDoor = (onArrival: (arrival: Arrival) => void) => Promise<GuestDoor>;

/** A UNIX or TCP socket that listens. */
export interface Door {
  /** A port that was 0 is the one taken. */
  readonly address: StreamAddress;
  /** Takes the socket away; connections that have come are their taker's. */
  close(): Promise<void>;
}

/** Is handed each connection, unread (`pauseOnConnect`), with the door's address. */
export type OnConnection = (socket: net.Socket, address: StreamAddress) => void;

/**
 * Resolves when guests can connect; over UNIX the first may have come before. Rejects with an `Error` of one line, whose
 * `code` is the system's where it has one.
 */
export async function openDoor(wanted: StreamAddress, onConnection: OnConnection): Promise<Door> {
  let address = wanted;
  let file: UnixFile | null = null;
  const server = net.createServer({ pauseOnConnect: true }, (socket) => {
    // Who has gone again says so here; whoever takes the connection learns of it by its close.
    socket.on("error", () => {});
    onConnection(socket, address);
  });
  try {
    if (wanted.kind === "unix") file = await listenUnix(server, wanted.path);
    else {
      await listening(server, { host: wanted.host, port: wanted.port });
      address = { kind: "tcp", host: wanted.host, port: (server.address() as net.AddressInfo).port };
    }
  } catch (error) {
    throw failure(wanted, error as NodeJS.ErrnoException);
  }
  // After listening, errors are those of accept (EMFILE): the next guest may have more luck.
  server.on("error", () => {});
  return {
    address,
    close: async () => {
      file?.unlink();
      server.close();
    },
  };
}

function failure(address: StreamAddress, cause: { code?: string | undefined; message: string }): Error {
  const error: NodeJS.ErrnoException = new Error(
    `cannot listen on ${attachAddressText(address)}: ${cause.message}${portHint(cause)}`,
  );
  if (cause.code !== undefined) error.code = cause.code;
  return error;
}
