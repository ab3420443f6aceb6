/**
 * One front end's connection: its messages about the guest's memory and rings, and the cable that they make.
 *
 * A ring runs once it has a size, addresses in shared memory, word about its kicks, and is enabled; GET_VRING_BASE
 * stops it. All work on a ring is done within a turn, by copying. So between two turns nobody uses the guest's memory:
 * a stop can be answered at once, and memory that the front end takes back can be released as soon as the rings have
 * been found again in the rest.
 *
 * An impossible message ends the connection, with one line that says why. If the front end has asked for REPLY_ACK, the
 * message is answered first.
 */
import fs from "node:fs";
import type net from "node:net";
import { isEventFd, type Readable, readableEventFd } from "../../host/readable.ts";
import { reasonOf } from "../../host/reason.ts";
import type { SharedLibc } from "../../host/shared-libc.ts";
import type { CableEnv } from "../attachment.ts";
import { Channel } from "./channel.ts";
import {
  type Features,
  hasProtocolFeatures,
  hasReplyAck,
  OFFERED,
  OFFERED_PROTOCOL,
  readFeatures,
} from "./features.ts";
import { VhostUserLink } from "./link.ts";
import { GuestMemory, MOST_REGIONS } from "./memory.ts";
import * as m from "./messages.ts";
import { MOST_ENTRIES, Vring } from "./vring.ts";

/** The rings of a network card with one pair: the guest receives by the first and sends by the second. */
const RECEIVE = 0;
const SEND = 1;
const RINGS = 2;
/** How often, in milliseconds, we look at the ring of a guest that does not kick. */
const UNKICKED_MILLIS = 1;

interface RingState {
  readonly number: number;
  size: number;
  addresses: m.VringAddresses | null;
  /** Since the ring was stopped, a kick's descriptor has come, or word that there will be none. */
  kickTold: boolean;
  kick: Readable | null;
  /** Looks at the ring of a guest that does not kick. */
  timer: NodeJS.Timeout | null;
  call: number | null;
  error: number | null;
  enabled: boolean;
  ring: Vring | null;
  /** The ring's index when it stopped. */
  base: number;
}

/** One line that says what is wrong with a message. */
class Refusal extends Error {}

