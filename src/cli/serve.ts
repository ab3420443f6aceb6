/** `tslirp serve`: serves guests by one network, or by one in each worker, until a signal stops it. */
import type { Api } from "../api/server.ts";
import type { WorkersView } from "../api/workers.ts";
import { type AttachAddress, attachAddressText, parseAttachAddress, type StreamAddress } from "../attach/address.ts";
import type { WsAccess } from "../attach/ws-access.ts";
import { createLog, type Logger } from "../control/log.ts";
import { qemuArgs, shellLine } from "../control/qemu-args.ts";
import { version } from "../control/version.ts";
import type { WsAccessOptions } from "../control/ws-access.ts";
import type { GuestNetworksOptions } from "../guest-networks.ts";
import { makeFilesFor, type Owner, ownerName } from "../host/ownership.ts";
import type { Network } from "../network.ts";
import type { ServeOptions } from "./argument-types.ts";
import { whenLauncherEnds } from "./launcher.ts";
import { say } from "./output.ts";
import { becomeUser, findUser } from "./rights.ts";
import { runtimeFolder, usualDoor } from "./runtime-folder.ts";
import { announce as announceApi, rereadRules, startSession, warnOfOpenDoor } from "./session.ts";

/** The log, the user to become, and the end of a run. */
interface Setting {
  readonly log: Logger;
  /** The user to become when all sockets are open; null to stay the same. */
  readonly user: Owner | null;
  readonly stopped: Promise<void>;
}

/** Resolves when stopped as asked. Rejects with an `Error` of one line when the host refuses something. */
export async function serve(options: ServeOptions): Promise<void> {
  const log = createLog(options.session.log);
  const user = options.user === null ? null : findUser(options.user);
  if (user !== null) makeFilesFor(user);
  const setting = { log, user, stopped: stopSignal(options.session.hangup) };
  if (options.perGuest !== null) await serveEach(options, options.perGuest, setting);
  else if (options.workers === null) await serveHere(options, setting);
  else await serveByWorkers(options, options.workers, setting);
}

async function serveHere(options: ServeOptions, { log, user, stopped }: Setting): Promise<void> {
  const session = await startSession(options.network, options.session, log);
  const { network } = session;
  try {
    const listening = await listenFor(network, options);
    for (const address of listening) warnOfOpenDoor(log, "cable", address);
    giveUpRoot(user, log);
    await session.begin();
    let over: Promise<unknown> = stopped;
    if (options.fd !== null) {
      // If an inherited cable is the only one, the command ends with it.
      const gone = network.attachFd(options.fd);
      if (options.listen.length + options.connect.length === 0) over = Promise.race([stopped, gone]);
    }
    for (const address of options.connect) await network.dial(address);
    const taps = [];
    let ending = false;
    for (const target of options.tap) {
      const { closed } = await network.makeTap(target);
      taps.push(closed);
      log.info(`TAP ${target}`);
      void closed.then(() => ending || log.warn(`TAP ${target} has gone`));
    }
    if (taps.length > 0 && options.listen.length + options.connect.length === 0 && options.fd === null)
      over = Promise.race([stopped, Promise.all(taps)]);
    for (const address of listening) announce(address, options);
    await over;
    ending = true;
    log.info("stopping");
  } finally {
    await session.close();
  }
}

async function serveEach(
  options: ServeOptions,
  each: GuestNetworksOptions,
  { log, user, stopped }: Setting,
): Promise<void> {
  const { startGuests } = await import("./per-guest.ts");
  const session = await startGuests(options.network, each, options.session, log);
  try {
    const listening = await listenFor(session, options);
    for (const address of listening) warnOfOpenDoor(log, "cable", address);
    giveUpRoot(user, log);
    session.begin();
    for (const address of listening) announce(address, options);
    await stopped;
    log.info("stopping");
  } finally {
    await session.close();
  }
}

/** Opens all sockets by which guests come. */
async function listenFor(server: Pick<Network, "listenAt">, options: ServeOptions): Promise<AttachAddress[]> {
  const listening: AttachAddress[] = [];
  for (const address of listenAddresses(options))
    listening.push(
      await server.listenAt(address.startsWith("ws:") ? { ws: address, ...withToken(options.ws) } : address),
    );
  return listening;
}

async function serveByWorkers(options: ServeOptions, count: number, { log, user, stopped }: Setting): Promise<void> {
  const { Supervisor } = await import("./workers/supervisor.ts");
  const { ofWorker } = await import("./workers/options.ts");
  const { network, session } = options;
  const workers = Array.from({ length: count }, (_, i) => ({
    ...{ number: i + 1, network, session: ofWorker(session, i + 1, runtimeFolder), user },
  }));
  const supervisor = await Supervisor.start(workers, log);
  const doors: { close(): Promise<unknown> }[] = [supervisor];
  try {
    if (session.rules !== null) doors.unshift(rereadRules(supervisor, session.rules, log));
    const api = session.api === null ? null : await openWorkersApi(supervisor, session.api);
    if (api !== null) doors.unshift(api);
    const listening: AttachAddress[] = [];
    for (const text of listenAddresses(options))
      listening.push(await supervisor.listen(parseAttachAddress(text) as StreamAddress));
    for (const address of listening) warnOfOpenDoor(log, "cable", address);
    giveUpRoot(user, log);
    if (api !== null) doors.unshift(announceApi(api, log));
    log.info(`${count} workers, each with a network of its own`);
    for (const address of listening) announce(address, options);
    await stopped;
    log.info("stopping");
  } finally {
    for (const door of doors) await door.close();
  }
}

/** This API's code is loaded only when it is asked for, because there is much of it. */
async function openWorkersApi(workers: WorkersView, address: StreamAddress): Promise<Api> {
  const { serveWorkersApi } = await import("../api/workers.ts");
  return serveWorkersApi(workers, { address, version: version() });
}

function giveUpRoot(user: Owner | null, log: Logger): void {
  if (user === null) return;
  becomeUser(user);
  log.info(`root's rights are given up: now ${ownerName()}`);
}

function announce(address: AttachAddress, { id, ws }: ServeOptions): void {
  if (address.kind !== "ws")
    return say(`Waiting for guests. Append to QEMU's arguments:\n  ${shellLine(qemuArgs(id, address))}\n`);
  const url = `${attachAddressText(address)}${ws.token === null ? "" : "?token=…"}`;
  const pages = ws.origins.length === 0 ? "none (--ws-origin lets some)" : ws.origins.join(", ");
  say(
    `Waiting for guests. Give an emulator this address, v86 as its relay_url; web pages that may come: ${pages}\n  ${url}\n`,
  );
}

function withToken({ origins, token }: WsAccess): WsAccessOptions {
  return { origins, ...(token === null ? {} : { token }) };
}

function listenAddresses(options: ServeOptions): readonly string[] {
  if (options.listen.length + options.connect.length > 0 || options.fd !== null || options.tap.length > 0)
    return options.listen;
  return [usualDoor(options.id)];
}

/**
 * Resolves on the first SIGINT or SIGTERM, or SIGHUP if no rules are read again on it. A second signal ends the
 * process.
 */
function stopSignal(rereads: boolean): Promise<void> {
  const signals = ["SIGINT", "SIGTERM", ...(rereads ? [] : ["SIGHUP"])];
  return new Promise((resolve) => {
    const stop = () => {
      for (const signal of signals) process.off(signal, stop);
      resolve();
    };
    for (const signal of signals) process.on(signal, stop);
    whenLauncherEnds(stop);
  });
}
