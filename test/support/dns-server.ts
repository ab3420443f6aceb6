/** Name servers on loopback whose answers a test decides. */
import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { once } from "node:events";
import { createServer, type Server, type Socket as TcpSocket } from "node:net";
import type { Endpoint } from "../../src/core/address.ts";
import { framed, unframed } from "./dns.ts";

/** Given a query and whom it came from: what to send back, in order. */
export type Behaviour = (query: Uint8Array, from: RemoteInfo) => Uint8Array[];

export class UdpServer {
  readonly seen: { query: Uint8Array; from: RemoteInfo }[] = [];
  behaviour: Behaviour;
  readonly #socket: Socket;

  private constructor(socket: Socket, behaviour: Behaviour) {
    this.#socket = socket;
    this.behaviour = behaviour;
    socket.on("message", (bytes, from) => {
      const query = Uint8Array.from(bytes);
      this.seen.push({ query, from });
      for (const answer of this.behaviour(query, from)) socket.send(answer, from.port, from.address);
      socket.emit("seen");
    });
  }

  static async open(behaviour: Behaviour, host = "127.0.0.1", port = 0): Promise<UdpServer> {
    const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
    socket.bind(port, host);
    await once(socket, "listening");
    return new UdpServer(socket, behaviour);
  }

  get endpoint(): Endpoint {
    const { address, port } = this.#socket.address();
    return { host: address, port };
  }

  /** The next query has come and what was said to it has been sent. */
  async next(): Promise<void> {
    await once(this.#socket, "seen");
  }

  send(bytes: Uint8Array, to: RemoteInfo): Promise<void> {
    return new Promise((done) => this.#socket.send(bytes, to.port, to.address, () => done()));
  }

  async close(): Promise<void> {
    this.#socket.close();
    await once(this.#socket, "close");
  }
}

/** Called with each query: whatever it wants with the connection. */
export type TcpBehaviour = (query: Uint8Array, socket: TcpSocket) => void;

export class TcpServer {
  readonly seen: Uint8Array[] = [];
  connections = 0;
  readonly #server: Server;
  readonly #open: Set<TcpSocket> = new Set();

  private constructor(server: Server, behaviour: TcpBehaviour) {
    this.#server = server;
    server.on("connection", (socket) => {
      this.connections++;
      this.#open.add(socket);
      let bytes: Uint8Array = new Uint8Array(0);
      socket.on("error", () => {});
      socket.on("close", () => this.#open.delete(socket));
      socket.on("data", (more) => {
        const { messages, rest } = unframed(Uint8Array.from([...bytes, ...more]));
        bytes = rest;
        for (const query of messages) {
          this.seen.push(query);
          behaviour(query, socket);
        }
      });
    });
  }

  static async open(behaviour: TcpBehaviour, host = "127.0.0.1"): Promise<TcpServer> {
    const server = createServer();
    const made = new TcpServer(server, behaviour);
    server.listen(0, host);
    await once(server, "listening");
    return made;
  }

  get endpoint(): Endpoint {
    const { address, port } = this.#server.address() as { address: string; port: number };
    return { host: address, port };
  }

  get open(): number {
    return this.#open.size;
  }

  async close(): Promise<void> {
    for (const socket of this.#open) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }
}

/** Sends one framed answer in two pieces. */
export function reply(socket: TcpSocket, message: Uint8Array): void {
  const bytes = framed(message);
  socket.write(bytes.subarray(0, 5));
  socket.write(bytes.subarray(5));
}
