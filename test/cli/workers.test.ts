/** `serve --workers`: guests shared out among processes, and what becomes of these. */
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { readServeArguments } from "../../src/cli/arguments.ts";
import type { TcpSocket } from "../../src/cli/guest/tcp.ts";
import { Child } from "../../src/cli/workers/child.ts";
import { ofWorker } from "../../src/cli/workers/options.ts";
import { framedCable } from "../embed/framed-cable.ts";
import { type EmbeddedGuest, embeddedGuest } from "../support/embedded-guest.ts";
import { SOURCES } from "../support/program.ts";
import { Command, temporaryFolder } from "./command.ts";

let folder: string;
let at: string;
let echo: net.Server;
let echoPort: number;
const commands: Command[] = [];
const sockets: net.Socket[] = [];
const guests: EmbeddedGuest[] = [];

beforeAll(async () => {
  echo = net.createServer((socket) => socket.on("error", () => {}).pipe(socket)).listen(0, "127.0.0.1");
  await once(echo, "listening");
  echoPort = (echo.address() as net.AddressInfo).port;
});
afterAll(() => {
  echo.close();
});

beforeEach(() => {
  folder = temporaryFolder();
  at = path.join(folder, "net.sock");
});
afterEach(async () => {
  for (const guest of guests.splice(0)) guest.stop();
  for (const socket of sockets.splice(0)) socket.destroy();
  await Promise.all(commands.splice(0).map((command) => command.stop("SIGKILL")));
  fs.rmSync(folder, { recursive: true });
});

function serve(...args: readonly string[]): Command {
  return run(args);
}

function run(args: readonly string[], program?: readonly string[]): Command {
  const all = ["serve", "--log-json", "--log-level", "debug", ...args];
  const command = new Command(all, { XDG_RUNTIME_DIR: folder }, false, program);
  commands.push(command);
  return command;
}

/** Two workers at `at`, when guests can come. */
async function twoWorkers(...args: readonly string[]): Promise<Command> {
  const command = serve("--workers", "2", "--listen", `unix:${at}`, ...args);
  await command.printed(/-netdev/);
  return command;
}

/** A line of the log. */
type Line = Readonly<Record<string, unknown>>;

/** The log's lines so far that say `message`. */
function said(command: Command, message: string): Line[] {
  const complete = command.stderr.split("\n").slice(0, -1);
  const lines = complete.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line) as Line);
  return lines.filter(({ msg }) => msg === message);
}

/** The `nth` line that says `message` and what `what` says, when it is there. */
async function hears(command: Command, message: string, nth = 1, what: Line = {}): Promise<Line> {
  for (;;) {
    const lines = said(command, message).filter((line) => Object.entries(what).every(([key, v]) => line[key] === v));
    if (lines.length >= nth) return lines[nth - 1]!;
    await command.lives(once(command.child.stderr!, "data"));
  }
}

function pidOf(command: Command, worker: number): number {
  return said(command, "worker ready").findLast((line) => line.worker === worker)!.pid as number;
}

async function connected(target: net.NetConnectOpts = { path: at }): Promise<net.Socket> {
  const socket = net.connect(target);
  socket.on("error", () => {});
  sockets.push(socket);
  await once(socket, "connect");
  return socket;
}

interface CabledGuest extends EmbeddedGuest {
  readonly socket: net.Socket;
  /** The worker whose network this guest is on. */
  readonly worker: number;
}

/** A guest that has its lease. `last` is its MAC's last byte. */
async function guestOf(command: Command, last: number, target?: net.NetConnectOpts): Promise<CabledGuest> {
  const socket = await connected(target);
  const cable = Object.assign(framedCable(socket), { close: () => socket.destroy() });
  const embedded = await command.lives(embeddedGuest({ cable: () => cable }, last));
  guests.push(embedded);
  const { worker } = await hears(command, "lease bound", 1, { mac: `52:54:00:00:00:0${last}` });
  return { ...embedded, socket, worker: worker as number };
}

