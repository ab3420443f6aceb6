/** A listening socket, UNIX or TCP, by which guests' connections come, before anybody makes cables of them. */
import net from "node:net";
import { listening, listenUnix, type UnixFile } from "../host/listen-unix.ts";
import { attachAddressText, type StreamAddress } from "./address.ts";

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
      await file?.unlink();
      server.close();
    },
  };
}

function failure(address: StreamAddress, cause: { code?: string | undefined; message: string }): Error {
  const error: NodeJS.ErrnoException = new Error(`cannot listen on ${attachAddressText(address)}: ${cause.message}`);
  if (cause.code !== undefined) error.code = cause.code;
  return error;
}
