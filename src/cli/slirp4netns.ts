/**
 * `tslirp slirp4netns`: has slirp4netns' calling convention, so that programs that start slirp4netns (rootlesskit,
 * podman) can start tslirp by a script of that name. Makes a TAP in a network namespace and serves it until told to
 * stop.
 */
import { execFile } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import { promisify } from "node:util";
import { parseNumber } from "../control/addresses.ts";
import { ConfigError } from "../control/errors.ts";
import { createLog } from "../control/log.ts";
import type { NetworkOptions } from "../control/options/network-options.ts";
import { reasonOf } from "../host/reason.ts";
import { entrance, openTap, type Where } from "../host/tap-namespace.ts";
import { createNetwork, type Network } from "../network.ts";
import { needLinux } from "./need-linux.ts";
import { HostForwards } from "./slirp4netns/host-forwards.ts";

/** By commander's names, as typed. */
export interface Slirp4netnsArguments {
  readonly configure?: boolean;
  readonly exitFd?: string;
  readonly readyFd?: string;
  readonly mtu?: string;
  readonly enableIpv6?: boolean;
  readonly apiSocket?: string;
  readonly cidr?: string;
  readonly disableHostLoopback?: boolean;
  readonly netnsType?: string;
  readonly usernsPath?: string;
  readonly outboundAddr?: string;
  readonly disableDns?: boolean;
  readonly macaddress?: string;
  readonly targetType?: string;
}

/** The option of slirp4netns behind each option of a network. */
const TYPED: ReadonlyMap<string, string> = new Map([
  ["subnet", "--cidr"],
  ["dhcpStart", "--cidr"],
  ["outboundAddr", "--outbound-addr"],
]);
const LARGEST_MTU = 65_520;
/** The offset of the namespace's address in its network. */
const GUEST = 100;

/** Resolves with the exit status when asked to stop, or when the TAP is gone. Rejects with an `Error` of one line. */
export async function slirp4netns(given: Slirp4netnsArguments, target: string, tap = "tap0"): Promise<number> {
  needLinux("slirp4netns");
  const where = place(given, target);
  const [address, prefix] = (given.cidr ?? "10.0.2.0/24").split("/");
  const options = networkOptions(given, address!);
  const readyFd = descriptor("--ready-fd", given.readyFd);
  const exitFd = descriptor("--exit-fd", given.exitFd);
  if (given.targetType !== undefined && given.targetType !== "netns")
    throw new ConfigError("--target-type", given.targetType, "expected netns");
  const stopped = stopSignal(exitFd);
  const network = await createNetwork(options).catch((error: unknown) => {
    const typed = error instanceof ConfigError ? TYPED.get(error.field) : undefined;
    throw typed === undefined ? error : (error as ConfigError).named(typed);
  });
  try {
    const device = await openTap(tap, where);
    const gone = network.attachTap(device.fd);
    if (given.configure === true) await configure(network, where, tap, `${options.dhcpStart}/${prefix}`, given);
    const forwards = given.apiSocket === undefined ? null : await listenAt(network, given.apiSocket);
    if (readyFd !== null) {
      fs.writeSync(readyFd, "1");
      fs.closeSync(readyFd);
    }
    await Promise.race([stopped, gone]);
    await forwards?.close();
    return 0;
  } finally {
    await network.close();
  }
}

async function listenAt(network: Network, path: string): Promise<HostForwards> {
  try {
    return await HostForwards.listen(network, path);
  } catch (error) {
    throw new Error(`cannot listen at ${path} (--api-socket): ${reasonOf(error)}`);
  }
}

function place({ netnsType = "pid", usernsPath }: Slirp4netnsArguments, target: string): Where {
  if (netnsType === "path") return usernsPath === undefined ? { path: target } : { path: target, user: usernsPath };
  if (netnsType !== "pid") throw new ConfigError("--netns-type", netnsType, "expected path or pid");
  const pid = parseNumber(target, 1, 2 ** 31 - 1);
  if (pid === null)
    throw new ConfigError("slirp4netns", target, "expected a process id, or --netns-type=path and a path");
  return { pid };
}

function networkOptions(given: Slirp4netnsArguments, address: string): NetworkOptions & { readonly dhcpStart: string } {
  const mtu = parseNumber(given.mtu ?? "1500", 576, 65_521);
  if (mtu === null) throw new ConfigError("--mtu", given.mtu, "expected a whole number from 576 to 65521");
  const start = address.split(".").slice(0, 3).join(".");
  const log = createLog({ level: "warn", json: false });
  if (given.disableDns === true) log.warn("--disable-dns: the resolver at the third address answers all the same");
  return {
    ...{ subnet: given.cidr ?? "10.0.2.0/24", dhcpStart: `${start}.${GUEST}`, hostname: "slirp" },
    ...{ mtu: Math.min(Math.max(mtu, 1500), LARGEST_MTU), ipv6: given.enableIpv6 === true },
    hostLoopback: given.disableHostLoopback !== true,
    ...(given.outboundAddr === undefined ? {} : { outboundAddr: given.outboundAddr }),
  };
}

/** Brings the device up and gives it an address and a route, by running `ip` in the namespace. */
async function configure(
  network: Network,
  where: Where,
  tap: string,
  address: string,
  { macaddress }: Slirp4netnsArguments,
): Promise<void> {
  const { config } = network;
  const lines = ["link set lo up"];
  if (macaddress !== undefined) lines.push(`link set dev ${tap} address ${macaddress}`);
  lines.push(`link set dev ${tap} mtu ${config.mtu} up`, `addr add ${address} dev ${tap}`);
  lines.push(`route add default via ${config.host} dev ${tap}`);
  const run = promisify(execFile)("nsenter", [...entrance(where), "--", "ip", "-batch", "-"]);
  run.child.stdin!.end(`${lines.join("\n")}\n`);
  try {
    await run;
  } catch (error) {
    const said = (error as { stderr?: string }).stderr?.trim().split("\n")[0];
    throw new Error(`cannot configure ${tap}: ${said || reasonOf(error)}`);
  }
}

function descriptor(flag: string, text: string | undefined): number | null {
  if (text === undefined) return null;
  const fd = parseNumber(text, 3, 65_535);
  if (fd === null || !isOpen(fd)) throw new ConfigError(flag, text, "expected the number of an inherited descriptor");
  return fd;
}

function isOpen(fd: number): boolean {
  try {
    fs.fstatSync(fd);
    return true;
  } catch {
    return false;
  }
}

/** Resolves on a signal, or when the far end of `exitFd` is closed. */
function stopSignal(exitFd: number | null): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => resolve());
    if (exitFd === null) return;
    const end = new net.Socket({ fd: exitFd, readable: true, writable: false });
    end.on("error", () => resolve());
    end.on("close", () => resolve());
    end.resume();
  });
}
