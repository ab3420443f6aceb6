/** A network as the command line runs it, with its API, logs, captures and impairment. */
import fs from "node:fs";
import type { Api } from "../api/server.ts";
import { type AttachAddress, attachAddressText, type StreamAddress } from "../attach/address.ts";
import type { Logger } from "../control/log.ts";
import type { NetworkOptions } from "../control/options.ts";
import { parseRules } from "../control/rules.ts";
import { standardError } from "../control/standard-error.ts";
import { version } from "../control/version.ts";
import type { NetworkEvents } from "../embed/network-events.ts";
import { reasonOf } from "../host/reason.ts";
import { forwardText } from "../nat/forwards.ts";
import { deniesByClaim, opensAllNames } from "../nat/rules/rules.ts";
import { createNetwork, type Network } from "../network.ts";
import type { RulesFile, SessionOptions } from "./argument-types.ts";
import { readRules } from "./arguments.ts";
import type { RuleLines } from "./rules-file.ts";
import { leaveToken, tokenFile } from "./runtime-folder.ts";
import { wouldAllow } from "./would-allow.ts";

const REFUSALS_LOGGED = 20;
const FORWARDS_LOGGED = 20;

export interface Session {
  readonly network: Network;
  /**
   * Begins captures and impairment, and writes the API's token, as the user that the process is by now. Rejects with
   * an `Error` of one line when a capture's file cannot be opened.
   */
  begin(): Promise<void>;
  /** Closes the API, then the network. Resolves when all sockets are closed. */
  close(): Promise<void>;
}

