/**
 * Makes a network for each guest that comes to a listening socket, all in this process: a public relay.
 *
 * Guests of two networks are as separate as those of two `-netdev user`: each may be 10.0.2.15, and each has its own
 * tables, rules' meters and limits. A network is made when its guest comes and closed when the guest has left; only its
 * counters are kept, in a sum. Options that lead to one network (host ports, uplinks) are refused.
 *
 * Each connection costs a network, so the number of guests is limited. A guest that has sent nothing for a minute is
 * let go; over UDP, which tells nobody of a guest's end, also a guest that has been silent for five minutes. The usual
 * limits are meant for one network; here each network has a part of them, unless the user sets others. There is also a
 * limit on the bytes that all networks hold together (`core/byte-budget`): the less is free, the less each guest may
 * add. If the limit is exceeded all the same, the guest that holds most is sent away.
 */
import { EventEmitter } from "node:events";
import type { AttachAddress } from "./attach/address.ts";
import type { Arrival, GuestDoor, OpenGuestDoor } from "./attach/door.ts";
import { userFailed } from "./attach/user-errors.ts";
import { whenAborted } from "./control/abortable.ts";
import { ConfigError } from "./control/errors.ts";
import { MAX_DGRAM_MTU } from "./control/options/mtu.ts";
import type { NetworkOptions } from "./control/options/network-options.ts";
import { type ResolvedOptions, resolveOptions } from "./control/options.ts";
import { checkPort } from "./control/shape.ts";
import { ByteBudget, type ByteShare } from "./core/byte-budget.ts";
import { closedError } from "./core/closed.ts";
import type { Limits } from "./core/limits.ts";
import type { Link } from "./core/link.ts";
import { DROP_REASONS, type DropReason } from "./core/trace.ts";
import type { ListenTarget } from "./embed/cables.ts";
import { sharedRegistry } from "./host/port-registry.ts";
import { loadCode, loadedCode } from "./network/load.ts";
import { Network } from "./network.ts";

export interface GuestNetworksOptions {
  /** How many guests there may be, each with a network (default 1024). */
  readonly guests?: number | undefined;
  /** Seconds without a frame after which a guest is let go; 0 for never (default 0; 300 over UDP). */
  readonly idle?: number | undefined;
  /**
   * Bytes that the connections of all networks may hold together: bytes on their way to guests and to hosts, and bytes
   * that arrived ahead of a gap (default 536870912).
   */
  readonly bytes?: number | undefined;
}

/** A guest and its network. */
export interface GuestNetwork {
  /** `g1`, `g2`… in the order of arrival. */
  readonly id: string;
  /** The cable's name: `ws://127.0.0.1:8080/#3`. */
  readonly cable: string;
  /** When the guest came, in milliseconds since 1970. */
  readonly since: number;
  readonly network: Network;
}

/** Counters of all guests, including those that have left. */
export interface GuestTotals {
  /** Guests that have come; then guests that were refused. */
  guests: number;
  refused: number;
  /** Guests that were sent away because they held most bytes while all held too many. */
  ended: number;
  /** Bytes of frames from guests, and to guests. */
  bytesIn: number;
  bytesOut: number;
  /** Packets and connections dropped, by reason. */
  readonly drops: Record<DropReason, number>;
}

export interface GuestNetworksEvents {
  /** A guest has come and its network has been made. Nothing that the guest sends has been read. */
  come: [guest: GuestNetwork];
  /** A guest has left, and its network is closed. */
  left: [guest: GuestNetwork];
  /** A guest is sent away: it held most, `bytes` bytes, when all together held more than they may. `left` follows. */
  ended: [guest: GuestNetwork, bytes: number];
  /** A network could not be opened. */
  failed: [error: Error];
}

export const MOST_GUESTS = 65_536;
const LEAST_GUEST_BYTES = 16_777_216;
const MOST_GUEST_BYTES = 1_099_511_627_776;
const GUESTS = 1_024;
export const GUEST_BYTES = 536_870_912;
const SILENT_SECONDS = 60;
const UDP_IDLE_SECONDS = 300;
const MEBIBYTE = 1_048_576;

