/**
 * One peer between a guest and a host, all of it new for each run:
 *
 *     host namespace                                        guest namespace
 *       services (TCP, UDP, DNS) on 127.0.0.1                 load, on a real Linux TCP/IP stack
 *       the peer ── UNIX socket (by path) ── bridge ────────── tap0, its offloads off (or the bridge's to do)
 *
 * The bridge is a small C program: many frames a write one way, many a read the other, so that little of what is
 * measured is its own. With `hub` it is QEMU's hub instead, which is what QEMU's users have, and costs a write a frame.
 * Several guests are several namespaces with a bridge each to the one socket.
 */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { hub } from "../../test/support/e2e/backend.ts";
import { Namespace } from "../../test/support/e2e/namespace.ts";
import { cpuSeconds, machineSeconds, memory, ownSeconds } from "./meter.ts";
import { FORWARD, GATEWAY, GUEST, OUTSIDE, type Peer, type Place, RESOLVER, TAP } from "./peers.ts";
import type { Tools } from "./tools.ts";

export type Join = "bridge" | "hub";

/** What the guest's cable is like. */
export interface Cable {
  readonly mtu: number;
  readonly join: Join;
  /** The bridge does the guest's segmentation and checksums. */
  readonly offload?: boolean;
}

/** What a load prints: numbers by name. */
export type Figures = Record<string, number>;

const READY_MS = 10_000;
/** How long a peer may take to end in order. */
const ENDING_MS = 5_000;
const NAT = "10.0.2";
/** The first guest's address there. */
const FIRST = 15;

export class SystemRig {
  readonly #peer: Peer;
  readonly #tools: Tools;
  readonly #folder: string = mkdtempSync(join(tmpdir(), "tslirp-bench-"));
  readonly #host: Namespace = new Namespace("bench-host", ["127.0.0.1"]);
  readonly #guests: readonly Namespace[];
  readonly #said: string[] = [];
  #backend: ChildProcess | null = null;
  /** Segments with a wrong checksum that the bridges have told of, and no figure has yet. */
  #wrongSums = 0;

  private constructor(peer: Peer, tools: Tools, guests: number) {
    this.#peer = peer;
    this.#tools = tools;
    this.#guests = Array.from({ length: guests }, () => new Namespace("bench-guest"));
  }

  /** Resolves when a byte has gone from each guest to the host and back. Peers with a socket may have several guests. */
  static async start(peer: Peer, cable: Cable, tools: Tools, guests = 1): Promise<SystemRig> {
    const rig = new SystemRig(peer, tools, guests);
    try {
      await rig.#start(cable);
      return rig;
    } catch (error) {
      const said = rig.#said.join("");
      await rig.close();
      throw new Error(`${peer.name}: ${error instanceof Error ? error.message : error}\n${said}`, { cause: error });
    }
  }

