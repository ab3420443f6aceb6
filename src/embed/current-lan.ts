/**
 * The current network behind the cables. Another network can take its place while cables, forwards and services stay,
 * because a recording begins with a network that has just been made.
 *
 * Theory of operation. Cables speak to this object, which passes calls on to the current network. When that network is
 * replaced it is closed, so its flows end as they do when any network closes: guests are told. Then the new network is
 * given each cable, the services, and the old network's knowledge of its guests, and its forwards listen where the old
 * ones did.
 */
import type { ImpairmentTarget } from "../attach/impairment.ts";
import type { NullReceiver } from "../attach/switch.ts";
import type { CableTap } from "../attach/tap.ts";
import type { Endpoint } from "../core/address.ts";
import type { Clock } from "../core/clock.ts";
import type { ForwardRule, StackConfig } from "../core/config.ts";
import type { UnixEndpoint } from "../core/host-net.ts";
import { COMPLETE, type Link, type LinkReceiver, type Slab } from "../core/link.ts";
import { type FrameTap, NO_TAP } from "../core/tap.ts";
import type { Local } from "../stack/local-services.ts";
import type { StackParts } from "../stack/parts.ts";
import type { Stack } from "../stack.ts";
import { composeLan, type Lan, restoreLan, type SavedLan, saveLan } from "./lan.ts";
import { LocalDoor } from "./local-door.ts";
import { type Polled, PollTimer } from "./poll-timer.ts";

/** A receiver that also takes frames that impairment has held up. */
export interface Delivery extends LinkReceiver, ImpairmentTarget {
  deliver(link: Link, slab: Slab, at: number, len: number, undone?: number): void;
}

/** The parts at the seams of a network that is recorded. */
export interface Seams {
  parts(parts: StackParts): StackParts;
  receiver(inner: LinkReceiver, tap: FrameTap): Delivery;
  local(inner: Local): Local;
  polled(inner: Polled): Polled;
  /** The real cable behind one that the network sees. */
  plain(link: Link): Link;
  /** The network is about to be given another network's knowledge of its guests. */
  restored(saved: SavedLan): void;
  forwarded(rule: ForwardRule): void;
}

/** The parts of the network that takes the place of another. */
export interface Replacement {
  readonly config: StackConfig;
  readonly parts: StackParts;
  readonly seams: Seams;
}

export class CurrentLan implements Delivery {
  readonly local: LocalDoor;
  readonly #tap: CableTap;
  readonly #clock: Clock;
  readonly #links: Set<Link> = new Set();
  #lan: Lan;
  #receiver: Delivery;
  #seams: Seams | null;
  #timer: PollTimer;
  /** How many frames and bytes the networks before the current one have taken. */
  #framesBefore = 0;
  #bytesBefore = 0;

  constructor(config: StackConfig, parts: StackParts, tap: CableTap, clock: Clock, seams: Seams | null) {
    this.#tap = tap;
    this.#clock = clock;
    this.#seams = seams;
    // Impairment is outside the recording: only frames that it lets through are recorded.
    this.#lan = seams === null ? composeLan(config, parts, tap) : composeLan(config, seams.parts(parts), NO_TAP);
    this.#receiver = seams?.receiver(this.#lan.switch, tap) ?? this.#lan.switch;
    const { stack } = this.#lan;
    this.local = new LocalDoor(seams?.local(stack.localServices) ?? stack.localServices);
    this.#timer = new PollTimer(seams?.polled(stack) ?? stack, clock);
  }

  get stack(): Stack {
    return this.#lan.stack;
  }

  /** The cables' names. */
  cables(): string[] {
    return this.#lan.switch.cables();
  }

  /** How many frames and bytes have come from guests, over all networks that were current. */
  get taken(): { readonly framesIn: number; readonly bytesIn: number } {
    const frames: Stack | NullReceiver = this.#lan.frames;
    return { framesIn: this.#framesBefore + frames.framesIn, bytesIn: this.#bytesBefore + frames.bytesIn };
  }

  /** The cable of the guest with this address, without the recording's wrapper. Null when no guest has the address. */
  cableOf(host: string): Link | null {
    const link = this.#lan.stack.cableOf(host);
    return link === null || this.#seams === null ? link : this.#seams.plain(link);
  }

  /**
   * Puts another network in this one's place. Resolves when its forwards listen, with the rules of those that could
   * not be opened and their errors.
   */
  async replace({ config, parts, seams }: Replacement): Promise<readonly (readonly [ForwardRule, Error])[]> {
    const old = this.#lan;
    const saved = saveLan(old);
    const forwards = old.stack.forwards.list();
    const { framesIn, bytesIn } = this.taken;
    old.stack.close();
    this.#timer.close();
    [this.#framesBefore, this.#bytesBefore] = [framesIn, bytesIn];
    this.#seams = seams;
    this.#lan = composeLan(config, seams.parts(parts), NO_TAP);
    const { stack } = this.#lan;
    this.#receiver = seams.receiver(this.#lan.switch, this.#tap);
    this.#timer = new PollTimer(seams.polled(stack), this.#clock);
    for (const link of this.#links) this.#receiver.attached(link);
    this.local.replace(seams.local(stack.localServices));
    seams.restored(saved);
    restoreLan(this.#lan, saved);
    const opening = forwards.map(async ({ rule, address }) => {
      try {
        seams.forwarded({ ...rule, host: address });
        await stack.forwards.add(rule, address as Endpoint | UnixEndpoint);
        return [];
      } catch (error) {
        return [[rule, error as Error] as const];
      }
    });
    return (await Promise.all(opening)).flat();
  }

  close(): void {
    this.#timer.close();
  }

  // Events of the cables (LinkReceiver)

  attached(link: Link): void {
    this.#links.add(link);
    this.#receiver.attached(link);
  }

  leavesPayload(link: Link, slab: Slab, at: number, head: number, len: number, undone: number): boolean {
    return this.#receiver.leavesPayload?.(link, slab, at, head, len, undone) === true;
  }

  receive(link: Link, slab: Slab, at: number, len: number, undone: number = COMPLETE): void {
    this.#receiver.receive(link, slab, at, len, undone);
  }

  deliver(link: Link, slab: Slab, at: number, len: number, undone: number = COMPLETE): void {
    this.#receiver.deliver(link, slab, at, len, undone);
  }

  batchEnd(link: Link): void {
    this.#receiver.batchEnd(link);
  }

  writable(link: Link): void {
    this.#receiver.writable(link);
  }

  detached(link: Link): void {
    this.#links.delete(link);
    this.#receiver.detached(link);
  }
}
