/**
 * The rig of the end-to-end tests:
 *
 *     host namespace                                        guest namespace
 *       lo, ext0 10.99.0.1 ("the outside")                    tap0  ← a real Linux TCP/IP stack
 *       services, DNS at 10.99.0.1:53                           │
 *       tslirp ── UNIX socket (by path, crosses namespaces) ── QEMU's hub, without a machine
 *
 * The guest is a kernel, not an emulated CPU, so that bulk data is fast; both namespaces exist for one test file only.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Backend, type BackendOptions, hub } from "./backend.ts";
import { Namespace, type RunResult } from "./namespace.ts";
import { ServicesProcess } from "./services-process.ts";

export const OUTSIDE = "10.99.0.1";
export const OUTSIDE_NAME = "www.e2e.test";
export const METADATA = "169.254.169.254";
export const GATEWAY = "10.0.2.2";
export const RESOLVER = "10.0.2.3";
export const GUEST = "10.0.2.15";
export const GUEST_MAC = "52:54:00:e2:e0:01";
/** The port of the host's HTTP server. The namespace is ours alone, so it is always free. */
export const HTTP_PORT = 8080;
/** A TXT answer that fits no UDP answer without EDNS, nor with EDNS's 1232. */
export const LONG_TXT: string = "long ".repeat(400);

export interface RigOptions extends BackendOptions {
  /** HTTP paths of the host's server with fixed contents. */
  readonly files?: Readonly<Record<string, string>>;
}

/** A URL of the host's HTTP server, by one of its addresses or its name. */
export function url(host: string, path: string): string {
  return `http://${host}:${HTTP_PORT}${path}`;
}

/** The host's half: a namespace, its services, the back-end. Guests join `backend.socketPath`. */
export class HostRig {
  readonly host: Namespace;
  readonly folder: string;
  readonly services: ServicesProcess;
  readonly backend: Backend;

  protected constructor(host: Namespace, folder: string, services: ServicesProcess, backend: Backend) {
    this.host = host;
    this.folder = folder;
    this.services = services;
    this.backend = backend;
  }

  static async startHost(options: RigOptions = {}): Promise<HostRig> {
    const folder = mkdtempSync(join(tmpdir(), "tslirp-e2e-"));
    const host = new Namespace("host", [OUTSIDE]);
    try {
      // A dummy interface may be missing from a kernel; a veth pair's one end with its peer up does the same.
      host.ip("link", "add", "ext0", "type", "veth", "peer", "name", "ext1");
      for (const name of ["ext0", "ext1"]) host.ip("link", "set", name, "up");
      for (const address of [`${OUTSIDE}/24`, `${METADATA}/32`]) host.ip("addr", "add", address, "dev", "ext0");
      const services = await ServicesProcess.start(host, {
        host: "0.0.0.0",
        ports: { http: HTTP_PORT },
        ...(options.files ? { files: options.files } : {}),
        dns: {
          host: OUTSIDE,
          zone: {
            [OUTSIDE_NAME]: { A: [OUTSIDE], AAAA: ["fd99:0:0:0:0:0:0:1"], TXT: ["hello from the outside"] },
            "long.e2e.test": { TXT: [LONG_TXT] },
            "metadata.e2e.test": { A: [METADATA] },
          },
        },
      });
      return new HostRig(host, folder, services, await Backend.start(host, folder, options));
    } catch (error) {
      await host.close();
      rmSync(folder, { recursive: true });
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.host.close();
    rmSync(this.folder, { recursive: true });
  }
}

/** A host and one Linux guest, its cable plugged in, its interface up but without an address. */
export class Rig {
  readonly hostRig: HostRig;
  readonly guest: Namespace;

  private constructor(hostRig: HostRig, guest: Namespace) {
    this.hostRig = hostRig;
    this.guest = guest;
  }