/** A connection to the echo server, and what comes back for what is written. */
async function talk({ guest }: EmbeddedGuest): Promise<(text: string) => Promise<string>> {
  let got = "";
  let heard = (): void => {};
  const socket = await new Promise<TcpSocket>((resolve, reject) => {
    const dialling = guest.connect(guest.gateway, echoPort, {
      onConnect: () => resolve(dialling),
      onData: (bytes) => {
        got += Buffer.from(bytes);
        heard();
      },
      onClose: reject,
    });
  });
  return async (text) => {
    got = "";
    socket.write(Buffer.from(text));
    while (got.length < text.length) {
      await new Promise<void>((resolve) => {
        heard = resolve;
      });
    }
    return got;
  };
}

describe("guests", () => {
  it("are spread evenly over networks of their own, the next to where there are fewest", async () => {
    const command = await twoWorkers();
    const four = [];
    for (const last of [1, 2, 3, 4]) four.push(await guestOf(command, last));
    expect(four.map(({ worker }) => worker)).toEqual([1, 2, 1, 2]);
    // The first two of each network have its first two addresses.
    const ips = four.map(({ guest }) => guest.ip & 0xff);
    expect(ips).toEqual([15, 15, 16, 16]);
    for (const [i, guest] of four.entries()) expect(await (await talk(guest))(`guest ${i}`)).toBe(`guest ${i}`);
    four[1]!.socket.destroy();
    await hears(command, "cable ended", 1);
    expect((await guestOf(command, 5)).worker).toBe(2);
    expect((await guestOf(command, 6)).worker).toBe(1);
    // In its own network a guest is found; the other one's are not there.
    await four[2]!.guest.ping(four[0]!.guest.ip);
    expect((await command.stop()).status).toBe(0);
  });

  it("of a worker that is killed come back, and others notice nothing", async () => {
    const command = await twoWorkers();
    const first = await guestOf(command, 1);
    const second = await guestOf(command, 2);
    const say = await talk(second);
    expect(await say("before")).toBe("before");
    const gone = once(first.socket, "close");
    process.kill(pidOf(command, first.worker), "SIGKILL");
    await command.lives(gone);
    expect(await say("after")).toBe("after");
    const back = await hears(command, "worker ready", 3);
    expect(back.worker).toBe(first.worker);
    const again = await guestOf(command, 3);
    expect(again.worker).toBe(first.worker);
    expect(await (await talk(again))("again")).toBe("again");
    expect(said(command, "worker ended by SIGKILL; another one follows")).toMatchObject([{ worker: first.worker }]);
    expect(await say("still")).toBe("still");
  });

  it("do not reach the port that cables come in by, whichever worker they are with", async () => {
    const command = serve("--workers", "2", "--listen", "tcp:127.0.0.1:0");
    const [, port = ""] = await command.printed(/addr\.port=(\d+)/);
    const target = { host: "127.0.0.1", port: Number(port) };
    for (const last of [1, 2]) {
      const { guest, dial, worker } = await guestOf(command, last, target);
      expect(worker).toBe(last);
      expect(await dial(guest.gateway, echoPort)).toBe("connected");
      expect(await dial(guest.gateway, Number(port))).toBe("refused");
    }
    expect(command.stderr).toMatch(/tcp:127\.0\.0\.1:\d+ is open to every user and program of this machine/);
  });

  it("are 64 at a socket, whichever workers they are with", async () => {
    const command = await twoWorkers();
    for (let i = 0; i < 64; i++) await connected();
    await hears(command, "cable begins", 64);
    await once(await connected(), "close");
    await hears(command, `a guest at unix:${at} was sent away: there are 64`, 1, { refused: 1 });
    sockets[0]!.destroy();
    await hears(command, "cable ended", 1);
    expect((await guestOf(command, 1)).worker).toBe(1);
  });
});

