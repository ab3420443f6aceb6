/** What a command line says, as it was typed and as it was read. */
import type { StreamAddress } from "../attach/address.ts";
import type { WsAccess } from "../attach/ws-access.ts";
import type { CaptureOptions } from "../control/capture.ts";
import type { LogOptions } from "../control/log.ts";
import type { ImpairmentOptions } from "../control/options/impairment-options.ts";
import type { NetworkOptions } from "../control/options/network-options.ts";
import type { GuestNetworksOptions } from "../guest-networks.ts";

/** What was typed that says what a network is like and how much is told, by commander's names. Unchecked. */
export interface NetworkArguments {
  /** A network's own options are read by their descriptions. */
  readonly [attribute: string]: string | boolean | readonly string[] | undefined;
  readonly uplink?: readonly string[];
  readonly lease?: readonly string[];
  readonly hostfwd?: readonly string[] | undefined;
  readonly guestfwd?: readonly string[] | undefined;
  readonly publish?: readonly string[] | undefined;
  readonly dnssearch?: readonly string[];
  readonly max?: readonly string[];
  /** One list, by whichever of the four it was begun: `allow …`, `deny …`, `limit …`, `default …` in their order. */
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

/** And how a QEMU of ours attaches. */
export interface QemuArguments extends NetworkArguments {
  readonly vhostUser?: boolean;
}

/** And where its guests are. */
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

/** A file of rules, and the typed ones before them. */
export interface RulesFile {
  readonly file: string;
  readonly typed: readonly string[];
}

/** What is done with a network beside serving its guests. */
export interface SessionOptions {
  /** Whose rules are read again when asked; null for no file. */
  readonly rules: RulesFile | null;
  /** SIGHUP has something read or opened again, and ends nothing. */
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
  /** Name of QEMU's netdev. */
  readonly id: string;
  readonly listen: readonly string[];
  readonly connect: readonly string[];
  readonly fd: number | null;
  readonly tap: readonly string[];
  /** Who to become, as typed. */
  readonly user: string | null;
  /** Who may come by WebSocket. */
  readonly ws: WsAccess;
  /** A network for each guest; null for one network. */
  readonly perGuest: GuestNetworksOptions | null;
  /** How many networks share the guests; null for one, in this process. */
  readonly workers: number | null;
  readonly session: SessionOptions;
}
