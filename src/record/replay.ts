/**
 * Runs a network on a recording and compares its actions with the recorded ones.
 *
 * Theory of operation. The script is one list of inputs and outputs. The replay gives the network the inputs. Each
 * action of the network (a frame, a call to the host, a reading of the clock) must be the next entry of the list, and
 * is answered from the list. The first action that is not ends the replay with a `Difference`. Nothing here opens a
 * socket, a file or a clock.
 */

import { parseDnsHost, parseDnsZone } from "../control/dns-rules.ts";
import { parseRules } from "../control/rules.ts";
import type { Endpoint } from "../core/address.ts";
import type { ForwardRule, StackConfig } from "../core/config.ts";
import type { HostIcmpError } from "../core/host-net.ts";
import { NO_TAP } from "../core/tap.ts";
import { composeLan, type Lan, restoreLan, type SavedLan } from "../embed/lan.ts";
import { NO_RULES } from "../nat/rules/rules.ts";
import { BatchSlabs } from "./batch-slabs.ts";
import { RecordingError } from "./file.ts";
import { flowThere } from "./flow-there.ts";
import { ENTRIES, type Entry, type EntryName, type Header, toJson } from "./format.ts";
import { AS_FOUND, SUM_DROPS, seal, standIn, UNKNOWN, unseal } from "./frames.ts";
import type { RecordedError } from "./host.ts";
import type { RecordedRuling } from "./local.ts";
import { asError, ReplayHost, sumOf } from "./replay-host.ts";
import { type LinkTraits, ReplayLink } from "./replay-link.ts";
import { type Difference, Script } from "./script.ts";

export interface ReplayOptions {
  /**
   * Stop before the first input outside of any call that is at or behind this entry (counted from 0), or later than
   * this time (in seconds since the recording began).
   */
  readonly untilEntry?: number | undefined;
  readonly untilSeconds?: number | undefined;
  /** Called with each frame from and to a guest, with its time in seconds since the recording began. */
  readonly onFrame?: ((cable: string, toGuest: boolean, frame: Uint8Array, seconds: number) => void) | undefined;
}

/** How a replay ended. */
export interface ReplayResult {
  /** How many entries were replayed, and the time there, in seconds since the recording began. */
  readonly entries: number;
  readonly seconds: number;
  /** The first difference; null when the network acted as recorded. */
  readonly difference: Difference | null;
  /** The error that the network threw; null for none. */
  readonly crash: Error | null;
  /**
   * The flow that the difference or crash belongs to, in lines of text: its ends, then its state in that moment. Null
   * when there is neither, or no flow or frame belongs to it.
   */
  readonly flow: readonly string[] | null;
  /** The network in its state at the end. */
  readonly lan: Lan;
}

/**
 * Replays a recording. Rejects with a `RecordingError` if its entries contradict one another, or its configuration
 * makes no network.
 */
export async function replay(
  header: Header,
  entries: Iterable<Entry>,
  config: StackConfig,
  options: ReplayOptions = {},
): Promise<ReplayResult> {
  return made(header, new Script(entries, header.payload), config, options).run();
}

/** A replay. Throws a `RecordingError` if the configuration makes no network. */
function made(header: Header, script: Script, config: StackConfig, options: ReplayOptions): Replay {
  try {
    return new Replay(header, script, config, options);
  } catch (error) {
    throw new RecordingError(
      `the recording's configuration makes no network: ${(error as Error).message.split("\n")[0]}`,
    );
  }
}

/** A network that gets its inputs from a script. */
export class Replay {
  readonly #header: Header;
  readonly #options: ReplayOptions;
  readonly #script: Script;
  readonly #host: ReplayHost;
  readonly lan: Lan;
  readonly #links: Map<number, ReplayLink> = new Map();
  readonly #slabs: BatchSlabs = new BatchSlabs();
  readonly #services: Map<number, (() => void) | null> = new Map();
  /** Cables of whose next frame the payload stayed with the guest. */
  readonly #left: Set<number> = new Set();
  #turnEnds: (() => void)[] = [];
  /** The input that the network was given last, and what got it, if that is known to be a socket's. */
  #input: Entry | null = null;
  #receiver: unknown = null;

