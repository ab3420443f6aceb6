/** What the supervisor and its workers say to each other, by the channel that Node's `fork` makes. */
import type { NetworkOptions } from "../../control/options.ts";
import type { Owner } from "../../host/ownership.ts";
import type { SessionOptions } from "../argument-types.ts";

/** A worker's network, and what is done with it. */
export interface WorkerOptions {
  /** From 1. */
  readonly number: number;
  readonly network: NetworkOptions;
  readonly session: SessionOptions;
  /** Whom to become; null for nobody. */
  readonly user: Owner | null;
}

/** From the supervisor; a worker that is to stop is told by the channel's end. */
export type Order =
  | { readonly order: "start"; readonly options: WorkerOptions }
  /** A guest, with its connection; without one when that was over before it could be sent. */
  | { readonly order: "serve"; readonly cable: number }
  /** Guests' connections come in by this TCP port. */
  | { readonly order: "protect"; readonly port: number }
  | { readonly order: "rules"; readonly lines: readonly string[] };

/** From a worker. */
export type News =
  | { readonly news: "ready" }
  /** It could not start; it ends. */
  | { readonly news: "failed"; readonly why: string }
  /** The guest that came by this cable has left. */
  | { readonly news: "gone"; readonly cable: number };