/** Rejects with the errors of `createNetwork`, or with an `Error` of one line. Nothing is left open then. */
export async function startSession(options: NetworkOptions, session: SessionOptions, log: Logger): Promise<Session> {
  const network = await createNetwork(options);
  const doors: { close(): Promise<unknown> }[] = [];
  const close = async (): Promise<void> => {
    for (const door of doors) await door.close();
    await network.close();
  };
  try {
    report(network, log);
    if (session.hangup) doors.push(reopenAudit(network));
    if (session.rules !== null) doors.push(rereadRules(network, session.rules, log));
    if (session.socks !== null) {
      const { serveSocks } = await import("../api/socks.ts");
      const socks = await serveSocks(network, session.socks);
      doors.push(socks);
      log.info(`SOCKS5 on ${attachAddressText(socks.address)}`);
      warnOfOpenDoor(log, "SOCKS server", socks.address);
    }
    const api = session.api === null ? null : await openApi(network, session.api);
    if (api !== null) doors.unshift(api);
    const begin = async (): Promise<void> => {
      if (api !== null) doors.unshift(announce(api, log));
      if (session.capture !== null) {
        const { file, options } = session.capture;
        const error = await network.capture(file, options).opened;
        if (error !== null) throw new Error(`cannot capture to ${file}: ${reasonOf(error)}`);
      }
      network.impair(session.impair, session.impairSeed);
    };
    return { network, begin, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Makes SIGHUP reopen the audit's file, which somebody may have moved. */
function reopenAudit(network: Network): { close(): Promise<void> } {
  const reopen = (): void => network.reopenAudit();
  process.on("SIGHUP", reopen);
  return {
    async close() {
      process.off("SIGHUP", reopen);
    },
  };
}

/** Makes SIGHUP read the rules' file again. If it cannot be read or is wrong, the rules in force stay. */
export function rereadRules(
  ruled: Pick<Network, "setRules"> & Partial<Pick<Network, "answeredRules">>,
  rules: RulesFile,
  log: Logger,
): { close(): Promise<void> } {
  let counts: RuleLines["counts"] = new Map();
  try {
    counts = readRules(rules, null).counts;
  } catch {
    // The file has just changed. If it is still wrong when it is read again, that is reported.
  }
  const reread = (): void => {
    try {
      const read = readRules(rules, counts);
      ruled.setRules([...new Set([...read.lines, ...(ruled.answeredRules?.() ?? [])])]);
      counts = read.counts;
      log.info(`rules read again from ${rules.file}`);
    } catch (error) {
      log.error(`rules as before: ${(error as Error).message}`);
    }
  };
  process.on("SIGHUP", reread);
  return {
    async close() {
      process.off("SIGHUP", reread);
    },
  };
}

/** The API's code is loaded only when it is asked for, because there is much of it. */
async function openApi(network: Network, address: StreamAddress): Promise<Api> {
  const { serveApi } = await import("../api/server.ts");
  return serveApi(network, { address, version: version() });
}

/** Reports the API's address, and leaves its token for `ctl`. Closing the result removes the token's file. */
export function announce({ address, token }: Api, log: Logger): { close(): Promise<void> } {
  if (address.kind === "unix") {
    log.info(`API on unix:${address.path}`);
    return { async close() {} };
  }
  const { host, port } = address;
  const file = tokenFile(port);
  leaveToken(file, token ?? "", `tcp:${host}:${port}`);
  log.info(`API on tcp:${host}:${port}, its token in ${file}; a page at http://${host}:${port}/?token=${token}`);
  return {
    async close() {
      fs.rmSync(file, { force: true });
    },
  };
}

/** Warns of a TCP or UDP address that asks nobody for a token: every user and program that reaches it can connect. */
export function warnOfOpenDoor(log: Logger, what: string, address: AttachAddress): void {
  if (address.kind !== "tcp" && address.kind !== "udp") return;
  const whom = isLoopback(address.host) ? "every user and program of this machine" : "whoever reaches this machine";
  log.warn(
    `${attachAddressText(address)} is open to ${whom}: the ${what} asks nobody who they are; unix:PATH is this user's alone`,
  );
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host.startsWith("127.");
}

/** Returns a function that is true up to `times` times a second, so that a persistent guest does not fill the log. */
export function atMostEachSecond(times: number): () => boolean {
  let second = 0;
  let count = 0;
  return () => {
    const now = Math.floor(performance.now() / 1000);
    if (now !== second) count = 0;
    second = now;
    return ++count <= times;
  };
}

/** Writes the first refusal of a run to standard error, in one line. */
function sayRefused({
  proto,
  guest,
  host,
  remote,
  reason,
  remedy,
  process: by,
}: NetworkEvents["flowRefused"][0]): void {
  const to = proto === "dns" ? `the name ${host}` : `${proto} to ${host === null ? remote : `${host} (${remote})`}`;
  const help = wouldAllow(remedy, (rule) => `--${rule.replace(" ", " '")}'`);
  const line = `tslirp: refused ${by === undefined ? guest : `${by} at ${guest}`} ${to} by ${reason}${help}. More: --log-level info, or --api and tslirp ctl refusals`;
  standardError.write(`${line.replace(/[^ -~]/g, "?")}\n`);
}

/** Writes a network's events to the log. */
export function report(network: Network, log: Logger): void {
  const forwards = network.forwards();
  for (const { rule, address } of forwards.slice(0, FORWARDS_LOGGED)) {
    log.info(`forward ${forwardText({ ...rule, host: address }, network.config.firstGuest)}`);
  }
  if (forwards.length > FORWARDS_LOGGED) log.info(`and ${forwards.length - FORWARDS_LOGGED} forwards more`);
  network.on("lease", ({ action, ...lease }) => log.info(lease, `lease ${action}`));
  network.on("flowOpen", (flow) => log.debug(flow, "flow open"));
  network.on("flowClose", (flow) => log.debug(flow, "flow close"));
  const few = atMostEachSecond(REFUSALS_LOGGED);
  network.on("flowRefused", (flow) => {
    const { rule: _, ...shown } = flow;
    if (few()) log.info(shown, "refused");
  });
  const questions = atMostEachSecond(REFUSALS_LOGGED);
  network.on("ask", ({ id, rule, guest }) => {
    const line = `tslirp: ${guest} waits for ${rule}; tslirp ctl approve ${id} [--always], or deny ${id}`;
    if (questions()) standardError.write(`${line.replace(/[^ -~]/g, "?")}\n`);
  });
  // Without a log, the user of a refused guest would look for the fault elsewhere.
  if (!log.isLevelEnabled("info")) network.once("flowRefused", (flow) => sayRefused(flow));
  const set = parseRules(network.rules());
  const open = opensAllNames(set);
  if (open !== null && open !== "default allow")
    log.warn(`every name may be asked for by ${open}, and a name carries data out: name the domains instead`);
  const claim = set.rules.find(deniesByClaim);
  if (claim !== undefined)
    log.warn(
      `"${claim.text}" denies by what a guest says of itself, and it can say otherwise: name its cable, guest cable:NAME`,
    );
  network.on("tftp", (transfer) => log.info(transfer, transfer.error === null ? "tftp sent" : "tftp not sent"));
  network.on("notice", ({ text }) => log.warn(text));
  network.on("programOutput", ({ line, ...from }) => log.warn(from, line));
  network.on("dns", (query) => log.debug(query, "dns"));
}
