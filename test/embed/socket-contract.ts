/** A connection whose near end is under test and whose far end does as it is told: over Node's sockets, and over a guest. */
import { once } from "node:events";
import net from "node:net";
import type { TcpSocket } from "../../src/cli/guest/tcp.ts";
import type { GuestSocket } from "../../src/index.ts";
import { GUEST, type Lan, startLan } from "./lan.ts";

/** What both kinds of socket have. */
export type AnySocket = net.Socket | GuestSocket;

export interface Far {
  /** Everything that has come, and whether the near end has sent FIN; null while it goes on, else how it ended. */
  readonly text: string;
  readonly bytes: number;
  readonly ended: boolean;
  readonly closed: null | "ended" | "reset";
  /** Resolves when `until` holds. */
  until(what: (far: Far) => boolean): Promise<void>;
  write(text: string): void;
  end(): void;
  reset(): void;
  pause(): void;
  resume(): void;
}

export interface Rig {
  readonly name: string;
  /** A port where the far end listens, and one where nobody does. */
  start(): Promise<{ connect(allowHalfOpen?: boolean): { near: AnySocket; far: Promise<Far> }; refused(): AnySocket }>;
  stop(): Promise<void>;
}

class Watch {
  text = "";
  bytes = 0;
  ended = false;
  closed: null | "ended" | "reset" = null;
  readonly #waiting: Set<() => void> = new Set();

  changed(): void {
    for (const check of this.#waiting) check();
  }

  got(bytes: Uint8Array): void {
    this.bytes += bytes.length;
    if (this.text.length < 1_000) this.text += Buffer.from(bytes).toString("latin1");
    this.changed();
  }

  until(this: Watch & Far, what: (far: Far) => boolean): Promise<void> {
    return new Promise((resolve) => {
      const check = (): void => {
        if (!what(this)) return;
        this.#waiting.delete(check);
        resolve();
      };
      this.#waiting.add(check);
      check();
    });
  }
}

class NodeFar extends Watch implements Far {
  readonly #socket: net.Socket;

  constructor(socket: net.Socket) {
    super();
    this.#socket = socket;
    socket.on("data", (bytes: Buffer) => this.got(bytes));
    socket.on("end", () => {
      this.ended = true;
      this.changed();
    });
    socket.on("error", () => {
      this.closed = "reset";
      this.changed();
    });
    socket.on("close", () => {
      this.closed ??= "ended";
      this.changed();
    });
  }
  write(text: string): void {
    this.#socket.write(text);
  }
  end(): void {
    this.#socket.end();
  }
  reset(): void {
    this.#socket.resetAndDestroy();
  }
  pause(): void {
    this.#socket.pause();
  }
  resume(): void {
    this.#socket.resume();
  }
}

class GuestFar extends Watch implements Far {
  readonly #socket: TcpSocket;

  constructor(socket: TcpSocket, ready: (far: Far) => void) {
    super();
    this.#socket = socket;
    socket.events = {
      onConnect: () => ready(this),
      onData: (bytes) => this.got(bytes),
      onEnd: () => {
        this.ended = true;
        this.changed();
      },
      onClose: (end) => {
        this.closed = end === null ? "ended" : "reset";
        this.changed();
      },
    };
  }
  write(text: string): void {
    this.#socket.write(Buffer.from(text));
  }
  end(): void {
    this.#socket.end();
  }
  reset(): void {
    this.#socket.abort();
  }
  pause(): void {
    this.#socket.pause();
  }
  resume(): void {
    this.#socket.resume();
  }
}

/** `net.Socket` itself, so that a test which expects other manners than its fails. */
export function nodeRig(): Rig {
  const server = net.createServer({ allowHalfOpen: true });
  return {
    name: "net.Socket",
    async start() {
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
      const { port } = server.address() as net.AddressInfo;
      const closed = net.createServer().listen(0, "127.0.0.1");
      await once(closed, "listening");
      const closedPort = (closed.address() as net.AddressInfo).port;
      closed.close();
      return {
        connect: (allowHalfOpen = false) => ({
          far: once(server, "connection").then(([socket]) => new NodeFar(socket as net.Socket)),
          near: net.createConnection({ host: "127.0.0.1", port, allowHalfOpen }),
        }),
        refused: () => net.createConnection({ host: "127.0.0.1", port: closedPort }),
      };
    },
    async stop() {
      server.close();
    },
  };
}

/** The network dials into its guest. */
export function dialledRig(): Rig {
  let lan: Lan;
  return {
    name: "GuestSocket by connect",
    async start() {
      lan = await startLan();
      return {
        connect: (allowHalfOpen = false) => {
          const far = new Promise<Far>((resolve) => {
            lan.guest.listen(80, (socket) => new GuestFar(socket, resolve) && socket.events);
          });
          return { far, near: lan.net.createConnection({ host: GUEST, port: 80, allowHalfOpen }) };
        },
        refused: () => lan.net.createConnection({ host: GUEST, port: 81 }),
      };
    },
    async stop() {
      await lan[Symbol.asyncDispose]();
    },
  };
}