  static async start(options: RigOptions = {}): Promise<Rig> {
    const hostRig = await HostRig.startHost(options);
    const guest = new Namespace("guest");
    try {
      guest.ip("tuntap", "add", "dev", "tap0", "mode", "tap");
      guest.ip("link", "set", "tap0", "address", GUEST_MAC);
      guest.ip("link", "set", "tap0", "up");
      const carrier = carrierUp(guest);
      // Without vnet_hdr the kernel segments and checksums before a frame reaches the wire, as a plain NIC's driver does.
      const qemu = guest.spawn(
        "qemu-system-x86_64",
        hub(
          "tap,id=t0,ifname=tap0,script=no,downscript=no,vnet_hdr=off",
          "t0",
          `server=off,addr.type=unix,addr.path=${hostRig.backend.socketPath}`,
        ),
        { stdio: ["ignore", "ignore", "pipe"] },
      );
      let said = "";
      qemu.stderr?.on("data", (piece) => {
        said += piece;
      });
      await carrier.catch((error) => {
        throw new Error(`${error.message}: ${said}`);
      });
      return new Rig(hostRig, guest);
    } catch (error) {
      await guest.close();
      await hostRig.close();
      throw error;
    }
  }

  /** As `start`, and the guest has its address, route and resolver from DHCP. */
  static async online(options: RigOptions = {}): Promise<Rig> {
    const rig = await Rig.start(options);
    try {
      const result = await rig.dhcp();
      if (result.code !== 0) throw new Error(`no lease: ${result.stderr}\n${rig.backend.log}`);
      return rig;
    } catch (error) {
      await rig.close();
      throw error;
    }
  }

  get host(): Namespace {
    return this.hostRig.host;
  }

  get services(): ServicesProcess {
    return this.hostRig.services;
  }

  get backend(): Backend {
    return this.hostRig.backend;
  }

  /** udhcpc to its first lease, or to its giving up after some seconds. */
  dhcp(...args: string[]): Promise<RunResult> {
    return this.guest.run("env", this.udhcpc("-q", "-n", ...args), 20_000);
  }

  /** A udhcpc that stays. Call `said` for each next line that it is to say; SIGUSR1 makes it renew, SIGUSR2 release. */
  dhcpDaemon(): { said(line: RegExp): Promise<void>; kill(signal: "SIGUSR1" | "SIGUSR2" | "SIGTERM"): void } {
    const client = this.guest.spawn("env", this.udhcpc(), { stdio: ["ignore", "ignore", "pipe"] });
    let unread = "";
    let wake = (): void => {};
    client.stderr?.on("data", (piece) => {
      unread += piece;
      wake();
    });
    return {
      said: (line) =>
        new Promise((resolve, reject) => {
          const timer = setTimeout(() => reject(new Error(`udhcpc did not say ${line}, but: ${unread}`)), 10_000);
          wake = () => {
            const match = line.exec(unread);
            if (!match) return;
            clearTimeout(timer);
            unread = unread.slice(match.index + match[0].length);
            resolve();
          };
          wake();
        }),
      kill: (signal) => void client.kill(signal),
    };
  }

  private udhcpc(...args: string[]): string[] {
    const script = fileURLToPath(new URL("udhcpc-script.sh", import.meta.url));
    const client = ["busybox", "udhcpc", "-i", "tap0", "-f", "-t", "5", "-T", "1", "-s", script];
    return [`LEASE_FILE=${this.leaseFile}`, ...client, ...args];
  }

  /** The last lease's options as udhcpc's script saw them. */
  lease(): Readonly<Record<string, string>> {
    const lines = readFileSync(this.leaseFile, "utf8").trim().split("\n");
    return Object.fromEntries(
      lines.map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
    );
  }

  private get leaseFile(): string {
    return join(this.hostRig.folder, "lease");
  }

  async close(): Promise<void> {
    await this.guest.close();
    await this.hostRig.close();
  }
}

/** Resolves when the TAP has its carrier: QEMU holds it open. `ip monitor` says it; nothing is polled. */
function carrierUp(guest: Namespace): Promise<void> {
  const monitor = guest.spawn("ip", ["monitor", "link"], { stdio: ["ignore", "pipe", "ignore"] });
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("QEMU did not open the TAP within 10 s")), 10_000);
    monitor.stdout?.on("data", (piece) => {
      if (!/tap0.*LOWER_UP/.test(String(piece))) return;
      clearTimeout(timer);
      monitor.kill();
      resolve();
    });
  });
}
