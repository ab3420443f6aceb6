/**
 * `tslirp run` beside slirp4netns and pasta: TCP of a network namespace to and from the host's loopback by iperf3, processor time
 * of the one in the middle, and what starting costs beside `unshare` alone. Peers that are not installed are left out; `PASTA=FILE`
 * names a second pasta, one built from its sources. Then how long
 * `serve` takes to its socket, and the library to be imported.
 *
 *     npm run bench:run [-- --seconds N --rounds N --brief --starts --before DIST]
 *
 * `--starts` measures only what starting costs; `--before` does so of another build by turns.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { freePort } from "../test/support/free-port.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "3" },
    rounds: { type: "string", default: "3" },
    brief: { type: "boolean", default: false },
    starts: { type: "boolean", default: false },
    before: { type: "string" },
  },
});
const seconds = values.brief ? 1 : Number(values.seconds);
const rounds = values.brief ? 1 : Number(values.rounds);
const STARTS = values.brief ? 1 : 9;
const DIST = new URL("../dist", import.meta.url).pathname;
const MAIN = `${DIST}/cli/main.js`;
const TICKS = Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));
/** The host's loopback, as each peer's namespace reaches it: by the gateway. */
const GATEWAY = `$(ip -4 route show default | sed 's/.*via \\([0-9.]*\\).*/\\1/')`;

const PASTA = ["--config-net", "--quiet", ...(process.getuid?.() === 0 ? ["--runas", "0"] : [])];

interface Running {
  /** Whose processor time counts. */
  readonly pid: number;
  readonly output: Promise<string>;
  /** The script has begun. */
  readonly up: Promise<unknown>;
}
interface Peer {
  readonly name: string;
  run(mtu: number, script: string): Promise<Running>;
}

function output(child: ChildProcess): Promise<string> {
  let text = "";
  child.stdout!.setEncoding("utf8").on("data", (part: string) => {
    text += part;
  });
  return once(child, "close").then(() => text);
}

function wrapped(program: string, args: readonly string[], script: string): Running {
  const child = spawn(program, [...args, "sh", "-c", script], {
    stdio: ["ignore", "pipe", "ignore"],
    timeout: (seconds + 15) * 1000,
    killSignal: "SIGKILL",
  });
  return { pid: child.pid!, output: output(child), up: once(child.stdout, "data") };
}

function pasta(name: string, program: string): Peer {
  return { name, run: async (mtu, script) => wrapped(program, [...PASTA, "--mtu", String(mtu), "--"], script) };
}

const PEERS: readonly Peer[] = [
  {
    name: "tslirp",
    run: async (mtu, script) => wrapped(process.execPath, [MAIN, "run", "--mtu", String(mtu), "--"], script),
  },
  pasta("pasta", "pasta"),
  ...(process.env.PASTA === undefined ? [] : [pasta("pasta, built", process.env.PASTA)]),
  { name: "slirp4netns", run: throughSlirp4netns },
];

async function throughSlirp4netns(mtu: number, script: string): Promise<Running> {
  const holder = spawn("unshare", ["--user", "--map-root-user", "--net", "sh", "-c", "echo ready; read _"], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  await once(holder.stdout, "data");
  const pid = String(holder.pid);
  const peer = spawn("slirp4netns", ["-c", "-m", String(mtu), "-r", "3", pid, "tap0"], {
    stdio: ["ignore", "ignore", "ignore", "pipe"],
  });
  await once(peer.stdio[3]!, "data");
  const entered = wrapped("nsenter", ["-t", pid, "--user", "--preserve-credentials", "--net", "--"], script);
  const done = entered.output.finally(() => {
    peer.kill();
    holder.stdin.end();
  });
  return { pid: peer.pid!, output: done, up: entered.up };
}

/** Seconds of a process, without its children's. */
function processorTime(pid: number): number {
  const words = fs.readFileSync(`/proc/${pid}/stat`, "latin1").split(") ")[1]!.split(" ");
  return (Number(words[11]) + Number(words[12])) / TICKS;
}

/** Gbit/s and processor seconds per gigabyte of one run; zeros where it failed. */
async function measure(peer: Peer, mtu: number, down: boolean): Promise<[number, number]> {
  const port = await freePort();
  const server = spawn("iperf3", ["-s", "-1", "-B", "127.0.0.1", "-p", String(port)], { stdio: "ignore" });
  const script = `echo began; iperf3 -J -c ${GATEWAY} -p ${port} -t ${seconds} ${down ? "-R" : ""}`;
  const began = await peer.run(mtu, script);
  let before = 0;
  let used = 0;
  // What starting has cost does not count.
  void began.up.then(() => {
    before = processorTime(began.pid);
  });
  const watch = setInterval(() => {
    try {
      used = processorTime(began.pid) - before;
    } catch {
      // It has ended: what it had used just before counts.
    }
  }, 20);
  const text = await began.output;
  clearInterval(watch);
  server.kill();
  try {
    const { sum_received: got } = JSON.parse(text.slice(text.indexOf("{"))).end;
    return [got.bits_per_second / 1e9, used / (got.bytes / 1e9)];
  } catch {
    process.stderr.write(`${peer.name}, MTU ${mtu}: iperf3 failed\n`);
    return [0, 0];
  }
}

const median = (all: readonly number[]): number => [...all].sort((a, b) => a - b)[all.length >> 1] ?? 0;

/**
 * Milliseconds until a program has said something; it is ended then. What `cli/start` keeps stands in `cache`: each build
 * removes from a folder what is not its own.
 */
async function startMillis(program: string, args: readonly string[], cache: string): Promise<number> {
  const env = { ...process.env, XDG_CACHE_HOME: cache };
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "ignore"], env });
  const began = performance.now();
  await once(child.stdout, "data");
  const millis = performance.now() - began;
  child.kill();
  await once(child, "close");
  return millis;
}

