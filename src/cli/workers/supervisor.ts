/**
 * `--workers N`: several guests use several processors.
 *
 * Theory of operation. A network runs in one thread. The supervisor, which is this process, starts N workers:
 * processes that have one network each, all with the same options. Guests of two workers see as little of each other
 * as those of two `-netdev user`. The supervisor owns the listening sockets. It hands each connection, of which
 * nobody has read a byte, to the worker with the fewest cables, by the channel that Node's `fork` makes. The worker
 * reports when the guest has left. The guests' frames never pass through the supervisor.
 *
 * Start: the supervisor listens when all workers are ready. If a worker ends before that, all end with an error. If a
 * worker dies later, its guests' cables end. QEMU's `reconnect` dials again, and other workers serve those guests
 * meanwhile. The worker is started again: at once the first time, then after pauses that double while it does not
 * live for `STEADY_MILLIS`.
 *
 * End: a worker ends when its channel does. So the supervisor stops by closing the channels and waiting, and a
 * supervisor that is killed leaves no worker behind.
 */
import type net from "node:net";
import type { WorkersView, WorkerView } from "../../api/workers.ts";
import { attachAddressText, type StreamAddress } from "../../attach/address.ts";
import { type Door, openDoor } from "../../attach/door.ts";
import type { Logger } from "../../control/log.ts";
import { DEFAULT_LIMITS } from "../../core/limits.ts";
import { sharedRegistry } from "../../host/port-registry.ts";
import { atMostEachSecond } from "../session.ts";
import { Child } from "./child.ts";
import type { Order, WorkerOptions } from "./messages.ts";

const WAIT_FIRST_MILLIS = 100;
const WAIT_LAST_MILLIS = 5_000;
/** Milliseconds. If a worker has lived so long, its start was not the reason for its death. */
const STEADY_MILLIS = 10_000;

/** A worker's place. Processes may follow one another in it. */
interface Place {
  readonly options: WorkerOptions;
  /** Null while no process can serve guests here. */
  ready: Child | null;
  /** Null between two processes. */
  child: Child | null;
  wait: number;
  timer: NodeJS.Timeout | null;
}

/** How many guests have come by one listening socket and are still there. */
interface Count {
  guests: number;
}

export class Supervisor implements WorkersView {
  readonly #places: readonly Place[];
  /** How many guests one listening socket may have. */
  readonly #cables: number;
  readonly #log: Logger;
  readonly #mayComplain: () => boolean = atMostEachSecond(1);
  /** How many guests were turned away. */
  #refused = 0;
  readonly #doors: Door[] = [];
  /** The orders that a worker gets when it starts later. */
  readonly #standing: Map<string, Order> = new Map();
  /** The index of the place that got the last guest. */
  #last = -1;
  #running = false;
  #stopping = false;