  async #start(cable: Cable): Promise<void> {
    const { mtu } = cable;
    const host = this.#host;
    host.ip("link", "add", OUTSIDE, "type", "veth", "peer", "name", "ext1");
    for (const name of [OUTSIDE, "ext1"]) host.ip("link", "set", name, "up");
    host.ip("addr", "add", "10.99.0.1/24", "dev", OUTSIDE);
    host.ip("route", "add", "default", "via", "10.99.0.254");
    for (const space of [host, ...this.#guests]) await tune(space);

    const socket = join(this.#folder, "net.sock");
    const place: Place = {
      ...{ socket, mtu, api: join(this.#folder, "api.sock") },
      guestPath: `/run/netns/${this.#guests[0]!.name}`,
      forward: this.#guests.length === 1,
    };
    if (this.#peer.kind === "wire") {
      this.#backend = this.#spawn(host, this.#bridge(socket, "listen", cable));
      await this.#until("the far bridge", () => existsSync(socket));
      for (const address of [GATEWAY, RESOLVER]) host.ip("addr", "add", `${address}/24`, "dev", TAP);
      host.ip("link", "set", TAP, "mtu", String(mtu), "up");
    } else {
      this.#backend = this.#spawn(host, this.#peer.command(place));
      if (this.#peer.kind !== "tap") await this.#until("its socket", () => existsSync(socket));
    }
    this.#spawn(host, [this.#tools.services]);
    for (const nth of this.#guests.keys()) await this.#plug(nth, socket, cable);
    if (!place.forward) return;
    // Before there is any load: a connection of the guest's that waits in TIME-WAIT would have one of the ports.
    const services = this.#spawn(this.#guests[0]!, [this.#tools.services]);
    await Promise.race([
      once(services.stdout!, "data"),
      once(services, "close").then(() => Promise.reject(new Error("the guest's services have ended"))),
    ]);
    await this.#peer.forward?.(place);
  }

  #bridge(socket: string, role: "listen" | "connect", { offload = false }: Cable): string[] {
    return [this.#tools.bridge, TAP, socket, role, ...(offload ? ["offload"] : [])];
  }

  async #plug(nth: number, socket: string, cable: Cable): Promise<void> {
    const { mtu } = cable;
    const guest = this.#guests[nth]!;
    if (this.#peer.kind !== "tap") {
      const qemu = hub(
        `tap,id=t0,ifname=${TAP},script=no,downscript=no,vnet_hdr=off`,
        "t0",
        `server=off,addr.type=unix,addr.path=${socket}`,
      );
      const bridge = this.#bridge(socket, "connect", cable);
      const joined = this.#peer.kind === "vhost" ? [this.#tools.vhostGuest, TAP, socket] : bridge;
      this.#spawn(guest, cable.join === "hub" ? ["qemu-system-x86_64", ...qemu] : joined);
    }
    await this.#until("the TAP", async () => (await guest.run("ip", ["link", "show", TAP])).code === 0);
    const { lan } = this.#peer;
    const [address, router] = lan === undefined ? [`${NAT}.${FIRST + nth}`, GATEWAY] : [lan.guest, lan.router];
    if (lan !== undefined) await guest.sh(`ip link set ${TAP} address ${lan.mac}`);
    await guest.sh(
      `ip addr replace ${address}/24 dev ${TAP}; ip link set ${TAP} mtu ${mtu} up; ip route replace default via ${router}`,
    );
    const rr = ["rr", GATEWAY, "0.02"];
    await this.#until("a way through", async () => ((await this.load(rr, 3, nth)).count ?? 0) > 0);
  }

  /** What the load of a guest prints. Rejects when it fails. `GATEWAY` and `RESOLVER` stand for what the peer has for them. */
  async load(args: readonly string[], seconds = 30, nth = 0): Promise<Figures> {
    const { code, stdout, stderr } = await this.#guests[nth]!.run(this.#tools.load, this.#there(args), seconds * 1000);
    if (code !== 0 || !stdout.startsWith("{")) return { failed: 1, ...(stderr === "" ? {} : { code }) };
    return JSON.parse(stdout) as Figures;
  }

  /**
   * The host's own load, through the forward, to services in its only guest. The wire forwards nothing: there the guest itself
   * is dialled.
   */
  async inward(seconds: number, concurrency: number): Promise<Figures> {
    const wire = this.#peer.kind === "wire";
    const [host, port] = wire ? [GUEST, FORWARD.guestPort] : ["127.0.0.1", FORWARD.port];
    const args = ["crr", host, String(seconds), String(concurrency), String(port)];
    const { code, stdout } = await this.#host.run(this.#tools.load, args, 30_000);
    return code === 0 && stdout.startsWith("{") ? (JSON.parse(stdout) as Figures) : { failed: 1 };
  }

  /** A load that says a line, waits for one, and so on: each is told to `between` as it comes. */
  async dialogue(args: readonly string[], between: (figures: Figures, nth: number) => void): Promise<void> {
    const child = this.#guests[0]!.spawn(this.#tools.load, this.#there(args), { stdio: ["pipe", "pipe", "inherit"] });
    let text = "";
    let nth = 0;
    child.stdout!.on("data", (piece) => {
      text += piece;
      for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
        between(JSON.parse(text.slice(0, end)) as Figures, nth++);
        text = text.slice(end + 1);
        child.stdin!.write("\n");
      }
    });
    child.stdin!.on("error", () => {});
    const timer = setTimeout(() => child.kill("SIGKILL"), 60_000);
    await new Promise((resolve) => child.once("close", resolve));
    clearTimeout(timer);
  }

  /**
   * Runs `work` and adds what it cost: `cpu`, the peer's processor seconds, `busy`, how many processors it kept busy
   * meanwhile, and `foreign`, how many others on this machine did. A segment with a wrong checksum counts as `wrong`.
   */
  async metered(work: () => Promise<Figures>): Promise<Figures> {
    const pid = this.#backend!.pid!;
    const before = { cpu: cpuSeconds(pid), others: machineSeconds() - ownSeconds(), at: performance.now() };
    const figures = await work();
    const seconds = (performance.now() - before.at) / 1000;
    const foreign = (machineSeconds() - ownSeconds() - before.others) / seconds;
    const cpu = cpuSeconds(pid) - before.cpu;
    const wrong = (figures.wrong ?? 0) + this.#wrongSums;
    this.#wrongSums = 0;
    return { ...figures, wrong, cpu, busy: cpu / seconds, foreign: Math.max(0, foreign) };
  }

  /** The peer's memory, kB. */
  memory(what: "VmRSS" | "VmHWM"): number {
    return memory(this.#backend!.pid!, what);
  }

  get guests(): number {
    return this.#guests.length;
  }

  get died(): boolean {
    return this.#backend!.exitCode !== null || this.#backend!.signalCode !== null;
  }

  async close(): Promise<void> {
    const backend = this.#backend;
    if (this.#peer.endsInOrder === true && backend !== null && !this.died) {
      backend.kill("SIGTERM");
      await Promise.race([once(backend, "exit"), sleep(ENDING_MS)]);
    }
    for (const guest of this.#guests) await guest.close();
    await this.#host.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #there(args: readonly string[]): string[] {
    const { host = GATEWAY, resolver = RESOLVER } = this.#peer.lan ?? {};
    return args.map((arg) => (arg === GATEWAY ? host : arg === RESOLVER ? resolver : arg));
  }

  #spawn(space: Namespace, command: readonly string[]): ChildProcess {
    const child = space.spawn(command[0]!, command.slice(1), { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [child.stdout!, child.stderr!])
      stream.on("data", (piece) => {
        this.#wrongSums += String(piece).split("wrong checksum").length - 1;
        this.#said.push(String(piece));
        if (this.#said.length > 50) this.#said.shift();
      });
    return child;
  }

  async #until(what: string, ready: () => boolean | Promise<boolean>): Promise<void> {
    for (const started = performance.now(); ; await sleep(20)) {
      if (await ready()) return;
      if (this.died) throw new Error(`it ended before ${what} was there`);
      if (performance.now() - started > READY_MS) throw new Error(`no sign of ${what}`);
    }
  }
}

/** Ports and queues for thousands of connections at once; nothing that the guest says of itself. */
async function tune(space: Namespace): Promise<void> {
  const settings = [
    "net.ipv4.ip_local_port_range=2048 65000",
    // Or a guest that opens thousands of connections a second spends its time looking for a port that is not waiting.
    "net.ipv4.tcp_max_tw_buckets=2048",
    "net.ipv4.tcp_max_syn_backlog=8192",
    "net.core.somaxconn=8192",
    "net.ipv6.conf.all.disable_ipv6=1",
    "net.ipv6.conf.default.disable_ipv6=1",
    "net.ipv4.tcp_rmem=4096 131072 6291456",
    "net.ipv4.tcp_wmem=4096 16384 4194304",
    "net.ipv4.ping_group_range=0 2147483647",
  ];
  for (const setting of settings) await space.run("sysctl", ["-qw", setting]);
}
