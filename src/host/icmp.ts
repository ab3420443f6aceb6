/**
 * ICMP echo on this host, by the best means there is: a ping socket, the system's `ping`, or none. The means are looked
 * for when a guest first pings. No answer is ever made up: without means there is none, and one notice tells what would
 * help.
 */
import type { HostPing, HostPingEvents } from "../core/host-net.ts";
import { type ProgramEnv, ProgramPing } from "./icmp-program.ts";
import { PingSocket } from "./icmp-socket.ts";
import { libc } from "./libc.ts";

const HOW =
  "allow ping sockets (sysctl -w net.ipv4.ping_group_range='0 2147483647'; needs the optional package koffi), " +
  "or install a ping program that may be run by this user";
const NO_PING: HostPing = { send() {}, close() {} };

export class NodePings {
  readonly #source: string | null;
  readonly #notice: (text: string) => void;
  readonly #program: ProgramEnv;
  #means: "socket" | "program" | "none";

  /** `source`: the address that requests of its family leave from. `notice` is called once, with a line for the log. */
  constructor(source: string | null, notice: (text: string) => void, useLibc: boolean) {
    this.#source = source;
    this.#notice = notice;
    this.#means = useLibc ? "socket" : "program";
    this.#program = { source, runs: 0, unavailable: (reason) => this.#unavailable(reason) };
  }

  open(family: 4 | 6, events: HostPingEvents): HostPing {
    if (this.#means === "socket") {
      const socket = this.#openSocket(family, events);
      if (socket !== null) return socket;
      this.#means = "program";
    }
    if (process.platform !== "linux") this.#unavailable(`there is no way yet on ${process.platform}`);
    return this.#means === "program" ? new ProgramPing(this.#program, family, events) : NO_PING;
  }

  /** Null when the system gives us no ping sockets. */
  #openSocket(family: 4 | 6, events: HostPingEvents): HostPing | null {
    const c = libc();
    if (c === null) return null;
    const source = this.#source?.includes(":") === (family === 6) ? this.#source : null;
    try {
      return new PingSocket(c, family, source, events);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // Any other error (no descriptors left, no such family) does not rule out ping sockets.
      return code === "EACCES" || code === "EPERM" || code === "EPROTONOSUPPORT" ? null : NO_PING;
    }
  }

  #unavailable(reason: string): void {
    if (this.#means === "none") return;
    this.#means = "none";
    this.#notice(`guests' pings get no answer: ${reason}; ${HOW}`);
  }
}