  constructor(header: Header, script: Script, config: StackConfig, options: ReplayOptions) {
    this.#header = header;
    this.#options = options;
    this.#script = script;
    this.#host = new ReplayHost(script, () => this.#within());
    this.lan = composeLan(
      config,
      {
        host: this.#host,
        dns: this.#host.dns,
        files: header.files ? this.#host.source : null,
        gate: header.gate ? this.#host.gate : null,
        rules: header.rules.length === 0 ? NO_RULES : parseRules(header.rules),
        clock: { now: () => script.clock() / 1000 },
        random: { u32: () => script.random() },
        trace: { drop: (reason) => script.expect("drop", reason), event() {} },
        endOfTurn: (run) => void this.#turnEnds.push(run),
      },
      NO_TAP,
    );
  }

  /** Runs the script to its end. Rejects with a `RecordingError` about an entry that contradicts those before it. */
  async run(): Promise<ReplayResult> {
    const { untilEntry = Number.POSITIVE_INFINITY, untilSeconds = Number.POSITIVE_INFINITY } = this.#options;
    const script = this.#script;
    let crash: Error | null = null;
    let flow: readonly string[] | null = null;
    const look = (): void => {
      const { recorded = null, replayed = null } = script.difference ?? {};
      flow = this.#flowThere([recorded, replayed, this.#input].filter((entry) => entry !== null));
    };
    script.onDifference = look;
    try {
      // Where no time is given, nothing is looked at ahead.
      const isEarly = (): boolean => untilSeconds === Number.POSITIVE_INFINITY || script.nextSeconds <= untilSeconds;
      while (!script.over && script.at < untilEntry && isEarly()) {
        // An output outside of any input can only come from deferred work, so that work runs first.
        if (ENTRIES[script.peek()!.name].direction !== "in") await settle();
        const next = script.peek();
        if (script.over || next === null) break;
        if (ENTRIES[next.name].direction !== "in") script.fail(null);
        else {
          // Deferred work must run where the recording says so, and any `await` would run it. So only promises are
          // awaited.
          const told = this.tell(script.take());
          if (told !== undefined) await told;
        }
      }
    } catch (error) {
      if (error instanceof RecordingError) throw error;
      crash = error instanceof Error ? error : new Error(String(error));
      if (flow === null) look();
    }
    script.stop();
    const { at, seconds, difference } = script;
    return { entries: at, seconds, difference, crash, flow, lan: this.lan };
  }

