/** Wraps the host's sockets, resolvers and files so that a recorder sees all calls and callbacks. */
import type { FileRefusal, FileSource, OpenFile } from "../core/files.ts";
import {
  type AcceptedTcp,
  type Endpoint,
  type HostDns,
  type HostIcmpError,
  type HostListener,
  type HostNet,
  type HostPing,
  type HostPingEvents,
  type HostTcp,
  type HostTcpEvents,
  type HostUdp,
  type HostUdpEvents,
  type IpText,
  type UnixEndpoint,
  writeRuns,
} from "../core/host-net.ts";
import type { Slab } from "../core/link.ts";
import type { EntryName } from "./format.ts";
import { Asked, EndJson, type Recorder } from "./recorder.ts";

/** An error in the form that a recording has. */
export interface RecordedError {
  readonly message: string;
  readonly code: string | undefined;
}

export class RecordedNet implements HostNet {
  readonly #recorder: Recorder;
  readonly #inner: HostNet;

  constructor(recorder: Recorder, inner: HostNet) {
    this.#recorder = recorder;
    this.#inner = inner;
  }

  connectTcp(
    to: Endpoint | UnixEndpoint,
    events: HostTcpEvents,
    names?: readonly string[],
    dialName?: string | null,
  ): HostTcp {
    const id = this.#recorder.id();
    this.#recorder.write("connect", id, to, names ?? null);
    return new RecordedTcp(
      this.#recorder,
      id,
      this.#inner.connectTcp(to, tcpEvents(this.#recorder, id, events), names, dialName),
    );
  }

  listenTcp(at: Endpoint | UnixEndpoint, onAccept: (socket: AcceptedTcp) => void): Promise<HostListener> {
    const recorder = this.#recorder;
    const id = recorder.id();
    recorder.write("listen", id, at);
    const listening = this.#inner.listenTcp(at, (socket) => {
      recorder.told("client", id, socket.remote);
      onAccept(recordedClient(recorder, socket));
    });
    return settled(recorder, listening, id, "listening", "listenFailed", (listener) => ({
      address: listener.address,
      close: () => {
        recorder.write("unlisten", id);
        listener.close();
      },
    }));
  }

  openUdp(family: 4 | 6, events: HostUdpEvents): HostUdp {
    const id = this.#recorder.id();
    this.#recorder.write("openUdp", id, family);
    return new RecordedUdp(this.#recorder, id, this.#inner.openUdp(family, udpEvents(this.#recorder, id, events)));
  }

  bindUdp(at: Endpoint, events: HostUdpEvents): Promise<HostUdp & HostListener> {
    const recorder = this.#recorder;
    const id = recorder.id();
    recorder.write("bindUdp", id, at);
    const binding = this.#inner.bindUdp(at, udpEvents(recorder, id, events));
    return settled(recorder, binding, id, "bound", "bindFailed", (socket) =>
      Object.assign(new RecordedUdp(recorder, id, socket), { address: socket.address }),
    );
  }

  cork(): void {
    this.#recorder.write("cork");
    this.#inner.cork();
  }

  uncork(): void {
    this.#recorder.write("uncork");
    this.#inner.uncork();
  }

  openPing(family: 4 | 6, events: HostPingEvents): HostPing {
    const recorder = this.#recorder;
    const id = recorder.id();
    recorder.write("openPing", id, family);
    const inner = this.#inner.openPing(family, {
      onReply: (seq, bytes, at, len, from) => {
        recorder.told("pong", id, seq, from, bytes.subarray(at, at + len));
        events.onReply(seq, bytes, at, len, from);
      },
      onPingError: (seq: number, to: IpText, error: HostIcmpError) => {
        recorder.told("pingError", id, seq, to, error);
        events.onPingError(seq, to, error);
      },
      onPingLost: () => {
        recorder.write("pingLost", id);
        events.onPingLost?.();
      },
    });
    return {
      send: (seq, bytes, at, len, ttl, df, to) => {
        recorder.write("ping", id, seq, len, recorder.crc(bytes, at, len), ttl, df ? 1 : 0, to);
        inner.send(seq, bytes, at, len, ttl, df, to);
      },
      close: () => {
        recorder.write("closePing", id);
        inner.close();
      },
    };
  }
}

