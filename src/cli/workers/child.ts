/** One worker as the supervisor sees it: a process, and the guests that it has been given. */
import { type ChildProcess, fork, type Serializable } from "node:child_process";
import type net from "node:net";
import { reasonOf } from "../../host/reason.ts";
import type { News, Order, WorkerOptions } from "./messages.ts";

/** A worker that is told to stop has so long for its guests' resets and its files. */
const STOP_MILLIS = 10_000;

/** And so long to open what it has to open. */
const START_MILLIS = 30_000;

export class Child {
  /** Resolves when it can be given guests; never, when it ends before. */
  readonly ready: Promise<void>;
  /** Resolves with how the process has ended. */
  readonly over: Promise<string>;
  readonly #process: ChildProcess;
  /** By the cable's number: what is to be done when its guest has left. */
  readonly #guests: Map<number, () => void> = new Map();
  /** Connections on their way: ours until Node has sent them. */
  readonly #underWay: Set<net.Socket> = new Set();
  #cables = 0;
  #failure: string | null = null;
  #onReady: () => void = () => {};
  #kill: NodeJS.Timeout | null = null;
  readonly #late: NodeJS.Timeout;

  /**
   * Throws when the process cannot be started for want of a permission. `startMillis`: how long it may take to be ready;
   * then it is ended.
   */
  constructor(options: WorkerOptions, startMillis: number = START_MILLIS) {
    // The same program in the same way: `fork` hands on Node's own arguments, a loader among them.
    this.#process = fork(process.argv[1]!, ["worker"], { stdio: ["ignore", "ignore", "inherit", "ipc"] });
    this.ready = new Promise((resolve) => {
      this.#onReady = resolve;
    });
    this.#late = setTimeout(() => {
      this.#failure = `worker not ready within ${startMillis / 1000} s`;
      this.#process.kill("SIGKILL");
    }, startMillis);
    this.over = new Promise((resolve) => {
      const ended = (how: string): void => {
        clearTimeout(this.#late);
        if (this.#kill !== null) clearTimeout(this.#kill);
        for (const socket of this.#underWay) socket.destroy();
        for (const left of this.#guests.values()) left();
        this.#guests.clear();
        resolve(this.#failure ?? how);
      };
      this.#process.once("exit", (code, signal) =>
        ended(signal === null ? `worker ended with status ${code}` : `worker ended by ${signal}`),
      );
      this.#process.on("error", (error) => {
        // Others are of the channel, and mean that it is about to end.
        if (this.#process.pid === undefined) ended(`cannot start a worker: ${reasonOf(error)}`);
      });
    });
    this.#process.on("message", (message) => this.#hear(message as unknown as News));
    this.tell({ order: "start", options });
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  /** Cables that it has. */
  get load(): number {
    return this.#guests.size;
  }

  /** Gives it a guest, whose connection nobody has read. `left` is called once, when the guest has left or the worker has ended. */
  serve(socket: net.Socket, left: () => void): void {
    const cable = ++this.#cables;
    this.#guests.set(cable, left);
    this.#underWay.add(socket);
    const sent = (error: Error | null): void => {
      this.#underWay.delete(socket);
      if (error !== null) socket.destroy();
    };
    this.#process.send(order({ order: "serve", cable }), socket, sent);
  }

  tell(what: Order): void {
    this.#process.send(order(what), () => {});
  }

  /** It stops in order, or is ended; `over` follows. */
  stop(): void {
    if (this.#process.connected) this.#process.disconnect();
    this.#kill ??= setTimeout(() => this.#process.kill("SIGKILL"), STOP_MILLIS);
  }

  #hear(message: News): void {
    switch (message.news) {
      case "ready":
        clearTimeout(this.#late);
        this.#onReady();
        break;
      case "failed":
        this.#failure = message.why;
        break;
      case "gone": {
        const left = this.#guests.get(message.cable);
        this.#guests.delete(message.cable);
        left?.();
      }
    }
  }
}

function order(what: Order): Serializable {
  return what as unknown as Serializable;
}
