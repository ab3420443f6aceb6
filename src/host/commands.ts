/**
 * Programs that serve guests' connections: one process for each, whose standard input and output are the connection.
 *
 * Theory of operation. What the process has for both is one end of a TCP connection over the loopback, as with libslirp:
 * inetd's services and Samba ask who the peer is, and take no UNIX socket for an answer. The other end is a connection
 * like all of the host's, so reading, writing, half-closing and backpressure are `NodeTcp`'s. The pair is made by
 * listening for this one connection; whoever else connects meanwhile has another port than ours and is turned away.
 *
 *     flow ── Connection ── NodeTcp ══ loopback ══ stdin, stdout of the process
 *                 └── its process group, and what it writes to stderr, line by line
 *
 * A process lives no longer than its connection: it is a session of its own, and the whole group is asked to end
 * (SIGTERM) when the connection is over, and made to (SIGKILL) a second later. When the process itself ends, what it
 * has written is still read, then comes FIN.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import type { Endpoint, HostNet, HostTcp, HostTcpEvents } from "../core/host-net.ts";
import type { Limits } from "../core/limits.ts";
import type { Slab } from "../core/link.ts";
import { Quota } from "../core/quota.ts";

/** Between the connection's end and SIGTERM when both sides have ended in order, and between SIGTERM and SIGKILL. */
const GRACE_MS = 1_000;
const LOOPBACK = "127.0.0.1";
/** The most that one process may say. */
const MAX_LINES = 200;
const MAX_LINE = 1_000;

export interface CommandsOptions {
  readonly host: HostNet;
  /** Processes at a time, of all and of each guest; a connection beyond is refused. */
  readonly limits: Limits;
  readonly onRefused: () => void;
  /** What a process writes to its standard error, or why it could not be started. */
  readonly onOutput: (program: string, pid: number | null, line: string) => void;
}

/** Throws an `Error` of one line where a process cannot be handed a connection: Node does that for pipes only on Windows. */
export function needCommands(platform: NodeJS.Platform = process.platform): void {
  if (platform !== "win32") return;
  throw new Error(
    "a program cannot serve guests (guestfwd -cmd:, smb) on Windows; a guestfwd to HOST:PORT works there",
  );
}

export class Commands {
  readonly options: CommandsOptions;
  readonly #connections: Set<Connection> = new Set();
  readonly #quota: Quota;
  #idle: (() => void) | null = null;

  constructor(options: CommandsOptions) {
    this.options = options;
    this.#quota = new Quota(options.limits.programs, options.limits.programsPerGuest);
  }

  /** Processes that run or are being started. */
  get size(): number {
    return this.#connections.size;
  }

  /**
   * Starts `argv` for a connection of the guest on `cable`: `onConnect` follows when it runs, `onClose("ECONNREFUSED")`
   * when it cannot.
   */
  connect(argv: readonly string[], events: HostTcpEvents, cable: object | null = null): HostTcp {
    return new Connection(this, argv, events, cable);
  }

  /** False when there are as many as may be. */
  started(connection: Connection): boolean {
    if (!this.#quota.allows(connection.cable)) {
      this.options.onRefused();
      return false;
    }
    this.#connections.add(connection);
    this.#quota.take(connection.cable);
    return true;
  }