/** Awaits a promise of the host, and records how it ended before the network learns of it. */
async function settled<T, R>(
  recorder: Recorder,
  promise: Promise<T>,
  id: number,
  done: EntryName,
  failed: EntryName,
  made: (value: T & { readonly address: unknown }) => R,
): Promise<R> {
  try {
    const value = (await promise) as T & { readonly address: unknown };
    recorder.told(done, id, value.address);
    return made(value);
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    recorder.told(failed, id, { message, code } satisfies RecordedError);
    throw error;
  }
}

/** A client of a listening socket of the host, or of a service in this process. */
export function recordedClient(recorder: Recorder, socket: AcceptedTcp): AcceptedTcp {
  return {
    remote: socket.remote,
    accept: (events) => {
      const id = recorder.id();
      recorder.write("accept", id);
      return new RecordedTcp(recorder, id, socket.accept(tcpEvents(recorder, id, events)));
    },
  };
}

export function tcpEvents(recorder: Recorder, id: number, events: HostTcpEvents): HostTcpEvents {
  const { readMost } = events;
  let first = 0;
  let asked = 0;
  const land: HostTcpEvents["landing"] = (bytes, at, len, most) => {
    first = len;
    asked = most;
    return events.landing?.(bytes, at, len, most) ?? null;
  };
  return {
    /** Left out where the events leave it out now, and with payload: the recorder does not see bytes that land. */
    get landing() {
      return recorder.payload || events.landing === undefined ? undefined : land;
    },
    landed: (len) => {
      recorder.told("landed", id, first, asked, len);
      events.landed?.(len);
    },
    ...(readMost !== undefined && {
      readMost: (more: boolean) => {
        recorder.told("readMost", id, more ? 1 : 0);
        return readMost.call(events, more);
      },
    }),
    onConnect: () => {
      recorder.told("connected", id);
      events.onConnect();
    },
    onData: (bytes, at, len) => {
      recorder.told("data", id, len, recorder.kept(bytes, at, len));
      events.onData(bytes, at, len);
    },
    onEnd: () => {
      recorder.told("end", id);
      events.onEnd();
    },
    onDrain: () => {
      recorder.told("drain", id);
      events.onDrain();
    },
    onClose: (code) => {
      recorder.told("closed", id, code);
      events.onClose(code);
    },
  };
}

/** A socket of the host has no `windowCap`, which links of the chain in front of it have. */
export class RecordedTcp implements Required<Omit<HostTcp, "windowCap">> {
  readonly #recorder: Recorder;
  readonly #id: number;
  readonly #inner: HostTcp;
  readonly #backlog: Asked<number>;
  readonly #local: Asked<Endpoint | null>;

  constructor(recorder: Recorder, id: number, inner: HostTcp) {
    this.#recorder = recorder;
    this.#id = id;
    this.#inner = inner;
    this.#backlog = new Asked(recorder, "backlog", id, 0);
    this.#local = new Asked<Endpoint | null>(recorder, "local", id, null);
  }

  get backlog(): number {
    return this.#backlog.answer(this.#inner.backlog);
  }

  get local(): Endpoint | null {
    return this.#local.answer(this.#inner.local);
  }

  /** Payload that stays with the guest cannot be recorded: `RecordedReceiver` lets none stay then. */
  get takesElsewhere(): boolean {
    return this.#inner.takesElsewhere === true;
  }

  write(slab: Slab, at: number, len: number): void {
    this.#recorder.write("write", this.#id, len, this.#recorder.crc(slab.bytes, at, len));
    this.#inner.write(slab, at, len);
  }

