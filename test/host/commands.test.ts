/** Processes behind guests' connections: what they are given, and that nothing is left of them. */
import { readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { HostTcp, HostTcpEvents } from "../../src/core/host-net.ts";
import { DEFAULT_LIMITS } from "../../src/core/limits.ts";
import { Commands } from "../../src/host/commands.ts";
import { NodeHostNet } from "../../src/host/net.ts";
import { SeededRandom } from "../support/random.ts";

const LIMIT = 4;
const EACH = 3;
let commands: Commands;
let said: string[];
let refused = 0;

beforeEach(() => {
  said = [];
  refused = 0;
  cable = {};
  commands = new Commands({
    host: new NodeHostNet({ random: new SeededRandom(1) }),
    limits: { ...DEFAULT_LIMITS, programs: LIMIT, programsPerGuest: EACH },
    onRefused: () => void refused++,
    onOutput: (_program, _pid, line) => said.push(line),
  });
});
afterEach(() => commands.close());

/** Whose the next flow is. */
let cable: object;

/** The flow in front of a command. */
class Flow implements HostTcpEvents {
  readonly tcp: HostTcp;
  connected = false;
  text = "";
  bytes = 0;
  ended = false;
  closed: string | null | undefined = undefined;
  #waiting: (() => void)[] = [];

  constructor(...argv: string[]) {
    this.tcp = commands.connect(argv, this, cable);
  }

  onConnect(): void {
    this.connected = true;
    this.tcp.resume();
    this.#wake();
  }
  onData(bytes: Uint8Array, at: number, len: number): void {
    this.bytes += len;
    if (this.text.length < 1000) this.text += Buffer.from(bytes.slice(at, at + len)).toString("latin1");
    this.#wake();
  }
  onEnd(): void {
    this.ended = true;
    this.#wake();
  }
  onDrain(): void {
    this.#wake();
  }
  onClose(code: string | null): void {
    this.closed = code;
    this.#wake();
  }

  send(text: string | Uint8Array): void {
    const bytes = typeof text === "string" ? Buffer.from(text) : text;
    this.tcp.write({ bytes, scarce: true, pin() {}, unpin() {} }, 0, bytes.length);
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** The pids that the command writes first, one a line. */
  async pids(count: number): Promise<number[]> {
    await this.until(() => this.text.split("\n").length > count);
    return this.text.split("\n").slice(0, count).map(Number);
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

function sh(script: string): Flow {
  return new Flow("sh", "-c", script);
}

/** Dead, or a zombie that whoever inherited it has not fetched yet. */
function gone(pid: number): boolean {
  try {
    return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "latin1"));
  } catch {
    return true;
  }
}

async function allGone(pids: readonly number[], within: number): Promise<void> {
  const until = performance.now() + within;
  while (!pids.every(gone) && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 10));
  expect(pids.filter((pid) => !gone(pid))).toEqual([]);
}

describe("a command", () => {
  it("reads what the guest sends, to its FIN, and its output and end go back", async () => {
    const flow = new Flow("cat");
    await flow.until(() => flow.connected);
    flow.send("one ");
    flow.send("two");
    flow.tcp.end();
    await flow.until(() => flow.closed !== undefined);
    expect(flow).toMatchObject({ text: "one two", ended: true, closed: null });
  });

  it("has one socket for standard input and output, as inetd's services and Samba want it, and blocking", async () => {
    const flow = sh("[ -S /dev/fd/0 ] && [ /proc/self/fd/0 -ef /proc/self/fd/1 ] && grep flags /proc/self/fdinfo/0");
    await flow.until(() => flow.ended);
    const flags = Number.parseInt(/flags:\s+([0-7]+)/.exec(flow.text)?.[1] ?? "4000", 8);
    expect(flags & 0o4000).toBe(0);
  });

  it("is started with its words as they are, without a shell", async () => {
    const flow = new Flow("printf", "%s|", "a b", "$HOME", ";");
    await flow.until(() => flow.ended);
    expect(flow.text).toBe("a b|$HOME|;|");
  });

  it("may close its half and read on", async () => {
    const flow = sh("exec 1<&-; exec 1>&2; cat");
    await flow.until(() => flow.connected);
    flow.send("late\n");
    flow.tcp.end();
    await flow.until(() => flow.closed !== undefined);
    expect(said).toEqual(["late"]);
  });

  it("carries megabytes both ways, however slowly they are taken", async () => {
    const flow = new Flow("cat");
    await flow.until(() => flow.connected);
    flow.tcp.pause();
    const piece = Buffer.alloc(1_000_000, "x");
    for (let i = 0; i < 20; i++) flow.send(piece);
    expect(flow.tcp.backlog).toBeGreaterThan(0);
    flow.tcp.end();
    flow.tcp.resume();
    await flow.until(() => flow.closed !== undefined);
    expect(flow.bytes).toBe(20_000_000);
  });

  it("says on its standard error what is told line by line, no more than 200", async () => {
    const flow = sh("echo first >&2; yes more | head -c 1000000 >&2; printf '%2000s' x >&2");
    await flow.until(() => flow.ended && said.length > 0);
    expect(said[0]).toBe("first");
    expect(said.length).toBeLessThanOrEqual(200);
    expect(flow.text).toBe("");
  });

  it("that is not there is refused, and said", async () => {
    const flow = new Flow("/no/such/program");
    await flow.until(() => flow.closed !== undefined);
    expect(flow).toMatchObject({ connected: false, closed: "ECONNREFUSED" });
    expect(said[0]).toMatch(/^cannot start: there is no program /);
    expect(commands.size).toBe(0);
  });

  it("beyond the limit is refused and counted, of one guest and of all; when one has ended there is room", async () => {
    const first = cable;
    const start = (): Flow => new Flow("cat");
    const flows = Array.from({ length: EACH }, start);
    const refuses = async (): Promise<void> => {
      const over = start();
      await over.until(() => over.closed !== undefined);
      expect(over.closed).toBe("ECONNREFUSED");
    };
    for (const flow of flows) await flow.until(() => flow.connected);
    await refuses();
    cable = {};
    const other = start();
    await other.until(() => other.connected);
    await refuses();
    expect(said).toEqual(Array(2).fill("cannot start: too many processes run already"));
    expect(refused).toBe(2);
    flows[0]!.tcp.end();
    await flows[0]!.until(() => flows[0]!.closed !== undefined);
    while (commands.size === LIMIT) await new Promise((resolve) => setTimeout(resolve, 5));
    cable = first;
    const next = start();
    await next.until(() => next.connected);
    expect(refused).toBe(2);
  });
});

describe("nothing is left", () => {
  it("of a process and its own processes when the connection is reset", async () => {
    const flow = sh("echo $$; sleep 1000 & echo $!; wait");
    const pids = await flow.pids(2);
    flow.tcp.reset();
    await allGone(pids, 900);
    expect(flow.closed).toBeUndefined();
  });

  it("of one that does not mind SIGTERM, a second later", async () => {
    const flow = sh('trap "" TERM; echo $$; while :; do sleep 0.1; done');
    const pids = await flow.pids(1);
    flow.tcp.reset();
    await allGone(pids, 3_000);
  });

  it("of one that both sides have ended, when it does not end by itself", async () => {
    const flow = sh("echo $$; exec <&- >&-; sleep 1000");
    const pids = await flow.pids(1);
    flow.tcp.end();
    await flow.until(() => flow.closed !== undefined);
    expect(pids.every(gone)).toBe(false);
    await allGone(pids, 3_000);
  });

  it("of what a process leaves behind: its exit is the connection's FIN, whoever holds the socket", async () => {
    const flow = sh("sleep 1000 & echo $!");
    const pids = await flow.pids(1);
    await flow.until(() => flow.ended);
    await allGone(pids, 900);
  });

  it("of a connection that is reset before its process has started", async () => {
    const flow = sh("sleep 1000");
    flow.tcp.reset();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(commands.size).toBe(0);
    expect(flow.connected).toBe(false);
  });

  it("of any of them when all is closed", async () => {
    const first = sh("echo $$; sleep 1000");
    const second = sh('trap "" TERM; echo $$; while :; do sleep 0.1; done');
    const pids = [...(await first.pids(1)), ...(await second.pids(1))];
    await commands.close();
    await allGone(pids, 500);
  });
});
