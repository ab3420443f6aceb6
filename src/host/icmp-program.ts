/**
 * Echo by the system's `ping`, one run for each request, for hosts without ping sockets. Size, hop limit and
 * destination are the guest's; the identifier, the sequence number and the data on the wire are the program's. Only
 * when the program reports an answer does the guest get its own data back.
 *
 * The programs of iputils and BusyBox are understood.
 */
import { type ChildProcess, execFile } from "node:child_process";
import type { HostIcmpError, HostPing, HostPingEvents } from "../core/host-net.ts";

/** How many runs a network may have at a time, since each is a process. Requests beyond are lost. */
const MAX_RUNS = 16;
const WAIT_SECONDS = 5;
const TIMEOUT_MS = (WAIT_SECONDS + 5) * 1000;

/** State that all identifiers of a network share. */
export interface ProgramEnv {
  readonly source: string | null;
  /** How many programs run now. */
  runs: number;
  /** Called with the reason when the program is missing or not allowed to send. */
  unavailable(reason: string): void;
}

export class ProgramPing implements HostPing {
  readonly #env: ProgramEnv;
  readonly #family: 4 | 6;
  readonly #events: HostPingEvents;
  readonly #running: Set<ChildProcess> = new Set();
  #closed = false;

  constructor(env: ProgramEnv, family: 4 | 6, events: HostPingEvents) {
    this.#env = env;
    this.#family = family;
    this.#events = events;
  }

  send(seq: number, bytes: Uint8Array, at: number, len: number, ttl: number, _df: boolean, to: string): void {
    if (this.#closed) return;
    if (this.#env.runs >= MAX_RUNS) return this.#events.onPingLost?.();
    const data = new Uint8Array(bytes.subarray(at, at + len));
    const { source } = this.#env;
    const args = pingArgs(this.#family, len, ttl, source?.includes(":") === to.includes(":") ? source : null, to);
    const env = { ...process.env, LC_ALL: "C" };
    this.#env.runs++;
    const child = execFile("ping", args, { timeout: TIMEOUT_MS, killSignal: "SIGKILL", env }, (error, out, err) => {
      this.#running.delete(child);
      this.#env.runs--;
      if (this.#closed) return;
      const result = pingResult(out, len, to);
      if (result === "answered") this.#events.onReply(seq, data, 0, data.length, to);
      else if (result !== null) this.#events.onPingError(seq, to, result);
      else if (error?.code === ("ENOENT" as never)) this.#env.unavailable("no ping program (package iputils-ping)");
      else if (/permitted|denied/i.test(err)) this.#env.unavailable(`ping: ${err.trim().split("\n")[0]}`);
      else if (/unreachable|no route/i.test(err)) this.#events.onPingError(seq, to, told("EHOSTUNREACH", null, -1, -1));
    });
    this.#running.add(child);
  }

  close(): void {
    this.#closed = true;
    for (const child of this.#running) child.kill("SIGKILL");
  }
}

/** `-t` is the hop limit. A numeric address makes `ping` skip name resolution. */
export function pingArgs(family: 4 | 6, len: number, ttl: number, source: string | null, to: string): string[] {
  const from = source === null ? [] : ["-I", source];
  return [`-${family}`, "-c", "1", "-W", `${WAIT_SECONDS}`, "-s", `${len}`, "-t", `${ttl}`, ...from, to];
}

/** The outcome of the one request, from the program's output: answered, an error on the way, or null for neither. */
export function pingResult(output: string, len: number, to: string): "answered" | HostIcmpError | null {
  const reply = /^(\d+) bytes from (\S+?):? (?:icmp_)?seq=/m.exec(output);
  if (reply !== null && Number(reply[1]) === len + 8 && reply[2] === to) return "answered";
  const said = /^From (\S+?):? icmp_seq=\d+ (.+)$/m.exec(output);
  if (said === null) return null;
  const from = said[1]!;
  const v6 = from.includes(":");
  const what = said[2]!;
  if (/^Time to live exceeded|Hop limit/.test(what)) return told("EHOSTUNREACH", from, v6 ? 3 : 11, 0);
  if (/Host Unreachable|Address unreachable/.test(what)) return told("EHOSTUNREACH", from, v6 ? 1 : 3, v6 ? 3 : 1);
  if (/Net Unreachable|No route/.test(what)) return told("ENETUNREACH", from, v6 ? 1 : 3, 0);
  if (/filtered|prohibited/.test(what)) return told("EACCES", from, v6 ? 1 : 3, v6 ? 1 : 13);
  return null;
}

function told(code: string, from: string | null, type: number, icmpCode: number): HostIcmpError {
  return { code, from, type, icmpCode, mtu: 0 };
}
