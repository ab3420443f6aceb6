/**
 * Cables that we open: to a QEMU that listens (`server=on`), dialled again whenever it is gone, or over an inherited
 * socket.
 */
import fs from "node:fs";
import net from "node:net";
import { reasonOf } from "../host/reason.ts";
import { attachAddressText, type StreamAddress } from "./address.ts";
import type { Attachment, CableEnv } from "./attachment.ts";
import { StreamLink } from "./stream.ts";

const BACKOFF_FIRST_MILLIS = 100;
const BACKOFF_LAST_MILLIS = 5_000;

/** Dials until it is closed. It is no error that nobody answers yet. The pause doubles with each failure in a row. */
export function connectStream(address: StreamAddress, env: CableEnv): Attachment {
  return new StreamClient(address, env);
}

class StreamClient implements Attachment {
  readonly address: StreamAddress;
  readonly closed: Promise<void>;
  readonly #env: CableEnv;
  readonly #name: string;
  #onClosed: () => void = () => {};
  #attempts = 0;
  #backoff = BACKOFF_FIRST_MILLIS;
  #timer: NodeJS.Timeout | null = null;
  #dialling: { socket: net.Socket; link: StreamLink } | null = null;
  #link: StreamLink | null = null;
  #closing = false;

  constructor(address: StreamAddress, env: CableEnv) {
    this.address = address;
    this.#env = env;
    this.#name = attachAddressText(address);
    this.closed = new Promise((resolve) => {
      this.#onClosed = resolve;
    });
    this.#dial();
  }

  close(): Promise<void> {
    this.#closing = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#dialling?.socket.destroy();
    if (this.#link !== null) this.#link.close();
    else this.#onClosed();
    return this.closed;
  }

  #dial(): void {
    this.#timer = null;
    const link = new StreamLink(`${this.#name}#${++this.#attempts}`, this.#env, () => this.#lost());
    const { onread, address } = { onread: link.onread, address: this.address };
    const socket = net.connect(
      address.kind === "unix" ? { path: address.path, onread } : { host: address.host, port: address.port, onread },
    );
    this.#dialling = { socket, link };
    socket.on("error", () => {});
    const failed = () => {
      this.#dialling = null;
      link.abandon();
      this.#again();
    };
    socket.once("close", failed);
    socket.once("connect", () => {
      socket.off("close", failed);
      this.#dialling = null;
      this.#backoff = BACKOFF_FIRST_MILLIS;
      this.#link = link;
      link.start(socket, true);
    });
  }

  #lost(): void {
    this.#link = null;
    if (this.#closing) this.#onClosed();
    else this.#again();
  }

  #again(): void {
    if (this.#closing) return;
    this.#timer = setTimeout(() => this.#dial(), this.#backoff);
    this.#backoff = Math.min(this.#backoff * 2, BACKOFF_LAST_MILLIS);
  }
}

/**
 * Makes a cable of a connected socket that was inherited as descriptor `fd`. Throws an `Error` of one line if `fd` is
 * none.
 */
export function inheritStream(fd: number, env: CableEnv): Attachment {
  const kind = kindOf(fd);
  if (kind !== "socket") {
    const expected = kind === null ? "it is not open" : `it is a ${kind}; expected a connected stream socket, or a TAP`;
    throw new Error(`cannot use descriptor ${fd} as a guest's cable: ${expected}`);
  }
  let onClosed = () => {};
  const closed = new Promise<void>((resolve) => {
    onClosed = resolve;
  });
  const link = new StreamLink(`fd:${fd}`, env, () => onClosed());
  let socket: net.Socket;
  try {
    socket = new net.Socket({ fd, readable: true, writable: true, onread: link.onread } as net.SocketConstructorOpts);
  } catch (error) {
    link.abandon();
    throw new Error(`cannot use descriptor ${fd} as a guest's cable: ${reasonOf(error)}`);
  }
  link.start(socket, true);
  return {
    address: null,
    closed,
    close: () => {
      link.close();
      return closed;
    },
  };
}

/** The kind of a descriptor, in a user's words; null where it is not open. */
function kindOf(fd: number): "socket" | "file" | "folder" | "pipe" | "device" | null {
  let stat: fs.Stats;
  try {
    stat = fs.fstatSync(fd);
  } catch {
    return null;
  }
  if (stat.isSocket()) return "socket";
  if (stat.isDirectory()) return "folder";
  if (stat.isFIFO()) return "pipe";
  return stat.isFile() ? "file" : "device";
}
