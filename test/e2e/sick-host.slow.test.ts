/** The host falls ill under a guest at work: what the guest is told, what the log says, and that service comes back by itself. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { ApiClient } from "../../src/cli/ctl/client.ts";
import { agent } from "../support/e2e/agent.ts";
import { Namespace } from "../support/e2e/namespace.ts";
import { describeE2e, LIBSLIRP } from "../support/e2e/requirements.ts";
import { GATEWAY, IPV4_NAME, OUTSIDE, RESOLVER, Rig, url } from "../support/e2e/rig.ts";

/** On the wire beyond the host's card, the second one swallows all. */
const WORLD = "10.99.0.9";
const BLACK_HOLE = "10.99.0.66";
const ECHO = 7777;

/** Dials so many connections at once; how each ended or, "open", began. All are closed in the end. */
async function dialMany(guest: Namespace, port: number, count: number): Promise<string[]> {
  const script = `
    const dial = () => new Promise((resolve) => {
      const socket = require("net").connect(${port}, "${GATEWAY}");
      socket.once("connect", () => setTimeout(resolve, 300, "open")).once("error", (error) => resolve(error.code));
      setTimeout(resolve, 10_000, "silence").unref();
    });
    Promise.all(Array.from({ length: ${count} }, dial)).then((ends) => {
      console.log(JSON.stringify(ends));
      process.exit();
    });`;
  return JSON.parse((await guest.run(process.execPath, ["-e", script], 30_000)).stdout);
}

