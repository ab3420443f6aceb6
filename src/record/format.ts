/**
 * A recording: all inputs of a network (frames, host events, clock readings, random numbers, calls of its user) and,
 * for comparison, all outputs, in the order in which they happened. `docs/recording.md` describes the format.
 *
 * A file is a magic number, then blocks of `length, CRC-32, bytes`. The first block is a header in JSON; every other
 * block holds whole entries. An entry is a tag byte and the fields that `ENTRIES` lists for it. If a file ends within a
 * block, as after `kill -9`, the blocks before are good.
 */

export const MAGIC = "tslirp recording\n";
/**
 * The format's version. A reader refuses newer versions. Version 1 had no `sealed` of 2, version 2 no `left` and no
 * `readMost`, version 3 no `landed` and no `run`.
 */
export const VERSION = 4;

/** How a field is written. */
export type Kind =
  /** A whole number from 0, 7 bits a byte, the lowest first. */
  | "number"
  /** A whole number with its sign in the lowest bit, then written as a number. */
  | "signed"
  /** Four bytes, little-endian. */
  | "word"
  /** A length, then UTF-8. */
  | "text"
  /** A length, then bytes. */
  | "bytes"
  /** A text that is JSON. */
  | "json";

/**
 * Who causes an entry. "in": guests, the host, time or the user act on the network. "out": the network acts. "reply":
 * an answer to the network, within a call that it makes.
 */
export type Direction = "in" | "out" | "reply";

export interface EntryShape {
  readonly direction: Direction;
  readonly fields: Readonly<Record<string, Kind>>;
}

/** All kinds of entries. An entry's tag is its place in this list, so new kinds go to the end. */
export const NAMES = [
  "clock",
  "random",
  "microtasks",
  "within",
  "attached",
  "frame",
  "batchEnd",
  "writable",
  "detached",
  "offload",
  "full",
  "sent",
  "unplugged",
  "connect",
  "listen",
  "listening",
  "listenFailed",
  "unlisten",
  "client",
  "accept",
  "connected",
  "data",
  "end",
  "drain",
  "closed",
  "backlog",
  "held",
  "local",
  "write",
  "fin",
  "pause",
  "resume",
  "reset",
  "openUdp",
  "bindUdp",
  "bound",
  "bindFailed",
  "send",
  "closeUdp",
  "datagram",
  "udpError",
  "udpLost",
  "cork",
  "uncork",
  "openPing",
  "ping",
  "closePing",
  "pong",
  "pingError",
  "pingLost",
  "query",
  "answer",
  "openFile",
  "opened",
  "readFile",
  "fileData",
  "closeFile",
  "ask",
  "verdict",
  "taken",
  "takenSend",
  "takenEnd",
  "takenReceive",
  "takenClose",
  "poll",
  "turnEnd",
  "open",
  "close",
  "rules",
  "dnsHosts",
  "dnsZones",
  "addForward",
  "removeForward",
  "dial",
  "serveTcp",
  "serveUdp",
  "unserve",
  "served",
  "servedDatagram",
  "sendUdp",
  "drop",
  "guests",
  "left",
  "readMost",
  "landed",
  "run",
] as const;

export type EntryName = (typeof NAMES)[number];

const shape = (direction: Direction, fields: Readonly<Record<string, Kind>> = {}): EntryShape => ({
  direction,
  fields,
});
const id: Kind = "number";

