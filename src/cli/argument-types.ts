/** The arguments of the command line, before and after they are read. */
import type { StreamAddress } from "../attach/address.ts";
import type { WsAccess } from "../attach/ws-access.ts";
import type { CaptureOptions } from "../control/capture.ts";
import type { LogOptions } from "../control/log.ts";
import type { ImpairmentOptions } from "../control/options/impairment-options.ts";
import type { NetworkOptions } from "../control/options/network-options.ts";
import type { GuestNetworksOptions } from "../guest-networks.ts";

/** The typed arguments about a network and its reports, by commander's names. Unchecked. */
export interface NetworkArguments {
  /** The options of a network, which are read by their descriptions. */
  readonly [attribute: string]: string | boolean | readonly string[] | undefined;
  readonly uplink?: readonly string[];
  readonly lease?: readonly string[];
  readonly hostfwd?: readonly string[] | undefined;
  readonly guestfwd?: readonly string[] | undefined;
  readonly publish?: readonly string[] | undefined;
  readonly dnssearch?: readonly string[];
  readonly max?: readonly string[];
  /** One list for four flags: `allow …`, `deny …`, `limit …`, `default …`, in the order in which they were typed. */
  readonly allow?: readonly string[];
  readonly deny?: readonly string[];
  readonly limit?: readonly string[];
  readonly default?: readonly string[];
  readonly rules?: string;
  readonly api?: string;
  readonly socks?: string;
  readonly capture?: string;
  readonly captureFilter?: string;
  readonly captureSnaplen?: string;
  readonly captureRotateSize?: string;
  readonly captureRotateTime?: string;
  readonly captureKeep?: string;
  readonly record?: string | undefined;
  readonly recordPayload?: string;
  readonly impair?: readonly string[];
  readonly impairSeed?: string;
  readonly logLevel?: string;
  readonly logJson?: boolean;
}

/** The arguments of `tslirp qemu`: those of a network, and how QEMU attaches. */
export interface QemuArguments extends NetworkArguments {
  readonly vhostUser?: boolean;
}

/** The arguments of `tslirp serve`: those of a network, and where guests attach. */
export interface ServeArguments extends NetworkArguments {
  readonly listen?: readonly string[];
  readonly connect?: readonly string[];
  readonly fd?: string;
  readonly tap?: readonly string[];
  readonly netdev?: string;
  readonly user?: string;
  readonly workers?: string;
  readonly perGuest?: boolean;
  readonly guestBytes?: string;
  readonly guestIdle?: string;
  readonly wsOrigin?: readonly string[];
  readonly wsToken?: string;
}

/** A file of rules, and the rules on the command line, which come before the file's. */
export interface RulesFile {
  readonly file: string;
  readonly typed: readonly string[];
}

/** The work on a network beside serving its guests. */
export interface SessionOptions {
  /** The rules that are read again on SIGHUP; null without a file of rules. */
  readonly rules: RulesFile | null;
  /** Whether SIGHUP makes the process read or open something again instead of ending it. */
  readonly hangup: boolean;
  /** Null for none. */
  readonly api: StreamAddress | null;
  readonly socks: StreamAddress | null;
  /** Null for no capture. */
  readonly capture: { readonly file: string; readonly options: CaptureOptions } | null;
  readonly impair: readonly ImpairmentOptions[];
  readonly impairSeed: number | undefined;
  readonly log: LogOptions;
}

export interface ServeOptions {
  readonly network: NetworkOptions;
  /** The id of QEMU's netdev. */
  readonly id: string;
  readonly listen: readonly string[];
  readonly connect: readonly string[];
  readonly fd: number | null;
  readonly tap: readonly string[];
  /** The user to become, as typed; null for none. */
  readonly user: string | null;
  /** Who may attach by WebSocket. */
  readonly ws: WsAccess;
  /** The options of one network for each guest; null for one network in all. */
  readonly perGuest: GuestNetworksOptions | null;
  /** How many worker processes share the guests; null for one network in this process. */
  readonly workers: number | null;
  readonly session: SessionOptions;
}