  #flowThere(entries: readonly Entry[]): readonly string[] | null {
    const host = this.#host;
    const inputSocket = this.#input?.values[0];
    const receiver = (socket: number): unknown =>
      host.receiver(socket) ?? (socket === inputSocket ? this.#receiver : null);
    return flowThere(entries, this.lan.stack.everyFlow(), receiver, this.#script.millis);
  }

  /** Gives the network an input outside of any call. Throws the network's errors. */
  tell(entry: Entry): void | Promise<void> {
    this.#script.episode++;
    return this.#tell(entry);
  }

  /** Whether the network has a receiver for this entry. */
  knows(entry: Entry): boolean {
    const of = entry.values[0] as number;
    if (OF_LINKS.has(entry.name)) return this.#links.has(of);
    return entry.name === "unserve" ? this.#services.has(of) : this.#host.knows(entry);
  }

  /** Gives the network the inputs that come in during a call. */
  #within(): void {
    while (!this.#script.over && this.#script.peek()?.name === "within") {
      this.#script.take();
      if (this.#script.peek() !== null) void this.#tell(this.#script.take());
    }
  }

  #tell(entry: Entry): void | Promise<void> {
    const { name, values } = entry;
    if (!this.knows(entry)) throw this.#unfit(`${name} of number ${values[0]}, which is not there`);
    this.#input = entry;
    const host = this.#host;
    const [id, ...rest] = values as [number, ...unknown[]];
    const link = (): ReplayLink => this.#links.get(id)!;
    switch (name) {
      case "microtasks":
        return settle();
      case "attached": {
        if (this.#links.has(id)) throw this.#unfit(`attached of number ${id}, which is there already`);
        const made = new ReplayLink(this.#script, id, rest[0] as string, rest[1] as LinkTraits, this.#options.onFrame);
        this.#links.set(id, made);
        return this.lan.switch.attached(made);
      }
      case "frame": {
        const frame = this.#frame(rest as [number, number, number, Uint8Array]);
        this.#options.onFrame?.(link().name, false, frame, this.#script.seconds);
        const slab = this.#slabs.place(id, frame, 0, frame.length, this.#left.delete(id));
        return this.lan.switch.receive(link(), slab, this.#slabs.at, frame.length, rest[0] as number);
      }
      case "left":
        return void this.#left.add(id);
      case "batchEnd":
        this.lan.switch.batchEnd(link());
        return this.#slabs.end(id);
      case "writable":
        return this.lan.switch.writable(link());
      case "detached":
        this.lan.switch.detached(link());
        this.#slabs.forget(id);
        return void this.#links.delete(id);
      case "listening":
      case "bound":
        return host.waiting.get(id)!.resolve(rest[0] as Endpoint);
      case "listenFailed":
      case "bindFailed":
        return host.waiting.get(id)!.reject(asError(rest[0] as RecordedError));
      case "client":
        return host.listeners.get(id)!(host.client(rest[0] as Endpoint));
      case "connected":
        return host.tcp.get(id)!.onConnect();
      case "data": {
        if (host.bringsTooMuch(id, rest[0] as number)) throw this.#unfit(`data of number ${id}, which is paused`);
        const bytes = this.#payload(rest[0] as number, rest[1] as Uint8Array);
        return host.tcp.get(id)!.onData(bytes, 0, bytes.length);
      }
      case "landed":
        return this.#land(id, ...(rest as [number, number, number]));
      case "readMost":
        return void host.tcp.get(id)!.readMost?.(rest[0] === 1);
      case "end":
        return host.tcp.get(id)!.onEnd();
      case "drain":
        return host.tcp.get(id)!.onDrain();
      case "closed": {
        const events = host.tcp.get(id)!;
        this.#receiver = events;
        host.gone(id);
        return events.onClose(rest[0] as string | null);
      }
      case "datagram": {
        const bytes = this.#payload(rest[1] as number, rest[2] as Uint8Array);
        return host.udp.get(id)!.onDatagram(bytes, 0, bytes.length, rest[0] as Endpoint);
      }
      case "udpError":
        return host.udp.get(id)!.onUdpError(rest[0] as HostIcmpError, rest[1] as Endpoint);
      case "pong":
        return host.pings
          .get(id)!
          .onReply(rest[0] as number, rest[2] as Uint8Array, 0, (rest[2] as Uint8Array).length, rest[1] as string);
      case "pingError":
        return host.pings.get(id)!.onPingError(rest[0] as number, rest[1] as string, rest[2] as HostIcmpError);
      case "answer":
        return host.answers.get(id)!(rest[0] === 1 ? (rest[1] as Uint8Array).slice() : null);
      case "opened":
        return host.files.get(id)!(
          typeof rest[0] === "number" ? host.file(id, rest[0]) : (rest[0] as "missing" | "refused"),
        );
      case "fileData": {
        const { into, done } = host.reads.get(id)!;
        const count = rest[0] as number;
        if (count > into.length) throw this.#unfit(`fileData of ${count} bytes, where ${into.length} were asked for`);
        if (count > 0) into.set(this.#payload(count, rest[1] as Uint8Array));
        return done(count);
      }
      case "verdict":
        return host.rulings.get(id)!(host.ruling(id, rest[0] as RecordedRuling));
      case "takenSend":
        return host.takers.get(id)!.send(rest[0] as Uint8Array);
      case "takenEnd":
        return host.takers.get(id)!.ended();
      case "poll":
        return this.lan.stack.poll(id / 1000);
      case "turnEnd": {
        const [run, ...others] = this.#turnEnds;
        this.#turnEnds = others;
        return run?.();
      }
      case "open":
        void this.lan.stack.open().catch(() => {});
        return;
      case "close":
        return this.lan.stack.close();
      case "rules":
        return this.lan.stack.setRules(this.#parsed(() => parseRules(values[0] as string[])));
      case "dnsHosts":
        return this.lan.stack.setDnsHosts(this.#parsed(() => (values[0] as string[]).map(parseDnsHost)));
      case "dnsZones":
        return this.lan.stack.setDnsZones(this.#parsed(() => (values[0] as string[]).map(parseDnsZone)));
      case "addForward":
        void this.lan.stack.forwards.add(values[0] as ForwardRule).catch(() => {});
        return;
      case "removeForward": {
        const meant = toJson(values[0]);
        const open = this.lan.stack.forwards
          .list()
          .find(({ rule, address }) => toJson(rule) === meant || toJson({ ...rule, host: address }) === meant);
        if (open !== undefined) this.lan.stack.forwards.remove(open);
        return;
      }
      case "guests":
        return restoreLan(this.lan, values[0] as SavedLan);
      case "dial":
        return void this.lan.stack.localServices.dial(rest[0] as Endpoint, host.client(rest[1] as Endpoint));
      case "serveTcp": {
        const end = this.lan.stack.localServices.serveTcp(rest[0] as Endpoint, (events, guest) => {
          const socket = (this.#script.next("served")?.values[1] as number | undefined) ?? 0;
          this.#script.expect("served", id, socket, guest);
          this.#within();
          return host.socket(socket, events);
        });
        return void this.#services.set(id, end);
      }
      case "serveUdp": {
        const end = this.lan.stack.localServices.serveUdp(rest[0] as Endpoint, (bytes, at, len, guest) => {
          this.#script.expect("servedDatagram", id, len, sumOf(bytes, at, len), guest);
          this.#within();
        });
        return void this.#services.set(id, end);
      }
      case "unserve":
        return this.#services.get(id)?.();
      case "sendUdp":
        return this.lan.stack.localServices.sendUdp(
          values[0] as Endpoint,
          values[1] as Endpoint,
          values[2] as Uint8Array,
        );
      default:
        throw this.#unfit(`${name}, which does not come in`);
    }
  }

  /** An error about the current entry, which no network could have been given. */
  #unfit(what: string): RecordingError {
    return new RecordingError(`the recording does not hold together: entry ${this.#script.at - 1}: ${what}`);
  }

  /** Parses texts of the user. */
  #parsed<T>(parse: () => T): T {
    try {
      return parse();
    } catch (error) {
      throw this.#unfit((error as Error).message);
    }
  }

  /** A frame as recorded, with bytes filled in for those left out. */
  #frame([, blank, sealed, bytes]: [number, number, number, Uint8Array]): Uint8Array {
    if (blank === 0) return bytes.slice();
    const frame = new Uint8Array(bytes.length + blank);
    frame.set(bytes);
    frame.set(standIn(this.#header.seed, this.#script.at, blank), bytes.length);
    if (sealed === UNKNOWN) unseal(frame, 0, frame.length);
    else seal(frame, 0, frame.length, sealed !== AS_FOUND || !this.#script.drops(SUM_DROPS));
    return frame;
  }

  /** Gives a flow a read that ends in its memory; as usual data, as far as the flow has no room there. */
  #land(id: number, length: number, most: number, landed: number): void {
    const host = this.#host;
    if (host.bringsTooMuch(id, length + landed)) throw this.#unfit(`landed of number ${id}, which is paused`);
    const events = host.tcp.get(id)!;
    const bytes = this.#payload(length + landed, NOTHING);
    const room = events.landing?.(bytes, 0, length, most) ?? null;
    if (room === null) return events.onData(bytes, 0, bytes.length);
    const end = length + Math.min(landed, room.len);
    for (let from = length, chunk = room.first, at = room.at; from < end; chunk++, at = 0) {
      const into = room.chunks[chunk]!;
      const part = bytes.subarray(from, Math.min(end, from + into.length - at));
      into.set(part, at);
      from += part.length;
    }
    events.landed!(end - length);
    if (end < bytes.length) events.onData(bytes, end, bytes.length - end);
  }

  #payload(length: number, bytes: Uint8Array): Uint8Array {
    return bytes.length === length ? bytes.slice() : standIn(this.#header.seed, this.#script.at, length);
  }
}

const NOTHING = new Uint8Array(0);
const OF_LINKS: ReadonlySet<EntryName> = new Set(["frame", "left", "batchEnd", "writable", "detached"]);

/** Resolves after all microtasks, and those that they make, have run. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