export const ENTRIES: Readonly<Record<EntryName, EntryShape>> = {
  /** A reading of the clock, in microseconds since the last one. */
  clock: shape("reply", { micros: "signed" }),
  random: shape("reply", { value: "word" }),
  /** The stack's deferred work (microtasks) runs. */
  microtasks: shape("in"),
  /** The next entry comes in during the call that was made last. */
  within: shape("reply"),

  // Cables
  attached: shape("in", { link: id, name: "text", traits: "json" }),
  /**
   * The first bytes of a frame; `blank` more bytes were left out. `sealed` describes the checksum behind IP's headers:
   * unknown (0), right (1), or right unless the network drops the frame for it (2).
   */
  frame: shape("in", { link: id, undone: "number", blank: "number", sealed: "number", bytes: "bytes" }),
  batchEnd: shape("in", { link: id }),
  writable: shape("in", { link: id }),
  detached: shape("in", { link: id }),
  /** The `offload` of a cable when it is read for the `nth` time, if it has changed. */
  offload: shape("reply", { link: id, nth: "number", value: "json" }),
  /** The cable was full at its `nth` reservation. */
  full: shape("reply", { link: id, nth: "number" }),
  /** A frame to a guest: its headers, and the CRC-32 of the whole frame (0 if payload is left out). */
  sent: shape("out", { link: id, length: "number", undone: "number", head: "bytes", crc: "word" }),
  unplugged: shape("out", { link: id }),

  // TCP sockets of the host and of this process
  connect: shape("out", { socket: id, to: "json", names: "json" }),
  listen: shape("out", { listener: id, at: "json" }),
  listening: shape("in", { listener: id, address: "json" }),
  listenFailed: shape("in", { listener: id, error: "json" }),
  unlisten: shape("out", { listener: id }),
  client: shape("in", { listener: id, remote: "json" }),
  accept: shape("out", { socket: id }),
  connected: shape("in", { socket: id }),
  /** `length` bytes of data; `bytes` is empty if payload is left out. */
  data: shape("in", { socket: id, length: "number", bytes: "bytes" }),
  end: shape("in", { socket: id }),
  drain: shape("in", { socket: id }),
  closed: shape("in", { socket: id, code: "json" }),
  /** The backlog of a socket when it is read for the `nth` time, if it has changed. */
  backlog: shape("reply", { socket: id, nth: "number", value: "number" }),
  /** No longer written; older recordings have the backlog twice. */
  held: shape("reply", { socket: id, nth: "number", value: "number" }),
  local: shape("reply", { socket: id, nth: "number", value: "json" }),
  write: shape("out", { socket: id, length: "number", crc: "word" }),
  fin: shape("out", { socket: id }),
  pause: shape("out", { socket: id }),
  resume: shape("out", { socket: id }),
  reset: shape("out", { socket: id, code: "json" }),

  // UDP
  openUdp: shape("out", { socket: id, family: "number" }),
  bindUdp: shape("out", { socket: id, at: "json" }),
  bound: shape("in", { socket: id, address: "json" }),
  bindFailed: shape("in", { socket: id, error: "json" }),
  send: shape("out", { socket: id, length: "number", crc: "word", to: "json", ttl: "number", df: "number" }),
  closeUdp: shape("out", { socket: id }),
  datagram: shape("in", { socket: id, from: "json", length: "number", bytes: "bytes" }),
  udpError: shape("in", { socket: id, error: "json", to: "json" }),
  udpLost: shape("reply", { socket: id, count: "number" }),
  cork: shape("out"),
  uncork: shape("out"),

  // Ping
  openPing: shape("out", { socket: id, family: "number" }),
  ping: shape("out", {
    socket: id,
    seq: "number",
    length: "number",
    crc: "word",
    ttl: "number",
    df: "number",
    to: "json",
  }),
  closePing: shape("out", { socket: id }),
  pong: shape("in", { socket: id, seq: "number", from: "json", bytes: "bytes" }),
  pingError: shape("in", { socket: id, seq: "number", to: "json", error: "json" }),
  pingLost: shape("reply", { socket: id }),

  // Names, files, verdicts
  query: shape("out", { query: id, tcp: "number", server: "json", bytes: "bytes" }),
  answer: shape("in", { query: id, answered: "number", bytes: "bytes" }),
  openFile: shape("out", { file: id, name: "text" }),
  opened: shape("in", { file: id, size: "json" }),
  readFile: shape("out", { file: id, read: id, at: "number", length: "number" }),
  fileData: shape("in", { read: id, length: "signed", bytes: "bytes" }),
  closeFile: shape("out", { file: id }),
  ask: shape("out", { flow: id, about: "json" }),
  verdict: shape("in", { flow: id, ruling: "json" }),
  /** A taken-over flow begins, as a stream or as datagrams. */
  taken: shape("out", { socket: id, flow: id }),
  takenSend: shape("in", { socket: id, bytes: "bytes" }),
  takenEnd: shape("in", { socket: id }),
  takenReceive: shape("out", { socket: id, length: "number", crc: "word" }),
  takenClose: shape("out", { socket: id }),

  // Time, and calls of the user
  poll: shape("in", { micros: "signed" }),
  turnEnd: shape("in"),
  open: shape("in"),
  close: shape("in"),
  rules: shape("in", { lines: "json" }),
  dnsHosts: shape("in", { lines: "json" }),
  dnsZones: shape("in", { lines: "json" }),
  addForward: shape("in", { rule: "json" }),
  removeForward: shape("in", { rule: "json" }),
  dial: shape("in", { socket: id, guest: "json", remote: "json" }),
  serveTcp: shape("in", { service: id, at: "json" }),
  serveUdp: shape("in", { service: id, at: "json" }),
  unserve: shape("in", { service: id }),
  served: shape("out", { service: id, socket: id, guest: "json" }),
  servedDatagram: shape("out", { service: id, length: "number", crc: "word", guest: "json" }),
  sendUdp: shape("in", { from: "json", guest: "json", bytes: "bytes" }),

  /** A packet or connection was dropped, with the reason. */
  drop: shape("out", { reason: "text" }),
  /** The knowledge about guests that this network got from the one before it, whose place it has taken. */
  guests: shape("in", { known: "json" }),
  /** The payload of the cable's next frame stays in the guest's memory (`Slab.elsewhere`) until the batch's end. */
  left: shape("in", { link: id }),
  /** A host socket asks how many bytes it may read; `more` is 1 if its last read was full. */
  readMost: shape("in", { socket: id, more: "number" }),
  /**
   * `length` bytes of data were read by the host, and `landed` more into the flow's memory, where room for `most` had been
   * asked for (`HostTcpEvents.landing`). There is no such entry where payload is recorded.
   */
  landed: shape("in", { socket: id, length: "number", most: "number", landed: "number" }),
  /**
   * `count` further frames behind the last one, which is the entry before, or the last of a `run` there. Each is TCP's
   * next segment: as the one before, but for the sequence number, which is higher by the payload's length, the IPv4
   * identification, which is higher by `step`, and the checksums. A reader gives them as entries of their own.
   */
  run: shape("in", { step: "number", count: "number" }),
};

