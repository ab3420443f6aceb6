/** `tslirp qemu`: runs QEMU with tslirp in libslirp's place. */
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import type { StreamAddress } from "../attach/address.ts";
import { ConfigError } from "../control/errors.ts";
import { createLog } from "../control/log.ts";
import { shellLine } from "../control/qemu-args.ts";
import { UNIX_PATH_MAX } from "../host/unix-path.ts";
import type { QemuArguments, SessionOptions } from "./argument-types.ts";
import { readNetworkArguments, readSessionArguments } from "./arguments.ts";
import { Custody } from "./qemu/child.ts";
import { readQemuCommand, type UserNetwork } from "./qemu/command-line.ts";
import { cableArgument, hasStream, qemuVersion } from "./qemu/version.ts";
import { vhostUserCommand, vhostUserNetdev } from "./qemu/vhost-user.ts";
import { type Session, startSession } from "./session.ts";

/**
 * Runs `command` (QEMU and its arguments) and serves its user networks; `given` are our own options. Resolves with
 * QEMU's exit status; then no socket, file or process is left. Rejects with `ConfigError`, or with an `Error` of one
 * line.
 */
export async function qemu(given: QemuArguments, command: readonly string[]): Promise<number> {
  const [program, ...args] = command;
  if (program === undefined || program.startsWith("-")) {
    throw new ConfigError("qemu", program, "expected -- and a QEMU command, like -- qemu-system-x86_64 -m 512");
  }
  const read = readQemuCommand(program, args);
  if (given.vhostUser && read.networks.some(({ hub }) => hub))
    throw new ConfigError(
      "--vhost-user",
      true,
      "expected a card for each user network: QEMU's hub takes no vhost-user",
    );
  const networks = read.networks.map((network, i) => {
    // A port of the host can lead to one network only: the first one has the forwards.
    const record = given.record === undefined ? undefined : besides(given.record, network.id);
    const audit = typeof given.audit === "string" ? besides(given.audit, network.id) : undefined;
    const learn = typeof given.learn === "string" ? besides(given.learn, network.id) : undefined;
    const ours = i === 0 ? given : { ...given, hostfwd: undefined, publish: undefined, record, learn, audit };
    return { network, options: readNetworkArguments(ours, network, network.hub ? "hub" : "stream") };
  });
  const session = readSessionArguments(given, "warn");
  const log = createLog(session.log);
  const folder = await mkdtemp(path.join(socketsParent(), "tslirp-"));
  using custody = new Custody(folder, session.hangup);
  const running: Session[] = [];
  try {
    const version = await qemuVersion(program, custody.ended);
    const netdevs = new Map<UserNetwork, string>();
    const shared: { id: string; path: string }[] = [];
    for (const [i, { network, options }] of networks.entries()) {
      const one = await startSession(options, i === 0 ? session : another(session, network.id), log);
      running.push(one);
      await one.begin();
      const socket = path.join(folder, `${i}.sock`);
      if (given.vhostUser) {
        await one.network.listenAt({ vhostUser: socket });
        shared.push({ id: network.id, path: socket });
        netdevs.set(network, vhostUserNetdev(network.id));
        continue;
      }
      // QEMU on Windows has no UNIX sockets.
      const unix = hasStream(version) && process.platform !== "win32";
      const target = unix ? `unix:${socket}` : "tcp:127.0.0.1:0";
      const address = (await one.network.listenAt(target)) as StreamAddress;
      netdevs.set(network, cableArgument(version, network.id, address));
    }
    const rewritten = [
      ...read.arguments((network) => netdevs.get(network)!),
      ...(shared.length === 0 ? [] : vhostUserCommand(args, shared)),
    ];
    if (netdevs.size === 0) log.warn("nothing to serve: these arguments give QEMU no user network");
    log.info(shellLine([program, ...rewritten]));
    if (custody.ended.aborted) return custody.ended.reason;
    return await custody.run(program, rewritten);
  } finally {
    await Promise.all(running.map((one) => one.close()));
    await rm(folder, { recursive: true, force: true });
  }
}

/** The session of a further network: without API and SOCKS, and with a capture of its own. */
function another(session: SessionOptions, id: string): SessionOptions {
  if (session.capture === null) return { ...session, api: null, socks: null };
  return {
    ...session,
    api: null,
    socks: null,
    capture: { ...session.capture, file: besides(session.capture.file, id) },
  };
}

/** The name of a further network's file: `net-ID.pcapng` beside `net.pcapng`. */
function besides(file: string, id: string): string {
  const { dir, name, ext } = path.parse(file);
  return path.join(dir, `${name}-${id}${ext}`);
}

/** A folder for temporary files with a path short enough for sockets in it. */
function socketsParent(): string {
  const folder = os.tmpdir();
  return Buffer.byteLength(folder) <= UNIX_PATH_MAX - 40 ? folder : "/tmp";
}
