/**
 * The host as a recording has it: the network's calls are compared with the recorded ones, and the recorded answers are
 * given again.
 */

import type { Endpoint } from "../core/address.ts";
import type { FileRefusal, FileSource, OpenFile } from "../core/files.ts";
import type { FlowGate, Ruling } from "../core/gate.ts";
import type {
  AcceptedTcp,
  HostDns,
  HostListener,
  HostNet,
  HostPing,
  HostPingEvents,
  HostTcp,
  HostTcpEvents,
  HostUdp,
  HostUdpEvents,
} from "../core/host-net.ts";
import type { Slab } from "../core/link.ts";
import { crc32 } from "./crc.ts";
import type { Entry, EntryName, Value } from "./format.ts";
import type { RecordedError } from "./host.ts";
import type { RecordedRuling } from "./local.ts";
import { Answers, type Script } from "./script.ts";

interface Waiting {
  readonly resolve: (address: Endpoint) => void;
  readonly reject: (error: Error) => void;
}

/** The most bytes that a socket brings although it is paused: more than one read of any host. */
const MOST_UNASKED: number = 32 * 1_048_576;

/** A host without sockets. Its maps find the receiver of each recorded event, by the recording's identifiers. */
export class ReplayHost implements HostNet {
  readonly #script: Script;
  readonly tcp: Map<number, HostTcpEvents> = new Map();
  /** Bytes that sockets which are paused have brought all the same. */
  readonly #unasked: Map<number, number> = new Map();
  readonly udp: Map<number, HostUdpEvents> = new Map();
  readonly pings: Map<number, HostPingEvents> = new Map();
  readonly listeners: Map<number, (socket: AcceptedTcp) => void> = new Map();
  readonly waiting: Map<number, Waiting> = new Map();
  readonly answers: Map<number, (answer: Uint8Array | null) => void> = new Map();
  readonly files: Map<number, (result: OpenFile | FileRefusal) => void> = new Map();
  readonly reads: Map<number, { readonly into: Uint8Array; readonly done: (count: number) => void }> = new Map();
  readonly rulings: Map<number, (ruling: Ruling) => void> = new Map();
  readonly takers: Map<number, { readonly send: (bytes: Uint8Array) => void; readonly ended: () => void }> = new Map();
  /** Replays the events that come in during a call, if there are any. */
  readonly #within: () => void;

  constructor(script: Script, within: () => void) {
    this.#script = script;
    this.#within = within;
  }

  connectTcp(to: unknown, events: HostTcpEvents, names?: readonly string[]): HostTcp {
    const id = this.#script.expectNew("connect", to, names ?? null);
    return this.socket(id, events);
  }