/** A field's value: a number, a text, bytes, or any JSON value. */
export type Value = unknown;

/** An entry that has been read. */
export interface Entry {
  readonly name: EntryName;
  readonly values: readonly Value[];
}

/** The description of a recording, in its first block. */
export interface Header {
  readonly version: number;
  /** The version of tslirp. */
  readonly package: string;
  readonly node: string;
  /** When the recording began, in ISO 8601. */
  readonly date: string;
  /** Whether the recording has payload. Otherwise a replay fills in bytes made from `seed`, of the recorded lengths. */
  readonly payload: boolean;
  /** Whether addresses and names have been replaced. */
  readonly anonymous?: boolean;
  readonly seed: number;
  /** The network's `StackConfig`, maps as lists of pairs. */
  readonly config: unknown;
  readonly rules: readonly string[];
  /** Whether there was a TFTP folder, and whether there was a gate. */
  readonly files: boolean;
  readonly gate: boolean;
}

/** JSON that keeps Maps, as `{ "map": [[key, value], …] }`. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, (_, each) => (each instanceof Map ? { map: [...each] } : each)) ?? "null";
}

export function fromJson(text: string): unknown {
  return JSON.parse(text, (_, each) =>
    typeof each === "object" && each !== null && Array.isArray(each.map) && Object.keys(each).length === 1
      ? new Map(each.map)
      : each,
  );
}
