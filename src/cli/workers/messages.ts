/** The messages between the supervisor and its workers, by the channel that Node's `fork` makes. */
import type { NetworkOptions } from "../../control/options.ts";
import type { Owner } from "../../host/ownership.ts";
import type { SessionOptions } from "../argument-types.ts";

/** A worker's number, its network, and the work beside it. */
export interface WorkerOptions {
  /** From 1. */
  readonly number: number;
  readonly network: NetworkOptions;
  readonly session: SessionOptions;
  /** The user to become; null to stay the same. */
  readonly user: Owner | null;
}

/** Messages from the supervisor. To stop a worker, the supervisor closes the channel. */
export type Order =
  | { readonly order: "start"; readonly options: WorkerOptions }
  /** A guest, with its connection. The connection is missing if it ended before it could be sent. */
  | { readonly order: "serve"; readonly cable: number }
  /** A TCP port by which guests come. The worker must not let guests reach it. */
  | { readonly order: "protect"; readonly port: number }
  | { readonly order: "rules"; readonly lines: readonly string[] };

/** Messages from a worker. */
export type News =
  | { readonly news: "ready" }
  /** The worker could not start, and ends. */
  | { readonly news: "failed"; readonly why: string }
  /** The guest on this cable has left. */
  | { readonly news: "gone"; readonly cable: number };
