/** The latest events: kept for clients that ask later, and passed on live to those who watch. */
import type { NetworkEvents } from "../embed/network-events.ts";
import type { Network } from "../network.ts";

const KEPT = 1_000;
/** How many refusals are kept. They are kept apart, because other events would push them out. */
const REFUSALS = 500;
/** Milliseconds within which an equal refusal only raises the count, because a query is asked in several ways. */
const AGAIN_MS = 10_000;
const NAMES = ["lease", "flowOpen", "flowClose", "flowRefused", "ask", "dns", "drop"] as const;
export type EventName = (typeof NAMES)[number];

export interface RecentEvent {
  /** Counts from 1. */
  readonly id: number;
  readonly type: EventName;
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly data: object;
}

export interface Refusal {
  /** Milliseconds since 1970 of the latest equal refusal. */
  time: number;
  /** How many equal refusals came soon after one another. */
  count: number;
  readonly data: NetworkEvents["flowRefused"][0];
}

export class RecentEvents {
  readonly #network: Network;
  readonly #most: number;
  /** Event `id` stands at `id` modulo `#most`. */
  readonly #kept: RecentEvent[] = [];
  readonly #watchers: Set<(event: RecentEvent) => void> = new Set();
  readonly #listeners: [EventName, (data: object) => void][] = [];
  #next = 1;
  readonly #refusals: Map<string, Refusal> = new Map();

  /** Keeps the latest `kept` events. */
  constructor(network: Network, kept: number = KEPT) {
    this.#network = network;
    this.#most = kept;
    for (const name of NAMES) {
      const listener = (data: object): void => this.#add(name, data);
      this.#listeners.push([name, listener]);
      network.on(name, listener as never);
    }
  }

  /** The latest events of a kind, the oldest first. */
  latest(type: EventName, count: number): RecentEvent[] {
    const from = this.#next % this.#most;
    const all = this.#kept.slice(from).concat(this.#kept.slice(0, from));
    return all.filter((event) => event.type === type).slice(-count);
  }

  /** The latest refusals, the oldest first. */
  refusals(count: number): Refusal[] {
    return [...this.#refusals.values()].slice(-count);
  }

  /** Calls `watcher` for each event from now on. Returns a function that ends that. */
  watch(watcher: (event: RecentEvent) => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  close(): void {
    for (const [name, listener] of this.#listeners) this.#network.off(name, listener as never);
    this.#watchers.clear();
  }

  #add(type: EventName, data: object): void {
    const event = { id: this.#next++, type, time: Date.now(), data };
    this.#kept[event.id % this.#most] = event;
    if (type === "flowRefused") this.#refused(data as NetworkEvents["flowRefused"][0], event.time);
    for (const watcher of this.#watchers) watcher(event);
  }

  #refused(data: NetworkEvents["flowRefused"][0], time: number): void {
    const { proto, guest, host, reason, direction } = data;
    // A guest that asks again has another port, and a program that is started again another PID.
    const from = guest.replace(/:\d+$/, "");
    const where = proto === "dns" ? "" : data.remote;
    const program = data.process?.replace(/\[\d+\]$/, "");
    const key = JSON.stringify([proto, direction, from, host, where, reason, program]);
    const before = this.#refusals.get(key);
    const count = before !== undefined && time - before.time < AGAIN_MS ? before.count + 1 : 1;
    const types = [...new Set([...((count > 1 && before?.data.types) || []), ...(data.types ?? [])])];
    this.#refusals.delete(key);
    this.#refusals.set(key, { time, count, data: types.length === 0 ? data : { ...data, types } });
    for (const oldest of this.#refusals.keys()) {
      if (this.#refusals.size <= Math.min(REFUSALS, this.#most)) break;
      this.#refusals.delete(oldest);
    }
  }
}
