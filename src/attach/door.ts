/** Listening sockets by which guests come, before cables are made for them. */
import net from "node:net";
import type { Link } from "../core/link.ts";
import { listening, listenUnix, type UnixFile } from "../host/listen-unix.ts";
import { reasonOf } from "../host/reason.ts";
import { type AttachAddress, attachAddressText, type StreamAddress } from "./address.ts";
import type { CableEnv } from "./attachment.ts";

/** A guest that has arrived, and of which nothing has been read. */
export interface Arrival {
  /** Makes the guest's cable, on the network of `env`. `onGone` follows `detached`. */
  plug(name: string, env: CableEnv, onGone: () => void): Link;
  /** Turns the guest away. */
  refuse(): void;
}

/** Where guests arrive. */
export interface GuestDoor {
  /** If the wanted port was 0, this has the port that was taken. */
  readonly address: AttachAddress;
  /** Closes the socket; guests that have come stay with whoever took them. */
  close(): Promise<void>;
}

/** Opens a door that hands each guest to `onArrival`. The first guest may come before the promise resolves. */
export type OpenGuestDoor = (onArrival: (arrival: Arrival) => void) => Promise<GuestDoor>;

/** A UNIX or TCP socket that listens. */
export interface Door {
  /** If the wanted port was 0, this has the port that was taken. */
  readonly address: StreamAddress;
  /** Closes the socket; connections that have come stay with whoever took them. */
  close(): Promise<void>;
}

/** Given each connection, unread (`pauseOnConnect`), with the door's address. */
export type OnConnection = (socket: net.Socket, address: StreamAddress) => void;

/**
 * Resolves when guests can connect; over UNIX the first may have come before. Rejects with an `Error` of one line, with
 * the system's `code` where there is one.
 */
export async function openDoor(wanted: StreamAddress, onConnection: OnConnection): Promise<Door> {
  let address = wanted;
  let file: UnixFile | null = null;
  const server = net.createServer({ pauseOnConnect: true }, (socket) => {
    // A client that has gone at once causes an error here; whoever takes the connection sees its close.
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
  // Errors that come after listening are accept's (EMFILE): the next guest may succeed.
  server.on("error", () => {});
  return {
    address,
    close: async () => {
      file?.unlink();
      server.close();
    },
  };
}

function failure(address: StreamAddress, cause: NodeJS.ErrnoException): Error {
  const error: NodeJS.ErrnoException = new Error(`cannot listen on ${attachAddressText(address)}: ${reasonOf(cause)}`);
  if (cause.code !== undefined) error.code = cause.code;
  return error;
}