function installed(name: string): boolean {
  return (
    name === "tslirp" ||
    name === "pasta, built" ||
    (process.env.PATH ?? "").split(":").some((each) => fs.existsSync(`${each}/${name}`))
  );
}

const peers = PEERS.filter(({ name }) => installed(name));
const table: string[][] = [["", "unit", ...peers.map(({ name }) => name)]];
for (const mtu of values.starts ? [] : [1500, 65_520]) {
  for (const down of [false, true]) {
    const speeds = peers.map((): number[] => []);
    const costs = peers.map((): number[] => []);
    for (let round = 0; round < rounds; round++) {
      for (const [i, peer] of peers.entries()) {
        const [speed, cost] = await measure(peer, mtu, down);
        speeds[i]!.push(speed);
        costs[i]!.push(cost);
      }
    }
    const what = `MTU ${mtu}, ${down ? "down" : "up"}`;
    table.push([what, "Gbit/s", ...speeds.map((all) => median(all).toFixed(2))]);
    table.push([`${what}, processor`, "s per GB", ...costs.map((all) => median(all).toFixed(2))]);
  }
}
const FIRST = ["sh", "-c", "echo first"];
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "tslirp-bench-"));
const ours = (dist: string, name: string): Record<string, [string, readonly string[]]> => ({
  [name]: [process.execPath, [`${dist}/cli/main.js`, "run", "--", ...FIRST]],
  [`${name} serve`]: [process.execPath, [`${dist}/cli/main.js`, "serve", "--listen", `unix:${folder}/serve.sock`]],
  [`${name} import`]: [
    process.execPath,
    ["--input-type=module", "-e", `await import("${dist}/index.js"); console.log()`],
  ],
});
const starts: Record<string, [string, readonly string[]]> = {
  ...ours(DIST, "tslirp"),
  ...(values.before === undefined ? {} : ours(path.resolve(values.before), "before")),
  pasta: ["pasta", [...PASTA, "--", ...FIRST]],
  ...(process.env.PASTA === undefined ? {} : { "pasta, built": [process.env.PASTA, [...PASTA, "--", ...FIRST]] }),
  unshare: ["unshare", ["--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--", ...FIRST]],
  node: [process.execPath, ["-e", "console.log()"]],
};
const took: Record<string, number[]> = {};
// The first round fills the caches, and does not count.
for (let round = 0; round <= STARTS; round++) {
  for (const [name, [program, args]] of Object.entries(starts)) {
    if (program === "pasta" && !installed(program)) continue;
    const cache = path.join(folder, name.split(" ")[0]!);
    fs.mkdirSync(cache, { recursive: true });
    const millis = await startMillis(program, args, cache);
    if (round > 0) (took[name] ??= []).push(millis);
  }
}
fs.rmSync(folder, { recursive: true });
const cpu = os.cpus();
process.stdout.write(
  `${new Date().toISOString().slice(0, 10)}, ${cpu.length} × ${cpu[0]?.model.trim()}, Linux ${os.release()}, Node ${process.version}; ` +
    `medians of ${rounds} rounds of ${seconds} s, one stream\n\n`,
);
for (const [at, row] of values.starts ? [] : table.entries()) {
  process.stdout.write(`| ${row.join(" | ")} |\n`);
  if (at === 0) process.stdout.write(`|${"---|".repeat(row.length)}\n`);
}
process.stdout.write(
  "\nStart to first byte (serve: to its socket; import: of the library, with the start of Node), ms: ",
);
process.stdout.write(
  `${Object.entries(took)
    .map(([name, all]) => `${name} ${median(all).toFixed(0)}`)
    .join(", ")}\n`,
);