  ended(connection: Connection): void {
    if (this.#connections.delete(connection)) this.#quota.give(connection.cable);
    if (this.#connections.size === 0) this.#idle?.();
  }

  /** Ends all processes. */
  async close(): Promise<void> {
    if (this.#connections.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#idle = resolve;
      for (const connection of this.#connections) connection.reset();
    });
  }
}

const NOBODY: HostTcpEvents = { onConnect() {}, onData() {}, onEnd() {}, onDrain() {}, onClose() {} };

class Connection implements HostTcp, HostTcpEvents {
  readonly #commands: Commands;
  readonly #argv: readonly string[];
  /** Where it counts. */
  readonly cable: object | null;
  #events: HostTcpEvents;
  #server: Server | null = null;
  #tcp: HostTcp | null = null;
  #child: ChildProcess | null = null;
  readonly #accepted: Socket[] = [];
  #connected = false;
  #started = false;
  #resumed = false;
  #over = false;
  #timer: NodeJS.Timeout | null = null;

  constructor(commands: Commands, argv: readonly string[], events: HostTcpEvents, cable: object | null) {
    this.#commands = commands;
    this.cable = cable;
    this.#argv = argv;
    this.#events = events;
    const admitted = commands.started(this);
    queueMicrotask(() => (admitted ? this.#pair() : this.#fail("too many processes run already")));
  }

  // The connection as its flow sees it.

  get backlog(): number {
    return this.#tcp?.backlog ?? 0;
  }

  get local(): Endpoint | null {
    return null;
  }

  write(slab: Slab, at: number, len: number): void {
    this.#tcp?.write(slab, at, len);
  }

  end(): void {
    this.#tcp?.end();
  }

  pause(): void {
    this.#resumed = false;
    this.#tcp?.pause();
  }

  resume(): void {
    this.#resumed = true;
    this.#tcp?.resume();
  }

  reset(): void {
    this.#events = NOBODY;
    this.#tcp?.reset();
    this.#tcp = null;
    this.#over = true;
    this.#stop(0);
  }

  // Our end of the pair.

  onConnect(): void {
    this.#connected = true;
    this.#match();
  }

  readMost(more: boolean): number {
    return this.#events.readMost?.(more) ?? Number.POSITIVE_INFINITY;
  }

  onData(bytes: Uint8Array, at: number, len: number): void {
    this.#events.onData(bytes, at, len);
  }

  onEnd(): void {
    this.#events.onEnd();
  }

  onDrain(): void {
    this.#events.onDrain();
  }

  onClose(code: string | null): void {
    const events = this.#events;
    this.#events = NOBODY;
    this.#tcp = null;
    this.#over = true;
    // A process that both sides have done with may still have something to finish.
    this.#stop(code === null ? GRACE_MS : 0);
    events.onClose(code);
  }

  #pair(): void {
    if (this.#over) return this.#settle();
    // Accepted bytes are the process's to read.
    const server = createServer({ pauseOnConnect: true, allowHalfOpen: true });
    this.#server = server;
    server.once("error", (error) => this.#fail(error.message));
    server.on("connection", (socket) => {
      socket.on("error", () => {});
      this.#accepted.push(socket);
      this.#match();
    });
    server.listen({ host: LOOPBACK, port: 0, exclusive: true }, () => {
      if (this.#over) return;
      const { port } = server.address() as AddressInfo;
      this.#tcp = this.#commands.options.host.connectTcp({ host: LOOPBACK, port }, this);
      if (this.#resumed) this.#tcp.resume();
    });
  }

  /** Among those who have connected, whichever comes first of their word and ours, our own end is the process's. */
  #match(): void {
    if (!this.#connected || this.#started) return;
    const port = this.#tcp?.local?.port;
    for (const socket of this.#accepted.splice(0)) {
      if (socket.remotePort === port && !this.#started) this.#start(socket);
      else socket.destroy();
    }
  }

  #start(socket: Socket): void {
    this.#started = true;
    this.#server?.close();
    const [program, ...args] = this.#argv as [string, ...string[]];
    let child: ChildProcess;
    try {
      child = spawn(program, args, { stdio: [socket, socket, "pipe"], detached: true });
    } catch (error) {
      socket.destroy();
      return this.#fail((error as Error).message);
    }
    child.once("error", (error) => {
      socket.destroy();
      this.#fail(error.message);
    });
    this.#child = child;
    child.once("spawn", () => {
      // The process has one of its own; while this one is open too, its end would not be seen.
      socket.destroy();
      this.#events.onConnect();
    });
    // Whom it has started itself ends with it.
    child.once("exit", () => this.#stop(0));
    if (child.stderr !== null) this.#tell(child, child.stderr);
  }

  #tell(child: ChildProcess, stderr: Readable): void {
    let lines = 0;
    createInterface({ input: stderr }).on("line", (line) => {
      if (++lines > MAX_LINES) return;
      const text = lines === MAX_LINES ? "(what else it says is left out)" : line.slice(0, MAX_LINE);
      this.#commands.options.onOutput(this.#argv[0]!, child.pid ?? null, text);
    });
  }

  #fail(why: string): void {
    const events = this.#events;
    this.#events = NOBODY;
    this.#tcp?.reset();
    this.#tcp = null;
    this.#over = true;
    this.#settle();
    this.#commands.options.onOutput(this.#argv[0]!, null, `cannot start: ${why}`);
    events.onClose("ECONNREFUSED");
  }

  /** Ends the process and all of its group, those that do not listen a second later. */
  #stop(grace: number): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (grace > 0) this.#timer = setTimeout(() => this.#stop(0), grace);
    else if (!this.#signal("SIGTERM")) this.#settle();
    else {
      this.#timer = setTimeout(() => {
        this.#signal("SIGKILL");
        this.#settle();
      }, GRACE_MS);
    }
  }

  /** False when nobody of the group is left. */
  #signal(signal: "SIGTERM" | "SIGKILL"): boolean {
    const pid = this.#child?.pid;
    if (pid === undefined) return false;
    try {
      return process.kill(-pid, signal);
    } catch {
      return false;
    }
  }

  #settle(): void {
    this.#server?.close();
    for (const socket of this.#accepted.splice(0)) socket.destroy();
    this.#commands.ended(this);
  }
}