export class VhostUserSession {
  readonly #env: CableEnv;
  readonly #libc: SharedLibc;
  readonly #onGone: () => void;
  readonly #memory: GuestMemory;
  readonly #link: VhostUserLink;
  readonly #channel: Channel | null;
  readonly #rings: readonly RingState[] = Array.from({ length: RINGS }, (_, number) => ({
    ...{ number, size: 0, addresses: null, kickTold: false, kick: null, timer: null },
    ...{ call: null, error: null, enabled: false, ring: null, base: 0 },
  }));
  #protocol = 0n;
  #features: Features = readFeatures(0n);
  #gone = false;

  /** Takes over an accepted socket of which nothing has been read. `onGone` is called when the connection is over. */
  constructor(socket: net.Socket, name: string, env: CableEnv, libc: SharedLibc, onGone: () => void) {
    this.#env = env;
    this.#libc = libc;
    this.#onGone = onGone;
    this.#memory = new GuestMemory(libc);
    this.#link = new VhostUserLink(name, env, libc, () => this.close());
    this.#channel = Channel.over(socket, libc, {
      message: (request, flags, payload, descriptors) => this.#message(request, flags, payload, descriptors),
      ended: (why) => this.#ended(why),
    });
    if (this.#channel !== null) return;
    socket.destroy();
    queueMicrotask(() => this.#ended("this Node does not tell a socket's descriptor"));
  }

  close(): void {
    this.#ended(null);
  }

  #ended(why: string | null): void {
    if (this.#gone) return;
    this.#gone = true;
    if (why !== null) this.#notice(why);
    this.#channel?.close();
    this.#link.end();
    for (const state of this.#rings) {
      state.ring = null;
      this.#forgetKick(state);
      closeDescriptor(state.call);
      closeDescriptor(state.error);
    }
    this.#memory.close();
    this.#onGone();
  }

  #notice(text: string): void {
    this.#env.trace.event({ type: "notice", text: `${this.#link.name}: ${text}` });
  }

  #message(request: number, flags: number, payload: Buffer, descriptors: number[]): void {
    let why: string | null = null;
    try {
      if (!m.isRequest(flags)) throw new Refusal(`message ${request} is of another version`);
      if (this.#answered(request, payload)) return;
      this.#act(request, payload, descriptors);
    } catch (error) {
      why = reasonOf(error);
    }
    if (m.needsReply(flags) && hasReplyAck(this.#protocol)) this.#replyNumber(request, why === null ? 0n : 1n);
    if (why !== null) this.#ended(why);
  }

  /** Answers a question. False if the request is none. */
  #answered(request: number, payload: Buffer): boolean {
    switch (request) {
      case m.GET_FEATURES:
        this.#replyNumber(request, OFFERED);
        return true;
      case m.GET_PROTOCOL_FEATURES:
        this.#replyNumber(request, OFFERED_PROTOCOL);
        return true;
      case m.GET_QUEUE_NUM:
        this.#replyNumber(request, 1n);
        return true;
      case m.GET_MAX_MEM_SLOTS:
        this.#replyNumber(request, BigInt(MOST_REGIONS));
        return true;
      case m.GET_VRING_BASE: {
        const state = this.#ringOf(right(request, m.readVringState(payload)).ring);
        this.#stop(state);
        this.#channel!.reply(request, 8, (reply) => {
          reply.writeUInt32LE(state.number, 0);
          reply.writeUInt32LE(state.base, 4);
        });
        return true;
      }
    }
    return false;
  }

  #act(request: number, payload: Buffer, descriptors: number[]): void {
    switch (request) {
      case m.SET_OWNER:
        return;
      case m.RESET_OWNER:
        for (const state of this.#rings) this.#stop(state);
        return;
      case m.SET_FEATURES:
        return this.#setFeatures(right(request, m.readNumber(payload)));
      case m.SET_PROTOCOL_FEATURES:
        this.#protocol = right(request, m.readNumber(payload)) & OFFERED_PROTOCOL;
        return;
      case m.SET_MEM_TABLE:
        return this.#setMemory(right(request, m.readMemTable(payload)), descriptors);
      case m.ADD_MEM_REG: {
        const region = right(request, m.readMemRegion(payload));
        if (descriptors.length !== 1) throw new Refusal("a region of memory came without its descriptor");
        this.#memory.add(region, descriptors[0]!);
        return this.#startAll();
      }
      case m.REM_MEM_REG: {
        const { retire } = this.#memory.remove(right(request, m.readMemRegion(payload)));
        return this.#moved(retire);
      }
      case m.SET_VRING_NUM: {
        const { ring, value } = right(request, m.readVringState(payload));
        if (value === 0 || value > MOST_ENTRIES || (value & (value - 1)) !== 0)
          throw new Refusal(`a ring cannot have ${value} entries`);
        this.#ringOf(ring).size = value;
        return;
      }
      case m.SET_VRING_ADDR: {
        const addresses = right(request, m.readVringAddresses(payload));
        const state = this.#ringOf(addresses.ring);
        state.addresses = addresses;
        return state.ring === null ? this.#start(state) : this.#moved(() => {});
      }
      case m.SET_VRING_BASE: {
        // The ring itself tells how far it has been used, also after it ended without a stop.
        const { ring, value } = right(request, m.readVringState(payload));
        this.#ringOf(ring).base = value & 0xffff;
        return;
      }
      case m.SET_VRING_KICK:
      case m.SET_VRING_CALL:
      case m.SET_VRING_ERR:
        return this.#setDescriptor(request, right(request, m.readVringDescriptor(payload)), descriptors);
      case m.SET_VRING_ENABLE: {
        const { ring, value } = right(request, m.readVringState(payload));
        const state = this.#ringOf(ring);
        state.enabled = value !== 0;
        return state.enabled ? this.#start(state) : this.#pause(state);
      }
      default:
        throw new Refusal(`message ${request} is none that was agreed upon`);
    }
  }

  #setFeatures(agreed: bigint): void {
    if ((agreed & ~OFFERED) !== 0n)
      throw new Refusal(`features 0x${(agreed & ~OFFERED).toString(16)} were not offered`);
    this.#features = readFeatures(agreed);
    // Without protocol features there is no message that enables a ring.
    if (!hasProtocolFeatures(agreed)) for (const state of this.#rings) state.enabled = true;
    for (const state of this.#rings) {
      if (state.ring === null) continue;
      this.#pause(state);
      this.#start(state);
    }
  }

  #setMemory(specs: readonly m.RegionSpec[], descriptors: readonly number[]): void {
    if (specs.length !== descriptors.length) {
      throw new Refusal(
        descriptors.length < specs.length
          ? "the guest's memory is not shared: QEMU needs -object memory-backend-memfd,…,share=on and -machine memory-backend=…"
          : "more descriptors than regions of memory",
      );
    }
    const { retire } = this.#memory.replace(specs, descriptors);
    this.#moved(retire);
  }

  /** Memory has changed: finds running rings again, and then releases the earlier memory. */
  #moved(retire: () => void): void {
    for (const state of this.#rings) this.#pause(state);
    this.#startAll();
    retire();
  }

  #startAll(): void {
    for (const state of this.#rings) this.#start(state);
  }

  #setDescriptor(
    request: number,
    { ring, descriptor }: { readonly ring: number; readonly descriptor: boolean },
    descriptors: number[],
  ): void {
    const state = this.#ringOf(ring);
    const fd = descriptor ? descriptors[0] : null;
    if (fd === undefined || descriptors.length > 1) throw new Refusal(`message ${request} came without its descriptor`);
    if (fd !== null && !isEventFd(fd))
      throw new Refusal(`message ${request} came with a descriptor that is no eventfd`);
    descriptors.length = 0;
    if (fd !== null) this.#libc.neverWait(fd);
    if (request === m.SET_VRING_KICK) {
      this.#forgetKick(state);
      state.kickTold = true;
      const look = (): void => (state.number === SEND ? this.#link.kicked() : this.#link.given());
      if (fd !== null) state.kick = readableEventFd(fd, look);
      else state.timer = setInterval(look, UNKICKED_MILLIS);
      this.#start(state);
      return;
    }
    if (request === m.SET_VRING_CALL) {
      closeDescriptor(state.call);
      state.call = fd;
    } else {
      closeDescriptor(state.error);
      state.error = fd;
    }
    // A running ring has other eventfds from now on.
    if (state.ring !== null) this.#hand(state);
  }

  /** Starts a ring that has all it needs. */
  #start(state: RingState): void {
    const { addresses, size } = state;
    if (state.ring !== null || !state.enabled || !state.kickTold || addresses === null || size === 0) return;
    if (this.#memory.regions === 0) return;
    const ring = Vring.at(this.#memory, addresses, size, this.#features.eventIdx);
    // A front end moves memory by two messages, one that removes and one that adds: between them a ring may be in
    // neither.
    if (ring === null) return;
    state.ring = ring;
    this.#hand(state);
  }

  #hand(state: RingState): void {
    const { ring, call, error } = state;
    const running = ring === null ? null : { ring, call, error };
    if (state.number === RECEIVE) this.#link.receiveBy(running, this.#memory, this.#features);
    else this.#link.sendBy(running, this.#memory, this.#features);
  }

  /** Pauses a ring until something starts it again. */
  #pause(state: RingState): void {
    if (state.ring === null) return;
    state.base = state.ring.base;
    state.ring = null;
    this.#hand(state);
  }

  /** The front end stops a ring, which then needs a new kick's descriptor to run again. */
  #stop(state: RingState): void {
    this.#pause(state);
    this.#forgetKick(state);
  }

  #forgetKick(state: RingState): void {
    state.kickTold = false;
    state.kick?.close();
    state.kick = null;
    if (state.timer !== null) clearInterval(state.timer);
    state.timer = null;
  }

  #ringOf(number: number): RingState {
    const state = this.#rings[number];
    if (state === undefined) throw new Refusal(`there is no ring ${number}`);
    return state;
  }

  #replyNumber(request: number, value: bigint): void {
    this.#channel!.reply(request, 8, (reply) => reply.writeBigUInt64LE(value, 0));
  }
}

/** Returns the parsed payload, which must be valid. */
function right<T>(request: number, read: T | null): T {
  if (read === null) throw new Refusal(`message ${request} is too short`);
  return read;
}

function closeDescriptor(fd: number | null): void {
  if (fd !== null) fs.closeSync(fd);
}