  private constructor(workers: readonly WorkerOptions[], log: Logger) {
    this.#log = log;
    this.#cables = workers[0]?.network.limits?.cables ?? DEFAULT_LIMITS.cables;
    this.#places = workers.map((options) => ({
      ...{ options, ready: null, child: null, wait: WAIT_FIRST_MILLIS, timer: null },
    }));
  }

  /** Resolves when all workers are ready. Rejects with an `Error` of one line if one fails; all have ended then. */
  static async start(workers: readonly WorkerOptions[], log: Logger): Promise<Supervisor> {
    const supervisor = new Supervisor(workers, log);
    try {
      await Promise.all(supervisor.#places.map((place) => supervisor.#firstStart(place)));
    } catch (error) {
      await supervisor.close();
      throw error;
    }
    supervisor.#running = true;
    return supervisor;
  }

  /** Resolves with the address when guests can connect. Rejects with an `Error` of one line if the host refuses. */
  async listen(address: StreamAddress): Promise<StreamAddress> {
    const count: Count = { guests: 0 };
    const door = await openDoor(address, (socket, at) => this.#accept(socket, at, count));
    this.#doors.push(door);
    if (door.address.kind === "tcp") this.protectPort(door.address.port);
    return door.address;
  }

  /** The workers, with the paths of their own APIs if `options.session.api` names one. */
  workers(): WorkerView[] {
    return this.#places.map(({ options, ready, child }) => ({
      ...{ number: options.number, pid: child?.pid ?? null, ready: ready !== null, guests: child?.load ?? 0 },
      socket: options.session.api?.kind === "unix" ? options.session.api.path : "",
    }));
  }

  listening(): StreamAddress[] {
    return this.#doors.map(({ address }) => address);
  }

  /** How many guests were turned away. */
  get refused(): number {
    return this.#refused;
  }

  /** Closes a port of this machine to all workers' guests. */
  protectPort(port: number): void {
    this.#tellAll({ order: "protect", port });
  }

  /** Gives all workers other rules, which have been checked. */
  setRules(lines: readonly string[]): void {
    this.#tellAll({ order: "rules", lines });
  }

  /** Resolves when all sockets are closed and all workers have ended. */
  async close(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#doors.map((door) => door.close()));
    const ends = this.#places.map(async ({ child, timer }) => {
      if (timer !== null) clearTimeout(timer);
      child?.stop();
      await child?.over;
    });
    await Promise.all(ends);
  }

  #accept(socket: net.Socket, address: StreamAddress, count: Count): void {
    const full = count.guests >= this.#cables;
    const place = full || this.#stopping ? null : this.#leastBusy();
    if (place === null) {
      socket.destroy();
      const why = full ? `there are ${this.#cables}` : "no worker is ready";
      this.#refused++;
      if (!this.#stopping && this.#mayComplain())
        this.#log.warn({ refused: this.#refused }, `a guest at ${attachAddressText(address)} was sent away: ${why}`);
      return;
    }
    count.guests++;
    const worker = place.options.number;
    this.#log.debug({ worker }, "cable begins");
    place.ready!.serve(socket, () => {
      count.guests--;
      this.#log.debug({ worker }, "cable ended");
    });
  }

  /** The place with the fewest cables. Of several such places, the next one in turn. */
  #leastBusy(): Place | null {
    const { length } = this.#places;
    let best = -1;
    let least = Number.POSITIVE_INFINITY;
    for (let i = 1; i <= length; i++) {
      const at = (this.#last + i + length) % length;
      const load = this.#places[at]!.ready?.load ?? Number.POSITIVE_INFINITY;
      if (load >= least) continue;
      best = at;
      least = load;
    }
    if (best < 0) return null;
    this.#last = best;
    return this.#places[best]!;
  }

  async #firstStart(place: Place): Promise<void> {
    const child = this.#start(place);
    const early = child.over.then((how) => {
      throw new Error(how);
    });
    await Promise.race([child.ready, early]);
  }

  #start(place: Place): Child {
    const child = new Child(place.options);
    place.child = child;
    place.timer = null;
    let since = Number.POSITIVE_INFINITY;
    void child.ready.then(() => {
      since = performance.now();
      for (const order of this.#standing.values()) child.tell(order);
      place.ready = child;
      this.#log.info({ worker: place.options.number, pid: child.pid }, "worker ready");
    });
    void child.over.then((how) => {
      place.child = null;
      place.ready = null;
      if (child.pid !== undefined) sharedRegistry().ended(child.pid);
      if (this.#running && !this.#stopping) this.#startAgain(place, how, performance.now() - since);
    });
    return child;
  }

  #startAgain(place: Place, how: string, lived: number): void {
    if (lived > STEADY_MILLIS) place.wait = WAIT_FIRST_MILLIS;
    const { wait } = place;
    place.wait = Math.min(wait * 2, WAIT_LAST_MILLIS);
    this.#log.error({ worker: place.options.number, wait }, `${how}; another one follows`);
    place.timer = setTimeout(() => this.#start(place), wait);
  }

  #tellAll(order: Order): void {
    this.#standing.set(order.order === "protect" ? `port ${order.port}` : order.order, order);
    for (const { ready } of this.#places) ready?.tell(order);
  }
}