describe("the API", () => {
  it("is one for all workers, on TCP, too, and ctl chooses among them by --network", async () => {
    const command = await twoWorkers("--api", "tcp:127.0.0.1:0");
    await hears(command, "2 workers, each with a network of its own");
    const api = /API on (tcp:127[^,]*), its token/.exec(command.stderr)![1]!;
    const first = await guestOf(command, 1);
    await guestOf(command, 2);
    const ctl = (...args: readonly string[]) =>
      new Command(["ctl", "--api", api, ...args], { XDG_RUNTIME_DIR: folder }).finished;
    const networks = await ctl("networks");
    expect(networks).toMatchObject({ status: 0, stderr: "" });
    expect(networks.stdout).toMatch(/^ID +PID +GUESTS.*\nw1 +\d+ +1 .*\nw2 +\d+ +1 /);
    expect((await ctl("--network", "w2", "leases")).stdout).toContain("52:54:00:00:00:02");
    expect((await ctl("--network", "w1", "rules", "default deny")).stdout).toBe("default deny\n");
    expect((await ctl("leases")).stderr).toMatch(/^tslirp: each worker has a network of its own: .*--network ID/);
    // Its port is closed to guests.
    expect(await first.dial(first.guest.gateway, Number(api.split(":").at(-1)))).toBe("refused");
    process.kill(pidOf(command, 1), "SIGKILL");
    await hears(command, "worker ready", 3);
    expect((await ctl("--network", "w1", "rules")).stdout).toBe("none\n");
    expect((await command.stop()).status).toBe(0);
    expect(fs.readdirSync(path.join(folder, "tslirp")).filter((name) => !name.startsWith("ports"))).toEqual([]);
  });
});

describe("rules", () => {
  it("are read again on SIGHUP for all workers, also for one that comes later", async () => {
    const file = path.join(folder, "rules");
    fs.writeFileSync(file, "default allow\n");
    const command = await twoWorkers("--rules", file);
    const one = await guestOf(command, 1);
    const two = await guestOf(command, 2);
    expect(await one.dial(one.guest.gateway, echoPort)).toBe("connected");
    fs.writeFileSync(file, `deny tcp any:${echoPort}\ndefault allow\n`);
    command.child.kill("SIGHUP");
    await hears(command, `rules read again from ${file}`, 1);
    // What was told first is heard first: this guest's cable is plugged in by the channel that the rules came by.
    expect(await (await guestOf(command, 3)).dial(one.guest.gateway, echoPort)).toBe("refused");
    expect(await (await guestOf(command, 4)).dial(two.guest.gateway, echoPort)).toBe("refused");
    process.kill(pidOf(command, 1), "SIGKILL");
    await hears(command, "worker ready", 3);
    const later = await guestOf(command, 5);
    expect(later.worker).toBe(1);
    expect(await later.dial(one.guest.gateway, echoPort)).toBe("refused");
  });
});

describe("the end", () => {
  it("by SIGTERM leaves neither process nor socket, status 0", async () => {
    const command = await twoWorkers("--api", `unix:${path.join(folder, "api")}`);
    expect(fs.readdirSync(folder).sort()).toEqual(["api", "api.1", "api.2", "net.sock"]);
    for (const name of fs.readdirSync(folder))
      expect(fs.lstatSync(path.join(folder, name)).mode & 0o777, name).toBe(0o600);
    const { socket } = await guestOf(command, 1);
    const pids = [1, 2].map((worker) => pidOf(command, worker));
    const gone = once(socket, "close");
    expect((await command.stop()).status).toBe(0);
    await gone;
    expect(fs.readdirSync(folder)).toEqual([]);
    for (const pid of pids) expect(() => process.kill(pid, 0)).toThrow(/ESRCH/);
  });

  it("leaves no word of the ports that guests were kept from, nor does a worker that is killed", async () => {
    const command = await twoWorkers("--api", "tcp:127.0.0.1:0");
    await hears(command, "2 workers, each with a network of its own");
    const kept = path.join(folder, "tslirp", "ports");
    const files = (...workers: number[]): string[] => workers.map((worker) => `${pidOf(command, worker)}.ports`).sort();
    await vi.waitFor(() => expect(fs.readdirSync(kept).sort()).toEqual(files(1, 2)), { timeout: 5_000 });
    const gone = files(1);
    process.kill(pidOf(command, 1), "SIGKILL");
    await hears(command, "worker ready", 2, { worker: 1 });
    await vi.waitFor(() => expect(fs.readdirSync(kept).sort()).toEqual(files(1, 2)), { timeout: 5_000 });
    expect(files(1)).not.toEqual(gone);
    expect((await command.stop()).status).toBe(0);
    expect(fs.readdirSync(kept)).toEqual([]);
  });

  it("by SIGKILL takes the workers along, in a checkout, too", async () => {
    const command = run(["--workers", "2", "--listen", `unix:${at}`], SOURCES);
    await command.printed(/-netdev/);
    const { socket } = await guestOf(command, 1);
    const gone = once(socket, "close");
    // Over when nobody holds its standard error any more, which the workers have, too.
    expect((await command.stop("SIGKILL")).signal).toBe("SIGKILL");
    await gone;
  });

  it("comes at once, with one line and status 1, when a worker cannot start", async () => {
    const command = serve("--workers", "2", "--listen", `unix:${at}`, "--api", `unix:${folder}/none/api`);
    const { status, stdout, stderr } = await command.finished;
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr.split("\n").filter((line) => !line.startsWith("{"))).toEqual([
      expect.stringMatching(/^tslirp: .*none\/api\.[12]: its folder is not there/),
      "",
    ]);
    expect(fs.existsSync(at)).toBe(false);
  });
});