/** The limits of each network, where the user sets none: a part of the usual ones. */
export const EACH_MAY: Readonly<Partial<Limits>> = {
  tcpFlows: 1_024,
  halfOpen: 128,
  udpFlows: 512,
  icmpFlows: 64,
  heldFlows: 128,
  nameWaitingBytes: MEBIBYTE,
  dnsInFlight: 64,
  dnsTcpInFlight: 8,
  dnsConnections: 16,
  names: 4_096,
  tftpSessions: 16,
  reassemblies: 64,
  reassemblyBytes: MEBIBYTE,
  neighbours: 64,
  programs: 4,
  captures: 4,
  captureBytes: 4 * MEBIBYTE,
  sendBytes: 8 * MEBIBYTE,
  receiveBytes: 8 * MEBIBYTE,
  outOfOrderBytes: 8 * MEBIBYTE,
};

interface Guest extends GuestNetwork {
  /** The signal that ends the listening socket by which the guest came, and the guest; undefined for none. */
  readonly signal: AbortSignal | undefined;
  readonly link: Link;
  readonly bytes: ByteShare;
  /** Milliseconds of silence after which the guest is let go; 0 for never. */
  readonly idle: number;
  frames: number;
  heard: number;
}

export class GuestNetworks extends EventEmitter<GuestNetworksEvents> implements AsyncDisposable {
  readonly #options: NetworkOptions;
  #resolved: ResolvedOptions;
  #rules: readonly string[];
  readonly #most: number;
  readonly #idle: number;
  readonly #budget: ByteBudget;
  #ending: NodeJS.Immediate | null = null;
  readonly #doors: Set<GuestDoor> = new Set();
  readonly #guests: Map<string, Guest> = new Map();
  /** A promise for each guest, which resolves when the guest's network is closed. */
  readonly #closing: Set<Promise<void>> = new Set();
  readonly #ports: number[] = [];
  /** Functions that remove the entries of `#ports` from the registry that processes share. */
  readonly #told: (() => void)[] = [];
  /** Counters of all guests, but traffic and drops only of guests that have left. */
  readonly #left: GuestTotals = {
    ...{ guests: 0, refused: 0, ended: 0, bytesIn: 0, bytesOut: 0 },
    drops: Object.fromEntries(DROP_REASONS.map((reason) => [reason, 0])) as Record<DropReason, number>,
  };
  #sweep: NodeJS.Timeout | null = null;
  #made = 0;
  #over = false;
  /** Aborted when the networks close. */
  readonly #ended: AbortController = new AbortController();

  /**
   * Throws `ConfigError`, also about options that lead to one network; and the reason of a signal that is already
   * aborted.
   */
  constructor(options: NetworkOptions = {}, most: GuestNetworksOptions = {}) {
    super();
    const { signal } = resolveOptions(options);
    refuseShared(options);
    if (typeof most !== "object" || most === null)
      throw new ConfigError("options", most, "expected an object like { guests, idle, bytes }");
    const { guests = GUESTS, idle = 0, bytes = GUEST_BYTES } = most;
    if (!Number.isInteger(guests) || guests < 1 || guests > MOST_GUESTS)
      throw new ConfigError("guests", guests, `expected a whole number from 1 to ${MOST_GUESTS}`);
    if (!Number.isInteger(idle) || idle < 0 || idle > 1_000_000)
      throw new ConfigError("idle", idle, "expected a whole number of seconds, 0 for never");
    if (!Number.isInteger(bytes) || bytes < LEAST_GUEST_BYTES || bytes > MOST_GUEST_BYTES)
      throw new ConfigError("bytes", bytes, `expected a whole number from ${LEAST_GUEST_BYTES} to ${MOST_GUEST_BYTES}`);
    signal?.throwIfAborted();
    // The user's signal closes all networks together, so the single networks do not get it.
    this.#options = { ...options, signal: undefined, limits: { ...EACH_MAY, ...options.limits } };
    this.#resolved = resolveOptions(this.#options);
    if (signal !== null) whenAborted(signal, () => void this.close(), this.#ended.signal);
    this.#rules = options.rules ?? [];
    this.#most = guests;
    this.#idle = idle * 1000;
    // Deferred, because the call comes from inside the code that has just added a byte too many.
    this.#budget = new ByteBudget(bytes, guests, () => {
      this.#ending ??= setImmediate(() => this.#endFullest());
    });
  }

  /**
   * Listens for guests. Resolves with the address once guests can come. Rejects as `Network.listenAt` does. Aborting
   * the target's signal closes the socket, and the networks of the guests that came by it.
   */
  async listenAt(target: ListenTarget): Promise<AttachAddress> {
    const { attachAddress, checkTarget, waitsFor } = await loadCode();
    if (this.#over) throw closedError("the networks are closed");
    checkTarget("listen", target);
    const signal = waitsFor(target);
    signal?.throwIfAborted();
    const address = attachAddress("listen", target);
    let at = address;
    const door = await this.#opener(address, target)((arrival) => this.#arrived(arrival, at, signal));
    at = door.address;
    if (this.#over || signal?.aborted) {
      this.#endAll(signal);
      await door.close();
      signal?.throwIfAborted();
      throw closedError("the networks are closed");
    }
    this.#doors.add(door);
    if (signal !== undefined)
      whenAborted(
        signal,
        () => {
          this.#doors.delete(door);
          void door.close();
          this.#endAll(signal);
        },
        this.#ended.signal,
      );
    if ("port" in door.address) this.protectPort(door.address.port);
    return door.address;
  }

  /** The addresses at which guests may come, with the ports that were taken where a port was 0. */
  listening(): AttachAddress[] {
    return [...this.#doors].map(({ address }) => address);
  }

  /** The present guests, in the order of arrival. */
  list(): GuestNetwork[] {
    return [...this.#guests.values()];
  }

  get(id: string): GuestNetwork | null {
    return this.#guests.get(id) ?? null;
  }

  /** Bytes that the connections of all networks hold now. */
  get heldBytes(): number {
    return this.#budget.used;
  }

  /** Counters of all guests since the start. */
  totals(): GuestTotals {
    const totals = { ...this.#left, drops: { ...this.#left.drops } };
    for (const { network } of this.#guests.values()) add(totals, network);
    return totals;
  }

  /** Replaces the rules of all networks, present and future. Throws `ConfigError`; then nothing has changed. */
  setRules(rules: readonly string[]): void {
    this.#resolved = resolveOptions({ ...this.#options, rules });
    this.#rules = rules;
    for (const { network } of this.#guests.values()) network.setRules(rules);
  }

  /** The rules in force. */
  rules(): readonly string[] {
    return this.#rules;
  }

  /** Closes a port of this machine to all guests, present and future. */
  protectPort(port: number): void {
    checkPort("protectPort", port, 1);
    this.#ports.push(port);
    // Other processes' guests must not reach the port either, even while there is no guest here.
    this.#told.push(sharedRegistry().add(port));
    for (const { network } of this.#guests.values()) network.protectPort(port);
  }

  /** Ends all guests and closes the networks. Resolves when all sockets are closed. */
  async close(): Promise<void> {
    this.#over = true;
    this.#ended.abort();
    if (this.#sweep !== null) clearInterval(this.#sweep);
    if (this.#ending !== null) clearImmediate(this.#ending);
    // Connections end first, so that their resets still reach the guests, also over a UDP socket.
    await Promise.all([...this.#guests.values()].map(({ network }) => network.close()));
    await Promise.all([...this.#doors].map((door) => door.close()));
    await Promise.all(this.#closing);
    for (const told of this.#told.splice(0)) told();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #opener(address: AttachAddress, target: ListenTarget): OpenGuestDoor {
    const trace = { drop: (reason: DropReason) => void this.#left.drops[reason]++, event() {} };
    const { accessOf, attachAddressText, dgramDoor, streamDoor, wsDoor } = loadedCode();
    if (address.kind === "ws") return wsDoor(address, { access: accessOf(target), guests: this.#most, trace });
    if (address.kind === "vhost-user")
      throw new ConfigError(
        "listen",
        attachAddressText(address),
        "expected unix:PATH, tcp:HOST:PORT, udp:HOST:PORT or ws://HOST:PORT where each guest has a network of its own",
      );
    if (address.kind !== "udp") return streamDoor(address);
    if (this.#resolved.stack.mtu > MAX_DGRAM_MTU)
      throw new ConfigError("mtu", this.#resolved.stack.mtu, `expected at most ${MAX_DGRAM_MTU} for a cable over UDP`);
    return dgramDoor(address, trace);
  }

  /** Ends the guests that came by the socket that `signal` closes. */
  #endAll(signal: AbortSignal | undefined): void {
    for (const guest of this.#guests.values())
      if (guest.signal !== undefined && guest.signal === signal) guest.link.close();
  }

  #arrived(arrival: Arrival, at: AttachAddress, signal: AbortSignal | undefined): void {
    if (this.#over || signal?.aborted || this.#guests.size >= this.#most) {
      this.#left.refused++;
      this.#left.drops["cables-full"]++;
      return arrival.refuse();
    }
    const id = `g${++this.#made}`;
    const cable = `${loadedCode().attachAddressText(at)}#${this.#made}`;
    const bytes = this.#budget.share();
    const network = new Network(this.#resolved, null, bytes);
    for (const port of this.#ports) network.protectPort(port);
    const idle = this.#idle === 0 && at.kind === "udp" ? UDP_IDLE_SECONDS * 1000 : this.#idle;
    const { link, detached } = network.attachArrival(arrival, cable);
    const now = performance.now();
    const guest: Guest = {
      signal,
      id,
      cable,
      since: Date.now(),
      network,
      link,
      bytes,
      idle,
      frames: 0,
      heard: now,
    };
    this.#guests.set(id, guest);
    this.#left.guests++;
    this.#sweep ??= setInterval(() => this.#letSilentGo(), 5_000).unref();
    this.#tell(() => this.emit("come", guest));
    // The network can be used before it is open, because it has no host ports, which others could see.
    network.open().catch((error: Error) => {
      // The guest may have left already, and its network with it.
      if (this.#over || this.#guests.get(id) !== guest) return;
      this.#tell(() => this.emit("failed", error));
      link.close();
    });
    const gone = detached.then(() => this.#goneIs(guest));
    this.#closing.add(gone);
    void gone.then(() => this.#closing.delete(gone));
  }

  async #goneIs(guest: Guest): Promise<void> {
    this.#guests.delete(guest.id);
    if (this.#guests.size === 0 && this.#sweep !== null) {
      clearInterval(this.#sweep);
      this.#sweep = null;
    }
    await guest.network.close();
    guest.bytes.close();
    add(this.#left, guest.network);
    this.#tell(() => this.emit("left", guest));
    guest.network.removeAllListeners();
  }

  #endFullest(): void {
    this.#ending = null;
    while (this.#budget.exceeded) {
      const fullest = this.#budget.fullest();
      if (fullest === null) return;
      const { held } = fullest;
      const guest = [...this.#guests.values()].find(({ bytes }) => bytes === fullest);
      // Closing the network ends its connections at once, and frees the bytes that they hold.
      void guest?.network.close();
      fullest.close();
      if (guest === undefined) continue;
      this.#left.ended++;
      this.#left.drops["memory-full"]++;
      this.#tell(() => this.emit("ended", guest, held));
    }
  }

  /** A listener's error is an uncaught exception, and stops nothing here. */
  #tell(emit: () => void): void {
    try {
      emit();
    } catch (error) {
      userFailed(error);
    }
  }

  #letSilentGo(): void {
    const now = performance.now();
    for (const guest of this.#guests.values()) {
      const { framesIn } = guest.network.stats();
      if (framesIn !== guest.frames) {
        guest.frames = framesIn;
        guest.heard = now;
        continue;
      }
      guest.link.rest?.();
      guest.network.rest();
      const silence = now - guest.heard;
      if (guest.frames === 0 ? silence > SILENT_SECONDS * 1000 : guest.idle > 0 && silence > guest.idle)
        guest.link.close();
    }
  }
}

function add(totals: GuestTotals, network: Network): void {
  const { bytesIn, bytesOut, drops } = network.stats();
  totals.bytesIn += bytesIn;
  totals.bytesOut += bytesOut;
  for (const reason of DROP_REASONS) totals.drops[reason] += drops[reason];
}

/** Refuses options that lead to one network (a host port, an uplink's segment) or write to one file. */
function refuseShared({ publish = [], hostfwd = [], uplink, record, learn, audit }: NetworkOptions): void {
  const refuse = (field: string, value: unknown): void => {
    if (value !== undefined)
      throw new ConfigError(field, value, "expected none where each guest has a network of its own");
  };
  refuse("publish", publish[0]);
  refuse("hostfwd", hostfwd[0]);
  refuse("record", record);
  refuse("learn", learn);
  refuse("audit", audit);
  refuse("uplink", Array.isArray(uplink) ? uplink[0] : uplink);
}