  writeMany(slab: Slab, at: Int32Array, len: Int32Array, count: number): void {
    let crc = 0;
    let total = 0;
    for (let i = 0; i < count; i++) {
      crc = this.#recorder.crc(slab.bytes, at[i]!, len[i]!, crc);
      total += len[i]!;
    }
    this.#recorder.write("write", this.#id, total, crc);
    writeRuns(this.#inner, slab, at, len, count);
  }

  end(): void {
    this.#recorder.write("fin", this.#id);
    this.#inner.end();
  }

  pause(): void {
    this.#recorder.write("pause", this.#id);
    this.#inner.pause();
  }

  resume(): void {
    this.#recorder.write("resume", this.#id);
    this.#inner.resume();
  }

  reset(code?: string): void {
    this.#recorder.write("reset", this.#id, code ?? null);
    this.#inner.reset(code);
  }
}

function udpEvents(recorder: Recorder, id: number, events: HostUdpEvents): HostUdpEvents {
  const senders = new EndJson();
  return {
    onDatagram: (bytes, at, len, from) => {
      recorder.datagram(id, senders.of(from), bytes, at, len);
      events.onDatagram(bytes, at, len, from);
    },
    onUdpError: (error, to) => {
      recorder.told("udpError", id, error, to);
      events.onUdpError(error, to);
    },
    onUdpLost: (count) => {
      recorder.write("udpLost", id, count);
      events.onUdpLost?.(count);
    },
  };
}

class RecordedUdp implements HostUdp {
  readonly #recorder: Recorder;
  readonly #id: number;
  readonly #inner: HostUdp;
  readonly #ends: EndJson = new EndJson();

  constructor(recorder: Recorder, id: number, inner: HostUdp) {
    this.#recorder = recorder;
    this.#id = id;
    this.#inner = inner;
  }

  send(bytes: Uint8Array, at: number, len: number, to: Endpoint, ttl: number, df: boolean): void {
    this.#recorder.send(this.#id, bytes, at, len, this.#ends.of(to), ttl, df);
    this.#inner.send(bytes, at, len, to, ttl, df);
  }

  close(): void {
    this.#recorder.write("closeUdp", this.#id);
    this.#inner.close();
  }
}

/** Resolvers. Queries and answers are always recorded whole, because the network reads them. */
export function recordedDns(recorder: Recorder, inner: HostDns): HostDns {
  return {
    query: (query, tcp, onAnswer, server) => {
      const id = recorder.id();
      recorder.write("query", id, tcp ? 1 : 0, server ?? null, query);
      const told = (answer: Uint8Array | null): void => {
        recorder.told("answer", id, answer === null ? 0 : 1, answer ?? new Uint8Array(0));
        onAnswer(answer);
      };
      if (server === undefined) inner.query(query, tcp, told);
      else inner.query(query, tcp, told, server);
    },
    close: () => inner.close(),
  };
}

/** The files that TFTP serves. */
export function recordedFiles(recorder: Recorder, inner: FileSource): FileSource {
  return {
    open: (name, onOpen) => {
      const id = recorder.id();
      recorder.write("openFile", id, name);
      inner.open(name, (result: OpenFile | FileRefusal) => {
        recorder.told("opened", id, typeof result === "string" ? result : result.size);
        onOpen(typeof result === "string" ? result : recordedFile(recorder, id, result));
      });
    },
  };
}

function recordedFile(recorder: Recorder, id: number, inner: OpenFile): OpenFile {
  return {
    size: inner.size,
    read: (at, into, onRead) => {
      const read = recorder.id();
      recorder.write("readFile", id, read, at, into.length);
      inner.read(at, into, (count) => {
        recorder.told("fileData", read, count, recorder.kept(into, 0, Math.max(0, count)));
        onRead(count);
      });
    },
    close: () => {
      recorder.write("closeFile", id);
      inner.close();
    },
  };
}
