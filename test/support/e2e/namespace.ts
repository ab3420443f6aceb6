/**
 * Throw-away network namespaces. Each has a name of its own with this process's id, its own /etc/resolv.conf (as
 * `ip netns exec` gives it from /etc/netns), and ends with everything that was started in it.
 */
import { type ChildProcess, execFile, execFileSync, type SpawnOptions, spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

export const REPOSITORY: string = fileURLToPath(new URL("../../../", import.meta.url));
const PREFIX = "tslirp-e2e-";
const NETNS = "/run/netns";
let created = 0;

export interface RunResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly millis: number;
}

export class Namespace {
  readonly name: string;
  private readonly children = new Set<ChildProcess>();
  private readonly atExit: () => void;

  constructor(role: string, resolvers: readonly string[] = []) {
    if (created === 0) sweep();
    this.name = `${PREFIX}${process.pid}-${created++}-${role}`;
    ip("netns", "add", this.name);
    mkdirSync(this.etc, { recursive: true });
    writeFileSync(this.resolvConf, resolvers.map((resolver) => `nameserver ${resolver}\n`).join(""));
    this.ip("link", "set", "lo", "up");
    this.atExit = () => this.remove();
    process.once("exit", this.atExit);
  }

  /** The file that programs in this namespace see as /etc/resolv.conf. */
  get resolvConf(): string {
    return `${this.etc}/resolv.conf`;
  }

  private get etc(): string {
    return `/etc/netns/${this.name}`;
  }

  /** `ip ARGS` in this namespace. */
  ip(...args: string[]): void {
    ip("-n", this.name, ...args);
  }

  /** Starts a program in this namespace; it dies with this process (PR_SET_PDEATHSIG) or with `close`. */
  spawn(command: string, args: readonly string[], options: SpawnOptions = {}): ChildProcess {
    const child = spawn("setpriv", [...this.prefix(), command, ...args], {
      cwd: REPOSITORY,
      env: childEnvironment(),
      ...options,
    });
    this.children.add(child);
    child.once("exit", () => this.children.delete(child));
    return child;
  }

  /** Runs a program to its end. A program that outlasts `timeout` (ms) is killed and gives code -1. */
  run(command: string, args: readonly string[], timeout = 60_000): Promise<RunResult> {
    const started = performance.now();
    return new Promise((resolve) => {
      const child = execFile(
        "setpriv",
        [...this.prefix(), command, ...args],
        { cwd: REPOSITORY, env: childEnvironment(), timeout, killSignal: "SIGKILL", maxBuffer: 64 << 20 },
        (error, stdout, stderr) => {
          const code = error ? (typeof error.code === "number" ? error.code : -1) : 0;
          resolve({ code, stdout, stderr, millis: performance.now() - started });
        },
      );
      child.stdin?.end();
      this.children.add(child);
      child.once("exit", () => this.children.delete(child));
    });
  }

  /** A shell line. */
  sh(line: string, timeout?: number): Promise<RunResult> {
    return this.run("sh", ["-c", line], timeout);
  }

  async close(): Promise<void> {
    const ends = [...this.children].map((child) => new Promise<void>((resolve) => child.once("exit", () => resolve())));
    for (const child of this.children) child.kill("SIGKILL");
    await Promise.all(ends);
    process.removeListener("exit", this.atExit);
    this.remove();
  }

  private prefix(): string[] {
    return ["--pdeathsig", "KILL", "ip", "netns", "exec", this.name];
  }

  private remove(): void {
    for (const child of this.children) child.kill("SIGKILL");
    removeNamespace(this.name);
  }
}

function ip(...args: string[]): void {
  execFileSync("ip", args, { stdio: ["ignore", "ignore", "pipe"] });
}

function removeNamespace(name: string): void {
  if (existsSync(`${NETNS}/${name}`)) ip("netns", "del", name);
  rmSync(`/etc/netns/${name}`, { recursive: true, force: true });
}

/** Removes what a killed test run left behind. Its programs died with it. */
function sweep(): void {
  if (!existsSync(NETNS)) return;
  for (const name of readdirSync(NETNS)) {
    const pid = name.startsWith(PREFIX) ? Number.parseInt(name.slice(PREFIX.length), 10) : Number.NaN;
    if (pid > 0 && !existsSync(`/proc/${pid}`)) removeNamespace(name);
  }
}

/** The test runner's own settings must not reach the programs under test. */
function childEnvironment(): NodeJS.ProcessEnv {
  const { NODE_OPTIONS: _options, NODE_ENV: _env, VITEST: _vitest, ...rest } = process.env;
  return { ...rest, LC_ALL: "C", PATH: `${process.env.PATH ?? ""}:/usr/sbin:/sbin` };
}
