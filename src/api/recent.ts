/** What happened lately, for those who look later, and live for those who watch: a ring of the latest events. */
import type { Network } from "../network.ts";

const KEPT = 1_000;
const NAMES = ["lease", "flowOpen", "flowClose", "flowRefused", "dns", "drop"] as const;
export type EventName = (typeof NAMES)[number];

export interface RecentEvent {
  /** Counts from 1. */
  readonly id: number;
  readonly type: EventName;
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly data: object;
}

export class RecentEvents {
  readonly #network: Network;
  readonly #most: number;
  /** The event `id` stands at `id` modulo `#most`. */
  readonly #kept: RecentEvent[] = [];
  readonly #watchers: Set<(event: RecentEvent) => void> = new Set();
  readonly #listeners: [EventName, (data: object) => void][] = [];
  #next = 1;

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

  /** Calls `watcher` for each event from now on; returns what ends that. */
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
    for (const watcher of this.#watchers) watcher(event);
  }
}
