/**
 * A Linux guest: a namespace with a TAP whose other end QEMU's hub joins to the back-end's socket, and a DHCP client.
 *
 * The interface stays at 1500 bytes whatever DHCP offers. When a full socket takes but a part of a frame, QEMU's hub
 * (seen in 7.2) may hand its stream netdev the next frame before the rest of that one, which then aborts in `iov_copy`
 * or sends a mixture. A UNIX socket takes a small frame whole or not at all; one of 65 kB it does take in parts.
 */
import type { ChildProcess } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { hub } from "./backend.ts";
import { Namespace, type RunResult } from "./namespace.ts";

export class Guest extends Namespace {
  private readonly leaseFile: string;
  private cable: ChildProcess | null = null;

  /** `leaseFile` is where the DHCP client's script leaves what it was given. */
  constructor(leaseFile: string, mac: string) {
    super("guest");
    this.leaseFile = leaseFile;
    this.ip("tuntap", "add", "dev", "tap0", "mode", "tap");
    this.ip("link", "set", "tap0", "address", mac);
    this.ip("link", "set", "tap0", "up");
  }

  /** Joins the back-end's socket; resolves when the interface has its carrier. */
  async plug(socketPath: string): Promise<void> {
    // Without vnet_hdr the kernel segments and checksums before a frame reaches the wire, as a plain NIC's driver does.
    const tap = "tap,id=t0,ifname=tap0,script=no,downscript=no,vnet_hdr=off";
    const stream = `server=off,addr.type=unix,addr.path=${socketPath}`;
    this.cable = this.spawn("qemu-system-x86_64", hub(tap, "t0", stream), { stdio: ["ignore", "ignore", "pipe"] });
    let said = "";
    this.cable.stderr?.on("data", (piece) => {
      said += piece;
    });
    await carrierUp(this).catch((error) => {
      throw new Error(`${error.message}: ${said}`);
    });
  }

  /** The guest vanishes without a word: no FIN, no RST, no DHCP RELEASE. */
  async unplug(): Promise<void> {
    const { cable } = this;
    if (!cable) return;
    this.cable = null;
    const ended = new Promise((resolve) => cable.once("exit", resolve));
    cable.kill("SIGKILL");
    await ended;
  }

  /** Its end of the cable is not read, as when a machine is paused or hangs, until `readAgain`. */
  stopReading(): void {
    this.cable?.kill("SIGSTOP");
  }

  readAgain(): void {
    this.cable?.kill("SIGCONT");
  }

  /** udhcpc to its first lease, or to its giving up after some seconds. */
  dhcp(...args: string[]): Promise<RunResult> {
    return this.run("env", this.udhcpc("-q", "-n", ...args), 60_000);
  }

  /** A udhcpc that stays. Call `said` for each next line that it is to say; SIGUSR1 makes it renew, SIGUSR2 release. */
  dhcpDaemon(): { said(line: RegExp): Promise<void>; kill(signal: "SIGUSR1" | "SIGUSR2" | "SIGTERM"): void } {
    const client = this.spawn("env", this.udhcpc(), { stdio: ["ignore", "ignore", "pipe"] });
    return { ...says("udhcpc", client), kill: (signal) => void client.kill(signal) };
  }

  /**
   * Waits until the kernel has made its address from what the router advertised (RFC 4862), and takes the resolver from
   * it as a resolver's daemon would: the kernel does not. Gives what `rdisc6` says of the advertisement.
   */
  async slaac(): Promise<string> {
    await this.hasAddress(6);
    const { stdout, stderr } = await this.run("rdisc6", ["-1", "tap0"]);
    const server = /Recursive DNS server\s*: (\S+)/.exec(stdout)?.[1];
    if (server === undefined) throw new Error(`no resolver in the router's advertisement: ${stdout}${stderr}`);
    writeFileSync(this.resolvConf, `nameserver ${server}\n`);
    return stdout;
  }

  /** A dhclient that stays, for IPv6; resolves when it has its lease. Address and resolver are what that gives. */
  async dhcp6(): Promise<void> {
    const script = fileURLToPath(new URL("dhclient-script.sh", import.meta.url));
    const files = ["-lf", `${this.leaseFile}.leases`, "-pf", `${this.leaseFile}.pid`, "-cf", "/dev/null"];
    const told = ["-e", `LEASE_FILE=${this.leaseFile}`, "-e", `RESOLV_CONF=${this.resolvConf}`];
    const args = ["-6", "-1", "-d", "-sf", script, ...files, ...told, "tap0"];
    await says("dhclient", this.spawn("dhclient", args, { stdio: ["ignore", "ignore", "pipe"] })).said(
      /Expiration scheduled/,
    );
  }

  /** Resolves when the interface has an address that may be used: after duplicate address detection. */
  async hasAddress(family: 4 | 6, scope: "global" | "link" = "global"): Promise<void> {
    const sign = scope === "global" ? "scope (global|site)" : "scope link";
    const usable = new RegExp(`inet6? \\S+ .*${sign}(?!.*tentative)`);
    const list = ["-o", `-${family}`, "addr", "show", "dev", "tap0"];
    for (let until = performance.now() + 40_000; performance.now() < until; ) {
      const { stdout } = await this.run("ip", list);
      if (stdout.split("\n").some((line) => usable.test(line))) return;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`no ${scope} address of IPv${family}: ${(await this.run("ip", list)).stdout}`);
  }

  private udhcpc(...args: string[]): string[] {
    const script = fileURLToPath(new URL("udhcpc-script.sh", import.meta.url));
    const client = ["busybox", "udhcpc", "-i", "tap0", "-f", "-t", "5", "-T", "1", "-O", "mtu", "-s", script];
    return [`LEASE_FILE=${this.leaseFile}`, `RESOLV_CONF=${this.resolvConf}`, ...client, ...args];
  }

  /** The last lease's options as udhcpc's script saw them. */
  lease(): Readonly<Record<string, string>> {
    const lines = readFileSync(this.leaseFile, "utf8").trim().split("\n");
    return Object.fromEntries(
      lines.map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
    );
  }
}

/** Call `said` for each next line that a program is to say on its standard error. */
function says(name: string, child: ChildProcess): { said(line: RegExp): Promise<void> } {
  let unread = "";
  let wake = (): void => {};
  child.stderr?.on("data", (piece) => {
    unread += piece;
    wake();
  });
  return {
    said: (line) =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`${name} did not say ${line}, but: ${unread}`)), 40_000);
        wake = () => {
          const match = line.exec(unread);
          if (!match) return;
          clearTimeout(timer);
          unread = unread.slice(match.index + match[0].length);
          resolve();
        };
        wake();
      }),
  };
}

/** Resolves when the TAP has its carrier: QEMU holds it open. It is asked for: news of it could come before a listener does. */
async function carrierUp(guest: Namespace): Promise<void> {
  for (const until = performance.now() + 40_000; performance.now() < until; ) {
    if (/LOWER_UP/.test((await guest.run("ip", ["-o", "link", "show", "dev", "tap0"])).stdout)) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("QEMU did not open the TAP within 40 s");
}
