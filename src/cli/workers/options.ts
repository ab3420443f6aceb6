/**
 * Which options go with `--workers`, and what becomes of them in each worker. What is a network's own (addresses, rules, guest
 * forwards, TFTP, impairment) is every worker's. What is there once on this machine, or leads to one network, is
 * refused: host ports, an inherited or dialled cable, UDP cables, uplinks, a SOCKS server. A capture is each worker's own,
 * with its number in its name. So is an API on a UNIX socket, to which the supervisor's leads (`api/workers`).
 */
import os from "node:os";
import path from "node:path";
import type { StreamAddress } from "../../attach/address.ts";
import { parseNumber } from "../../control/addresses.ts";
import { ConfigError } from "../../control/errors.ts";
import type { NetworkOptions } from "../../control/options.ts";
import type { ServeArguments, SessionOptions } from "../argument-types.ts";

const MOST = 64;

/** How many workers `--workers` asks for; null for none. Throws `ConfigError`, also about what does not go with it. */
export function readWorkers(args: ServeArguments, netdev: NetworkOptions): number | null {
  const { workers } = args;
  if (workers === undefined) return null;
  const count = workers === "auto" ? Math.min(MOST, os.availableParallelism()) : parseNumber(workers, 1, MOST);
  if (count === null) throw new ConfigError("--workers", workers, `expected a whole number from 1 to ${MOST}, or auto`);
  const refuse = (flag: string, given: readonly string[] | string | undefined, why: string): void => {
    const value = typeof given === "string" ? given : given?.[0];
    if (value !== undefined) throw new ConfigError(flag, value, `expected none with --workers: ${why}`);
  };
  const port = "a port leads to one network; a worker's own is opened by its API (tslirp ctl publish)";
  refuse("--publish", args.publish, port);
  refuse("--hostfwd", args.hostfwd, port);
  refuse("--netdev hostfwd", netdev.hostfwd, port);
  refuse("--connect", args.connect, "guests are shared out as they come, by --listen");
  refuse("--fd", args.fd, "guests are shared out as they come, by --listen");
  const udp = args.listen?.find((address) => address.startsWith("udp:"));
  refuse("--listen", udp, "a UDP cable is no connection that could be handed on; expected unix:PATH or tcp:HOST:PORT");
  const ws = args.listen?.find((address) => address.startsWith("ws:"));
  refuse("--listen", ws, "WebSockets are not handed on; expected unix:PATH or tcp:HOST:PORT");
  const shared = args.listen?.find((address) => address.startsWith("vhost-user:"));
  refuse("--listen", shared, "a guest's memory is one process's to map; expected unix:PATH or tcp:HOST:PORT");
  refuse("--uplink", args.uplink, "a segment leads to one network");
  refuse("--record", args.record, "a recording is of one network");
  refuse("--audit", args.audit as string | undefined, "an audit is of one network");
  refuse("--learn", args.learn as string | undefined, "rules are learned of one network");
  refuse("--socks", args.socks, "a SOCKS server leads to one network");
  return count;
}

/**
 * What a worker does beside serving its guests. The rules' file is the supervisor's to read. `folder` is where a worker's
 * socket stands when the supervisor's API is on TCP.
 */
export function ofWorker(session: SessionOptions, number: number, folder: () => string): SessionOptions {
  const { api, capture } = session;
  return {
    ...session,
    rules: null,
    api: api === null ? null : { kind: "unix", path: `${ownApi(api, folder)}.${number}` },
    capture: capture === null ? null : { ...capture, file: numbered(capture.file, number) },
  };
}

/** Without the worker's number. */
function ownApi(api: StreamAddress, folder: () => string): string {
  return api.kind === "unix" ? api.path : path.join(folder(), `workers-${process.pid}`);
}

/** `a/net.pcapng` is `a/net.2.pcapng` for the second. */
function numbered(file: string, number: number): string {
  const { dir, name, ext } = path.parse(file);
  return path.join(dir, `${name}.${number}${ext}`);
}
