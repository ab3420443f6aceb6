/** A worker as the supervisor sees it: a process, and the guests that it serves. */
import { type ChildProcess, fork, type Serializable } from "node:child_process";
import type net from "node:net";
import { reasonOf } from "../../host/reason.ts";
import type { News, Order, WorkerOptions } from "./messages.ts";

/** Milliseconds that a worker has to stop: to reset its guests' connections and to write its files. */
const STOP_MILLIS = 10_000;

/** Milliseconds that a worker has to become ready. */
const START_MILLIS = 30_000;

export class Child {
  /** Resolves when the worker can serve guests. Never settles if the worker ends before that. */
  readonly ready: Promise<void>;
  /** Resolves with a text that says how the process has ended. */
  readonly over: Promise<string>;
  readonly #process: ChildProcess;
  /** By the cable's number: the function to call when its guest has left. */
  readonly #guests: Map<number, () => void> = new Map();
  /** Connections that Node has not sent to the worker yet. Until then they are ours. */
  readonly #underWay: Set<net.Socket> = new Set();
  #cables = 0;
  #failure: string | null = null;
  #onReady: () => void = () => {};
  #kill: NodeJS.Timeout | null = null;
  readonly #late: NodeJS.Timeout;

  /**
   * Throws when the process cannot be started for want of a permission. A worker that is not ready after
   * `startMillis` is killed.
   */
  constructor(options: WorkerOptions, startMillis: number = START_MILLIS) {
    // `fork` passes on Node's own arguments, such as a loader, so the worker runs the program in the same way.
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
        // Other errors concern the channel; the process's end follows them.
        if (this.#process.pid === undefined) ended(`cannot start a worker: ${reasonOf(error)}`);
      });
    });
    this.#process.on("message", (message) => this.#hear(message as unknown as News));
    this.tell({ order: "start", options });
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  /** How many cables the worker has. */
  get load(): number {
    return this.#guests.size;
  }

  /**
   * Gives the worker a guest, whose connection must be unread. `left` is called once, when the guest has left or the
   * worker has ended.
   */
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

  /** Has the worker stop in order, and kills it after `STOP_MILLIS`. `over` follows. */
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