describe("a worker", () => {
  it("that says nothing while it starts is ended when its time is over", async () => {
    const silent = path.join(folder, "silent.mjs");
    fs.writeFileSync(silent, "setInterval(() => {}, 1e6)");
    const { argv } = process;
    process.argv = [argv[0]!, silent];
    try {
      const { session, network } = readServeArguments({});
      const child = new Child({ number: 1, network, session, user: null }, 50);
      expect(await child.over).toBe("worker not ready within 0.05 s");
      expect(() => process.kill(child.pid!, 0)).toThrow(/ESRCH/);
    } finally {
      process.argv = argv;
    }
  });
});

describe("options", () => {
  const read = (args: object): (() => unknown) => {
    return () => readServeArguments({ workers: "2", ...args });
  };

  it.each([
    [{ workers: "0" }, '--workers: got "0"; expected a whole number from 1 to 64, or auto'],
    [{ workers: "65" }, '--workers: got "65"; expected a whole number from 1 to 64, or auto'],
    [{ publish: ["2222:22"] }, '--publish: got "2222:22"; expected none with --workers'],
    [{ hostfwd: ["tcp::2222-:22"] }, '--hostfwd: got "tcp::2222-:22"; expected none with --workers'],
    [{ netdev: "user,hostfwd=tcp::2222-:22" }, '--netdev hostfwd: got "tcp::2222-:22"; expected none with --workers'],
    [{ connect: ["unix:/q"] }, '--connect: got "unix:/q"; expected none with --workers'],
    [{ fd: "3" }, '--fd: got "3"; expected none with --workers'],
    [{ listen: ["unix:/n", "udp:127.0.0.1:0"] }, '--listen: got "udp:127.0.0.1:0"; expected none with --workers'],
    [{ uplink: ["vxlan://192.0.2.1?vni=4"] }, '--uplink: got "vxlan://192.0.2.1?vni=4"; expected none with --workers'],
    [{ socks: "unix:/s" }, '--socks: got "unix:/s"; expected none with --workers'],
  ])("%j does not go with workers", (args, line) => {
    expect(read(args)).toThrow(line);
  });

  it("that are a network's own go with workers; a capture and the API bear their numbers", () => {
    const { workers, session } = readServeArguments({
      ...{ workers: "auto", guestfwd: ["tcp:10.0.2.100:80-cmd:cat"], impair: ["delay=1ms"], proxy: ["direct"] },
      ...{ api: "unix:/run/api", capture: "/tmp/net.pcapng", lease: ["52:54:00:12:34:56=10.0.2.20"] },
    });
    expect(workers).toBeGreaterThan(0);
    const nowhere = (): string => {
      throw new Error("no folder is needed");
    };
    expect(ofWorker(session, 2, nowhere)).toMatchObject({
      ...{ api: { kind: "unix", path: "/run/api.2" }, capture: { file: "/tmp/net.2.pcapng" } },
      impair: session.impair,
    });
    const onTcp = readServeArguments({ workers: "2", api: "tcp:127.0.0.1:0" }).session;
    expect(ofWorker(onTcp, 2, () => "/run/tslirp").api).toEqual({
      kind: "unix",
      path: `/run/tslirp/workers-${process.pid}.2`,
    });
  });
});
