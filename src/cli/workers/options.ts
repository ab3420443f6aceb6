/**
 * Checks which options go with `--workers`, and makes the options of each worker. A network's own options (addresses,
 * rules, guest forwards, TFTP, impairment) hold for every worker. Options that exist once on this machine, or lead to
 * one network, are refused: host ports, an inherited or dialled cable, UDP cables, uplinks, a SOCKS server. Each
 * worker has a capture of its own, with its number in the name, and an API on a UNIX socket, to which the
 * supervisor's API leads (`api/workers`).
 */
import os from "node:os";
import path from "node:path";
import type { StreamAddress } from "../../attach/address.ts";
import { parseNumber } from "../../control/addresses.ts";
import { ConfigError } from "../../control/errors.ts";
import type { NetworkOptions } from "../../control/options.ts";
import type { ServeArguments, SessionOptions } from "../argument-types.ts";

const MOST = 64;

/** The number of workers; null without `--workers`. Throws `ConfigError`, also about options that do not go with it. */
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
 * The work of a worker beside serving its guests. The supervisor reads the file of rules. If the supervisor's API is
 * on TCP, `folder` is where a worker's socket stands.
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

/** The path of the workers' API sockets, without the worker's number. */
function ownApi(api: StreamAddress, folder: () => string): string {
  return api.kind === "unix" ? api.path : path.join(folder(), `workers-${process.pid}`);
}

/** The name of a worker's own file: `a/net.2.pcapng` of `a/net.pcapng` for worker 2. */
function numbered(file: string, number: number): string {
  const { dir, name, ext } = path.parse(file);
  return path.join(dir, `${name}.${number}${ext}`);
}
