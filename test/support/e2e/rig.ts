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
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { HttpFiles } from "../services.ts";
import { Backend, type BackendOptions } from "./backend.ts";
import type { DnsZone } from "./dns-server.ts";
import { Guest } from "./guest.ts";
import { Namespace } from "./namespace.ts";
import { ServicesProcess } from "./services-process.ts";

export const OUTSIDE = "10.99.0.1";
export const OUTSIDE_NAME = "www.e2e.test";
/** A name with that address only. iPXE takes no other than a name's IPv6 address, and no way there from a site-local one. */
export const IPV4_NAME = "ipv4.e2e.test";
export const METADATA = "169.254.169.254";
export const OUTSIDE6 = "fd99::1";
export const GATEWAY = "10.0.2.2";
export const RESOLVER = "10.0.2.3";
export const GATEWAY6 = "fec0::2";
export const RESOLVER6 = "fec0::3";
export const GUEST = "10.0.2.15";
export const GUEST_MAC = "52:54:00:e2:e0:01";
/** The port of the host's HTTP server. The namespace is ours alone, so it is always free. */
export const HTTP_PORT = 8080;
const TFTP = "tftp";
/** A TXT answer that fits no UDP answer without EDNS, nor with EDNS's 1232. */
export const LONG_TXT: string = "long ".repeat(400);

export interface RigOptions extends Omit<BackendOptions, "tftp"> {
  /** Paths and contents of the files that TFTP serves. */
  readonly tftp?: Readonly<Record<string, string | Uint8Array>>;
  /** HTTP paths of the host's server with fixed contents. */
  readonly files?: HttpFiles;
  /** More names in the host's DNS. */
  readonly zone?: DnsZone;
  /** The host has IPv6 as well, and services there. */
  readonly host6?: boolean;
  /** What is done to the guest before its cable is plugged in. */
  readonly prepareGuest?: (guest: Guest) => Promise<unknown>;
  /** What the host's namespace is to be before the back-end starts in it. */
  readonly prepare?: (host: Namespace) => void | Promise<void>;
}

/** Options may name files: in the rig's folder, which goes with it. */
export type GivenOptions = RigOptions | ((folder: string) => RigOptions);

/** A URL of the host's HTTP server, by one of its addresses or its name. */
export function url(host: string, path: string): string {
  return `http://${host.includes(":") ? `[${host}]` : host}:${HTTP_PORT}${path}`;
}

/** The host's half: a namespace, its services, the back-end. Guests join `backend.socketPath`. */
export class HostRig {
  readonly host: Namespace;
  readonly folder: string;
  readonly services: ServicesProcess;
  /** Those at IPv6 addresses; null unless asked for. */
  readonly services6: ServicesProcess | null;
  readonly backend: Backend;
  readonly options: RigOptions;

  protected constructor(
    options: RigOptions,
    host: Namespace,
    folder: string,
    services: ServicesProcess,
    services6: ServicesProcess | null,
    backend: Backend,
  ) {
    this.options = options;
    this.host = host;
    this.folder = folder;
    this.services = services;
    this.services6 = services6;
    this.backend = backend;
  }

  static async startHost(given: GivenOptions = {}): Promise<HostRig> {
    const folder = mkdtempSync(join(tmpdir(), "tslirp-e2e-"));
    const options = typeof given === "function" ? given(folder) : given;
    const host = new Namespace("host", [OUTSIDE]);
    try {
      // A dummy interface may be missing from a kernel; a veth pair's one end with its peer up does the same.
      host.ip("link", "add", "ext0", "type", "veth", "peer", "name", "ext1");
      for (const name of ["ext0", "ext1"]) host.ip("link", "set", name, "up");
      for (const address of [`${OUTSIDE}/24`, `${METADATA}/32`]) host.ip("addr", "add", address, "dev", "ext0");
      await options.prepare?.(host);
      const common = { ports: { http: HTTP_PORT }, ...(options.files ? { files: options.files } : {}) };
      if (options.host6) host.ip("addr", "add", `${OUTSIDE6}/64`, "dev", "ext0", "nodad");
      const services6 = options.host6 ? await ServicesProcess.start(host, { host: "::", ...common }) : null;
      const services = await ServicesProcess.start(host, {
        host: "0.0.0.0",
        ...common,
        dns: {
          host: OUTSIDE,
          zone: {
            [OUTSIDE_NAME]: { A: [OUTSIDE], AAAA: ["fd99:0:0:0:0:0:0:1"], TXT: ["hello from the outside"] },
            [IPV4_NAME]: { A: [OUTSIDE] },
            "long.e2e.test": { TXT: [LONG_TXT] },
            "metadata.e2e.test": { A: [METADATA] },
            // Nobody has a route to the documentation's addresses (RFC 3849).
            "both.e2e.test": { A: [OUTSIDE], AAAA: ["2001:db8:0:0:0:0:0:1"] },
            ...options.zone,
          },
        },
      });
      const { tftp, ...rest } = options;
      const served = tftp ? { tftp: tftpFolder(folder, tftp) } : {};
      return new HostRig(
        options,
        host,
        folder,
        services,
        services6,
        await Backend.start(host, folder, { ...rest, ...served }),
      );
    } catch (error) {
      await host.close();
      rmSync(folder, { recursive: true });
      throw error;
    }
  }

  get tftpFolder(): string {
    return join(this.folder, TFTP);
  }

  /** Ends all of it. Whatever a test has done to it, the back-end must have lived until then, or been stopped by `stop`. */
  async close(): Promise<void> {
    const { died, log } = this.backend;
    await this.host.close();
    rmSync(this.folder, { recursive: true });
    if (died) throw new Error(`the back-end died:\n${log}`);
  }
}

function tftpFolder(folder: string, files: NonNullable<RigOptions["tftp"]>): string {
  const root = join(folder, TFTP);
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
  return root;
}

/** A host and one Linux guest, its cable plugged in, its interface up but without an address. */
export class Rig {
  readonly hostRig: HostRig;
  readonly guest: Guest;

  private constructor(hostRig: HostRig, guest: Guest) {
    this.hostRig = hostRig;
    this.guest = guest;
  }

  static async start(options: GivenOptions = {}): Promise<Rig> {
    const hostRig = await HostRig.startHost(options);
    const guest = new Guest(join(hostRig.folder, "lease"), GUEST_MAC);
    try {
      await hostRig.options.prepareGuest?.(guest);
      await guest.plug(hostRig.backend.socketPath);
      return new Rig(hostRig, guest);
    } catch (error) {
      await guest.close();
      await hostRig.close();
      throw error;
    }
  }

  /** As `start`, and the guest has its address, route and resolver from DHCP. */
  static async online(options: GivenOptions = {}): Promise<Rig> {
    const rig = await Rig.start(options);
    try {
      const result = await rig.guest.dhcp();
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

  /** Of the host's IPv6 addresses, for a rig with `host6`. */
  get services6(): ServicesProcess {
    return this.hostRig.services6!;
  }

  get backend(): Backend {
    return this.hostRig.backend;
  }

  async close(): Promise<void> {
    await this.guest.close();
    await this.hostRig.close();
  }
}
