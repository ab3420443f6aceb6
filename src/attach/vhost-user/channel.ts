/**
 * The control socket: reads messages with the descriptors that come with them, and sends replies. libuv would lose the
 * descriptors, so `recvmsg` reads the socket.
 */
import fs from "node:fs";
import type net from "node:net";
import { type Readable, readableSocket } from "../../host/readable.ts";
import { BROKEN, NOTHING_YET, type SharedLibc } from "../../host/shared-libc.ts";
import { MESSAGE_HEADER, MOST_PAYLOAD, writeReply } from "./messages.ts";

/** How many reads one turn may have; if more is left, the socket wakes us again. */
const READS = 64;
/** How many descriptors may come with one message, over all its reads. */
const MOST_HELD = 16;

export interface ChannelUser {
  /**
   * A whole message; `payload` is valid during the call. Descriptors that the callee removes from `descriptors` become
   * its own, the others are closed.
   */
  message(request: number, flags: number, payload: Buffer, descriptors: number[]): void;
  /** The other end has closed, or cannot be understood any more (`why`). No message follows. */
  ended(why: string | null): void;
}

export class Channel {
  readonly #libc: SharedLibc;
  readonly #user: ChannelUser;
  #readable: Readable | null = null;
  readonly #message: Buffer = Buffer.allocUnsafeSlow(MESSAGE_HEADER + MOST_PAYLOAD);
  readonly #reply: Buffer = Buffer.allocUnsafeSlow(MESSAGE_HEADER + MOST_PAYLOAD);
  readonly #descriptors: number[] = [];
  /** How many bytes of the current message have come. */
  #have = 0;
  #closed = false;

  private constructor(libc: SharedLibc, user: ChannelUser) {
    this.#libc = libc;
    this.#user = user;
  }

  /** Takes over an accepted socket of which nothing has been read. Null if this Node does not let us. */
  static over(socket: net.Socket, libc: SharedLibc, user: ChannelUser): Channel | null {
    const channel = new Channel(libc, user);
    channel.#readable = readableSocket(socket, () => channel.#read());
    return channel.#readable === null ? null : channel;
  }

  /** Answers a request with `size` bytes, which `write` puts at the start of a buffer. */
  reply(request: number, size: number, write: (payload: Buffer) => void): void {
    if (this.#closed) return;
    write(this.#reply.subarray(MESSAGE_HEADER, MESSAGE_HEADER + size));
    const len = writeReply(this.#reply, request, size);
    // A front end waits for its replies. If it does not take them, the connection ends.
    if (!this.#libc.send(this.#readable!.fd, this.#reply, len)) this.#end("it takes no replies");
  }

  /** Closes the channel; no message follows. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#dropDescriptors();
    this.#readable!.close();
  }

  #end(why: string | null): void {
    if (this.#closed) return;
    this.close();
    this.#user.ended(why);
  }

  #read(): void {
    for (let i = 0; i < READS && !this.#closed; i++) {
      const whole = this.#whole();
      const n = this.#libc.receive(this.#readable!.fd, whole - this.#have);
      this.#descriptors.push(...this.#libc.descriptors);
      if (n === NOTHING_YET) return;
      if (n === 0) return this.#end(this.#have === 0 ? null : "it went in the middle of a message");
      if (n === BROKEN) return this.#end("its messages cannot be read");
      if (this.#descriptors.length > MOST_HELD) return this.#end("a message brings too many descriptors");
      this.#libc.data.copy(this.#message, this.#have, 0, n);
      this.#have += n;
      if (this.#have < MESSAGE_HEADER) continue;
      if (this.#whole() > MESSAGE_HEADER + MOST_PAYLOAD) return this.#end("a message is too long");
      if (this.#have === this.#whole()) this.#deliver();
    }
  }

  /** The length of the current message, as far as it is known. */
  #whole(): number {
    return this.#have < MESSAGE_HEADER ? MESSAGE_HEADER : MESSAGE_HEADER + this.#message.readUInt32LE(8);
  }

  #deliver(): void {
    const message = this.#message;
    const payload = message.subarray(MESSAGE_HEADER, this.#have);
    this.#have = 0;
    try {
      this.#user.message(message.readUInt32LE(0), message.readUInt32LE(4), payload, this.#descriptors);
    } finally {
      this.#dropDescriptors();
    }
  }

  #dropDescriptors(): void {
    for (const fd of this.#descriptors.splice(0)) fs.closeSync(fd);
  }
}