  listenTcp(at: unknown, onAccept: (socket: AcceptedTcp) => void): Promise<HostListener> {
    const id = this.#script.expectNew("listen", at);
    this.listeners.set(id, onAccept);
    return this.#settled(id, (address) => ({
      address,
      close: () => {
        this.#script.expect("unlisten", id);
        this.listeners.delete(id);
      },
    }));
  }

  openUdp(family: 4 | 6, events: HostUdpEvents): HostUdp {
    const id = this.#script.expectNew("openUdp", family);
    return this.#datagrams(id, events);
  }

  bindUdp(at: unknown, events: HostUdpEvents): Promise<HostUdp & HostListener> {
    const id = this.#script.expectNew("bindUdp", at);
    const socket = this.#datagrams(id, events);
    return this.#settled(id, (address) => ({ ...socket, address }));
  }

  cork(): void {
    this.#script.expect("cork");
  }

  uncork(): void {
    this.#script.expect("uncork");
    this.#lost();
  }

  openPing(family: 4 | 6, events: HostPingEvents): HostPing {
    const id = this.#script.expectNew("openPing", family);
    this.pings.set(id, events);
    return {
      send: (seq, bytes, at, len, ttl, df, to) => {
        this.#script.expect("ping", id, seq, len, sumOf(bytes, at, len), ttl, df ? 1 : 0, to);
        this.#lost();
      },
      close: () => {
        this.#script.expect("closePing", id);
        this.pings.delete(id);
      },
    };
  }

  /** A client in the form that the network gets it. */
  client(remote: Endpoint): AcceptedTcp {
    return { remote, accept: (events) => this.socket(this.#script.expectNew("accept"), events) };
  }

  socket(id: number, events: HostTcpEvents): HostTcp {
    this.tcp.set(id, events);
    this.#unasked.set(id, 0);
    return new ReplayTcp(this.#script, id, (reads) => {
      if (reads === null) this.gone(id);
      else if (reads) this.#unasked.delete(id);
      else this.#unasked.set(id, 0);
    });
  }

  /** The socket has ended. */
  gone(id: number): void {
    this.tcp.delete(id);
    this.#unasked.delete(id);
  }

  /**
   * Whether a socket that brings `length` bytes has brought more since it was paused than a host ever does. A forged
   * recording could fill the memory so.
   */
  bringsTooMuch(id: number, length: number): boolean {
    const before = this.#unasked.get(id);
    if (before === undefined) return false;
    this.#unasked.set(id, before + length);
    return before + length > MOST_UNASKED;
  }

  readonly dns: HostDns = {
    query: (query, tcp, onAnswer, server) => {
      const id = this.#script.expectNew("query", tcp ? 1 : 0, server ?? null, query);
      this.answers.set(id, onAnswer);
    },
    close: () => {},
  };

  readonly source: FileSource = {
    open: (name, onOpen) => void this.files.set(this.#script.expectNew("openFile", name), onOpen),
  };

  /** A file that has been opened. */
  file(id: number, size: number): OpenFile {
    return {
      size,
      read: (at, into, done) => {
        const read = (this.#script.next("readFile")?.values[1] as number | undefined) ?? 0;
        this.#script.expect("readFile", id, read, at, into.length);
        this.reads.set(read, { into, done });
      },
      close: () => this.#script.expect("closeFile", id),
    };
  }

  readonly gate: FlowGate = {
    active: true,
    judge: (flow, done) => void this.rulings.set(this.#script.expectNew("ask", flow), done),
  };

  ruling(flow: number, ruling: RecordedRuling): Ruling {
    if (ruling.action !== "take") return ruling;
    return {
      action: "take",
      taker: {
        stream: (events) => {
          const id = this.#script.expectNew("taken", flow);
          this.#within();
          return this.socket(id, events);
        },
        datagrams: (send, ended) => {
          const id = this.#script.expectNew("taken", flow);
          this.takers.set(id, { send, ended });
          return {
            receive: (bytes, at, len) => {
              this.#script.expect("takenReceive", id, len, sumOf(bytes, at, len));
              this.#within();
            },
            close: () => {
              this.#script.expect("takenClose", id);
              this.#within();
            },
          };
        },
      },
    };
  }

  #datagrams(id: number, events: HostUdpEvents): HostUdp {
    this.udp.set(id, events);
    return {
      send: (bytes, at, len, to, ttl, df) => {
        this.#script.expect("send", id, len, sumOf(bytes, at, len), to, ttl, df ? 1 : 0);
        this.#lost();
      },
      close: () => {
        this.#script.expect("closeUdp", id);
        this.udp.delete(id);
      },
    };
  }

  /** What gets the events of this socket; null for none. */
  receiver(socket: number): unknown {
    return this.tcp.get(socket) ?? this.udp.get(socket) ?? this.pings.get(socket) ?? null;
  }

  /** Whether there is a receiver for this entry. */
  knows({ name, values }: Entry): boolean {
    const known = this.#mapOf(name);
    return known === null || known.has(values[0] as number);
  }

  #mapOf(name: EntryName): ReadonlyMap<number, unknown> | null {
    switch (name) {
      case "listening":
      case "listenFailed":
      case "bound":
      case "bindFailed":
        return this.waiting;
      case "client":
        return this.listeners;
      case "connected":
      case "data":
      case "landed":
      case "readMost":
      case "end":
      case "drain":
      case "closed":
        return this.tcp;
      case "datagram":
      case "udpError":
        return this.udp;
      case "pong":
      case "pingError":
        return this.pings;
      case "answer":
        return this.answers;
      case "opened":
        return this.files;
      case "fileData":
        return this.reads;
      case "verdict":
        return this.rulings;
      case "takenSend":
      case "takenEnd":
        return this.takers;
      default:
        return null;
    }
  }

  /** Reports losses within the call that causes them. */
  #lost(): void {
    for (let entry = this.#script.peek(); entry !== null; entry = this.#script.peek()) {
      if (entry.name === "udpLost") {
        const [id, count] = this.#script.take().values as [number, number];
        this.udp.get(id)?.onUdpLost?.(count);
      } else if (entry.name === "pingLost") this.pings.get(this.#script.take().values[0] as number)?.onPingLost?.();
      else return;
    }
  }

  #settled<T>(id: number, made: (address: Endpoint) => T): Promise<T> {
    return new Promise<Endpoint>((resolve, reject) => this.waiting.set(id, { resolve, reject })).then(made);
  }
}

class ReplayTcp implements HostTcp {
  readonly #script: Script;
  readonly #id: number;
  /** Called with whether the socket is read from now on; with null when it is reset. */
  readonly #reads: (reads: boolean | null) => void;
  readonly #backlog: Answers<number>;
  readonly #local: Answers<Endpoint | null>;

  constructor(script: Script, id: number, reads: (reads: boolean | null) => void) {
    this.#script = script;
    this.#id = id;
    this.#reads = reads;
    this.#backlog = new Answers(script, "backlog", id, 0);
    this.#local = new Answers<Endpoint | null>(script, "local", id, null);
  }

  get backlog(): number {
    return this.#backlog.answer();
  }

  get local(): Endpoint | null {
    return this.#local.answer();
  }

  write(slab: Slab, at: number, len: number): void {
    this.#script.expect("write", this.#id, len, sumOf(slab.bytes, at, len));
  }

  writeMany(slab: Slab, at: Int32Array, len: Int32Array, count: number): void {
    let crc = 0;
    let total = 0;
    for (let i = 0; i < count; i++) {
      crc = sumOf(slab.bytes, at[i]!, len[i]!, crc);
      total += len[i]!;
    }
    this.#script.expect("write", this.#id, total, crc);
  }

  end(): void {
    this.#say("fin");
  }

  pause(): void {
    this.#say("pause");
    this.#reads(false);
  }

  resume(): void {
    this.#say("resume");
    this.#reads(true);
  }

  reset(code?: string): void {
    this.#say("reset", code ?? null);
    this.#reads(null);
  }

  #say(name: EntryName, ...values: readonly Value[]): void {
    this.#script.expect(name, this.#id, ...values);
  }
}

export function sumOf(bytes: Uint8Array, at: number, len: number, before = 0): number {
  return crc32(bytes.subarray(at, at + len), before);
}

/** A host's error, made from the recorded one. */
export function asError({ message, code }: RecordedError): Error {
  return Object.assign(new Error(message), code === undefined ? {} : { code });
}