describeE2e("a sick host", ["curl", "dig", "socat", "nc", "prlimit", "nsenter", "mount"], () => {
  let rig: Rig;
  let world: Namespace;
  let api: ApiClient;

  beforeAll(async () => {
    if (LIBSLIRP) return;
    rig = await Rig.online((folder) => ({
      files: { "/hello": "hello\n" },
      args: ["--api", `unix:${folder}/api`],
      prepare: (host) => {
        world = new Namespace("world");
        host.ip("link", "set", "ext1", "netns", world.name);
        world.ip("addr", "add", `${WORLD}/24`, "dev", "ext1");
        world.ip("link", "set", "ext1", "up");
        host.ip("neigh", "add", BLACK_HOLE, "lladdr", "02:00:00:00:00:66", "dev", "ext0");
      },
    }));
    api = new ApiClient({ kind: "unix", path: join(rig.hostRig.folder, "api") }, null);
    world.spawn("socat", [`TCP-LISTEN:${ECHO},fork,reuseaddr`, "EXEC:cat"], { stdio: "ignore" });
    world.spawn("socat", [`UDP-RECVFROM:${ECHO},fork`, "EXEC:cat"], { stdio: "ignore" });
    await world.sh(`for i in $(seq 100); do ss -ltun | grep -c :${ECHO} | grep -q 2 && break; sleep 0.05; done`);
  });
  afterAll(async () => {
    await rig?.close();
    await world?.close();
  });

  const hello = async (): Promise<string> =>
    (await rig.guest.run("curl", ["-sS", "--max-time", "20", url(GATEWAY, "/hello")])).stdout;
  /** A line to the world's echo and back. */
  const echo = (): ReturnType<Namespace["sh"]> => rig.guest.sh(`echo hello | nc -N -w 15 ${WORLD} ${ECHO}`, 20_000);
  const logged = async (words: RegExp): Promise<void> => {
    await expect.poll(() => rig.backend.log, { timeout: 20_000 }).toMatch(words);
  };

  it.skipIf(LIBSLIRP)(
    "no descriptor left: connections fail at once, the log says what helps, then all is well",
    async () => {
      const { pid, handles } = rig.backend;
      const soft = Number(/^Max open files +(\d+)/m.exec(readFileSync(`/proc/${pid}/limits`, "latin1"))?.[1]);
      const limit = (files: number) => rig.host.run("prlimit", [`--pid=${pid}`, `--nofile=${files}:`]);
      expect((await limit(handles + 8)).code).toBe(0);
      const outcomes = await dialMany(rig.guest, rig.services.ports.echo, 40);
      expect(outcomes.filter((code) => code === "open").length).toBeLessThan(20);
      const truthful = ["open", "EHOSTUNREACH", "ECONNREFUSED", "ECONNRESET"];
      for (const code of outcomes) expect(truthful).toContain(code);
      await logged(/no descriptor is left .* \(ulimit -n, LimitNOFILE=\)/);
      expect((await limit(soft)).code).toBe(0);
      const many = { host: GATEWAY, port: rig.services.ports.echo, count: 40, bytes: 1_000 };
      expect((await agent(rig.guest, "echoMany", many)).right).toBe(many.count);
      await expect.poll(() => rig.backend.handles, { timeout: 20_000 }).toBeLessThanOrEqual(handles + 2);
    },
  );

  it.skipIf(LIBSLIRP)(
    "connects that nobody answers keep no other from connecting",
    async () => {
      const dials = `for i in $(seq 60); do nc -w 3 ${BLACK_HOLE} 80 </dev/null & done; wait`;
      const swallowed = rig.guest.sh(dials, 30_000);
      await expect
        .poll(async () => (await api.get<object[]>("/v1/flows")).length, { timeout: 20_000 })
        .toBeGreaterThanOrEqual(60);
      expect(await hello()).toBe("hello\n");
      expect((await echo()).stdout).toBe("hello\n");
      await swallowed;
    },
    60_000,
  );

  it.skipIf(LIBSLIRP)(
    "the network goes: guests are told at once; it comes back under another address: they go on",
    async () => {
      expect((await echo()).stdout).toBe("hello\n");
      rig.host.ip("link", "set", "ext0", "down");
      const gone = await echo();
      expect(gone.code).toBe(1);
      expect((await agent(rig.guest, "udpAsk", { host: WORLD, port: ECHO, text: "hello" })).answer).toBe(null);
      expect(await hello()).toBe("hello\n");
      rig.host.ip("addr", "del", `${OUTSIDE}/24`, "dev", "ext0");
      rig.host.ip("addr", "add", "10.99.0.77/24", "dev", "ext0");
      rig.host.ip("link", "set", "ext0", "up");
      await expect.poll(async () => (await echo()).stdout, { timeout: 30_000, interval: 200 }).toBe("hello\n");
      expect((await agent(rig.guest, "udpAsk", { host: WORLD, port: ECHO, text: "hello" })).answer).toBe("hello");
      rig.host.ip("addr", "add", `${OUTSIDE}/24`, "dev", "ext0");
    },
    90_000,
  );

  it.skipIf(LIBSLIRP)(
    "the resolver goes, talks garbage, comes back: SERVFAIL, then answers, without a restart",
    async () => {
      const dig = (...more: string[]) =>
        rig.guest.run(
          "dig",
          [`@${RESOLVER}`, IPV4_NAME, "+tries=1", "+time=15", "+noall", "+comments", "+answer", ...more],
          20_000,
        );
      const resolvers = (...servers: string[]): void =>
        writeFileSync(rig.host.resolvConf, servers.map((server) => `nameserver ${server}\n`).join(""));
      const answered = new RegExp(`status: NOERROR[^]*${IPV4_NAME}.*\\sA\\s+${OUTSIDE.replaceAll(".", "\\.")}`);
      expect((await dig()).stdout).toMatch(answered);
      // Nobody has a DNS server there, and the host says so.
      resolvers("127.0.0.9");
      await expect
        .poll(async () => (await dig()).stdout, { timeout: 20_000, interval: 200 })
        .toMatch(/status: SERVFAIL/);
      const garbage = world.spawn("socat", ["UDP-RECVFROM:53,fork", "SYSTEM:head -c 200 /dev/urandom"], {
        stdio: "ignore",
      });
      resolvers(WORLD, OUTSIDE);
      await expect.poll(async () => (await dig()).stdout, { timeout: 30_000, interval: 200 }).toMatch(answered);
      resolvers(OUTSIDE);
      await expect.poll(async () => (await dig()).stdout, { timeout: 20_000, interval: 200 }).toMatch(answered);
      garbage.kill();
    },
    90_000,
  );

  it.skipIf(LIBSLIRP)(
    "the disk is full under a capture and a recording: they end, the log says why, the guest notices nothing",
    async () => {
      const mount = ["--mount", "--target", String(rig.backend.pid), "mount", "-t", "tmpfs", "-o", "size=64k"];
      for (const folder of ["/mnt", "/srv"])
        expect((await rig.host.run("nsenter", [...mount, "small", folder])).code).toBe(0);
      await api.post("/v1/captures", { file: "/mnt/all.pcapng" });
      const sent = { host: GATEWAY, port: rig.services.ports.echo, count: 4, bytes: 100_000 };
      expect((await agent(rig.guest, "echoMany", sent)).right).toBe(4);
      await logged(/the capture to \/mnt\/all\.pcapng has ended: no space left on device/);
      await expect(api.post("/v1/recording", { file: "/mnt/run.tslirp", endFlows: true })).rejects.toThrow(
        "no space left on device",
      );
      await api.post("/v1/recording", { file: "/srv/run.tslirp", endFlows: true });
      expect((await agent(rig.guest, "echoMany", sent)).right).toBe(4);
      await logged(/the recording has ended: no space left on device/);
      expect(await api.get("/v1/recording")).toEqual({ recording: null });
      expect(await api.get("/v1/captures")).toEqual([]);
      expect(await hello()).toBe("hello\n");
    },
  );
});
