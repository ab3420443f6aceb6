/**
 * Programs that serve guests' connections: one process for each connection, which has it as its standard input and
 * output.
 *
 * Theory of operation. The process is given one end of a TCP connection over the loopback, as with libslirp: inetd's
 * services and Samba ask for the peer's address, and do not accept a UNIX socket. The other end is a connection like
 * all of the host's, so `NodeTcp` does reading, writing, half-closing and backpressure. To make the pair, we listen for
 * this one connection. If somebody else connects meanwhile, the port tells that it is not our end, and it is turned
 * away.
 *
 *     flow ── Connection ── NodeTcp ══ loopback ══ stdin, stdout of the process
 *                 └── its process group, and what it writes to stderr, line by line
 *
 * A process lives no longer than its connection. It leads a session of its own; when the connection ends, the whole
 * process group gets SIGTERM, and SIGKILL a second later. When the process itself ends, its remaining output is still
 * read, and FIN follows.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import type { Endpoint, HostNet, HostTcp, HostTcpEvents } from "../core/host-net.ts";
import type { Limits } from "../core/limits.ts";
import type { Slab } from "../core/link.ts";
import { Quota } from "../core/quota.ts";
import { reasonOf } from "./reason.ts";

/** The time between the connection's orderly end and SIGTERM, and between SIGTERM and SIGKILL. */
const GRACE_MS = 1_000;
const LOOPBACK = "127.0.0.1";
/** How many lines of one process's standard error are logged. */
const MAX_LINES = 200;
const MAX_LINE = 1_000;

export interface CommandsOptions {
  readonly host: HostNet;
  /** How many processes may run, of all guests and of each; a connection beyond is refused. */
  readonly limits: Limits;
  readonly onRefused: () => void;
  /** Called with each line of a process's standard error, or with the reason why it could not be started. */
  readonly onOutput: (program: string, pid: number | null, line: string) => void;
}

/** Throws an `Error` of one line on Windows, where Node cannot hand a process a socket as its standard input. */
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

  /** How many processes run or are being started. */
  get size(): number {
    return this.#connections.size;
  }

  /**
   * Starts `argv` for a connection of the guest on `cable`. `onConnect` follows when the process runs,
   * `onClose("ECONNREFUSED")` when it cannot be started.
   */
  connect(argv: readonly string[], events: HostTcpEvents, cable: object | null = null): HostTcp {
    return new Connection(this, argv, events, cable);
  }

  /** Counts a process. False when there are as many as may be. */
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
  /** The guest's cable, for which the process counts. */
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

  // The connection as its flow sees it (HostTcp)

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

  // Our end of the pair (HostTcpEvents)

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
    // Both sides have ended in order, but the process may still have something to finish.
    this.#stop(code === null ? GRACE_MS : 0);
    events.onClose(code);
  }

  #pair(): void {
    if (this.#over) return this.#settle();
    // The process reads the accepted bytes, not we.
    const server = createServer({ pauseOnConnect: true, allowHalfOpen: true });
    this.#server = server;
    server.once("error", (error) => this.#fail(reasonOf(error)));
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

  /**
   * Finds our own end among the accepted sockets by its port. Called when either has come: an accepted socket, or our
   * connect.
   */
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
      return this.#fail(reasonOf(error));
    }
    child.once("error", (error) => {
      socket.destroy();
      this.#fail(reasonOf(error));
    });
    this.#child = child;
    child.once("spawn", () => {
      // The process has a copy of this socket. While ours is open, too, the far end would not see the process close its
      // copy.
      socket.destroy();
      this.#events.onConnect();
    });
    // When the process ends, the processes that it has started end, too.
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

  /** Ends the process and its whole group: SIGTERM after `grace` milliseconds, SIGKILL a second later. */
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

  /** Signals the group. False when no process of it is left. */
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
