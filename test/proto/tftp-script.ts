/** TFTP as a script: packets of a client's ports to the server and back, files in memory, time by hand. */
import { expect } from "vitest";
import { DEFAULT_LIMITS } from "../../src/core/limits.ts";
import { DROP_REASONS, type DropReason } from "../../src/core/trace.ts";
import { TftpServer, type TftpTransfer } from "../../src/proto/tftp.ts";
import { ManualClock } from "../support/clock.ts";
import { FakeFiles } from "../support/fake-files.ts";

/** What the server has sent, read without `src/wire`. */
export type Reply =
  | { readonly data: number; readonly bytes: Uint8Array }
  | { readonly oack: Readonly<Record<string, string>> }
  | { readonly error: number; readonly text: string };

export const CLIENT = "client";
export const PORT = 2000;
export const MAX_BLOCK = 1468;

/** Each client is on a cable of its own. */
const cableOf = (client: string): object => (CABLES[client] ??= {});
const CABLES: Record<string, object> = {};

export class TftpScript {
  readonly clock: ManualClock = new ManualClock(1_000);
  readonly files: FakeFiles = new FakeFiles();
  readonly server: TftpServer<string>;
  readonly ended: (TftpTransfer & { readonly client: string })[] = [];
  /** What was sent and not taken yet. */
  readonly out: { readonly client: string; readonly port: number; readonly packet: Buffer }[] = [];
  readonly #drops: Record<DropReason, number> = Object.fromEntries(DROP_REASONS.map((r) => [r, 0])) as never;

  constructor(maxSessions = 64) {
    this.server = new TftpServer<string>(
      { ...DEFAULT_LIMITS, tftpSessions: maxSessions },
      {
        cableOf,
        files: this.files,
        trace: { drop: (reason) => this.#drops[reason]++, event: () => {} },
        send: (client, port, bytes, len) => this.out.push({ client, port, packet: Buffer.from(bytes.slice(0, len)) }),
        flush: () => {},
        now: () => this.clock.now(),
        wake: () => {},
        ended: (client, transfer) => this.ended.push({ client, ...transfer }),
      },
    );
  }

  /** A packet as it is, in the middle of a larger buffer of other bytes. */
  raw(packet: Uint8Array, port: number = PORT, client: string = CLIENT): void {
    const buf = new Uint8Array(packet.length + 20).fill(0x41);
    buf.set(packet, 10);
    this.server.receive(client, port, buf, 10, packet.length, MAX_BLOCK, this.clock.now());
    buf.fill(0xee);
    this.files.run();
  }

  /** RRQ with these options. */
  read(
    name: string,
    options: Readonly<Record<string, string | number>> = {},
    mode = "octet",
    port: number = PORT,
  ): void {
    this.raw(request(1, [name, mode, ...Object.entries(options).flat().map(String)]), port);
  }

  ack(block: number, port: number = PORT): void {
    this.raw(Buffer.from([0, 4, (block >> 8) & 255, block & 255]), port);
  }

  error(code: number, text = "", port: number = PORT): void {
    this.raw(Buffer.concat([Buffer.from([0, 5, 0, code]), Buffer.from(text), Buffer.from([0])]), port);
  }

  /** The next packet, which goes to this port. */
  next(port: number = PORT, client: string = CLIENT): Reply {
    const first = this.out.shift();
    expect(first, "nothing was sent").toBeDefined();
    expect(first).toMatchObject({ port, client });
    return decode(first!.packet);
  }

  /** The next packets are DATA with these numbers, and nothing follows; their bytes together. */
  expectData(...blocks: readonly number[]): Buffer {
    const replies = blocks.map(() => this.next());
    expect(replies.map((reply) => ("data" in reply ? reply.data : reply))).toEqual(blocks);
    this.expectNothing();
    return Buffer.concat(replies.map((reply) => ("bytes" in reply ? reply.bytes : Buffer.alloc(0))));
  }

  expectError(code: number, port: number = PORT): void {
    expect(this.next(port)).toMatchObject({ error: code });
    this.expectNothing();
  }

  expectOack(options: Readonly<Record<string, string>>): void {
    const reply = this.next();
    expect(reply).toEqual({ oack: options });
    expect(Object.keys("oack" in reply ? reply.oack : {})).toEqual(Object.keys(options));
    this.expectNothing();
  }

  expectNothing(): void {
    this.files.run();
    expect(this.out.map(({ packet }) => decode(packet))).toEqual([]);
  }

  advance(millis: number): void {
    const end = this.clock.now() + millis;
    for (let next = this.server.pollAt(); next <= end; next = this.server.pollAt()) {
      this.clock.advance(Math.max(0, next - this.clock.now()));
      this.server.poll(this.clock.now());
      this.files.run();
    }
    this.clock.advance(end - this.clock.now());
  }

  dropped(reason: DropReason): number {
    return this.#drops[reason];
  }

  /** The whole file as a client without loss reads it. */
  fetch(name: string, options: Readonly<Record<string, string | number>> = {}, mode = "octet"): Buffer {
    this.read(name, options, mode);
    const pieces: Uint8Array[] = [];
    let size = 512;
    let window = 1;
    for (let expected = 1; ; ) {
      const reply = this.next();
      if ("oack" in reply) {
        size = Number(reply.oack.blksize ?? size);
        window = Number(reply.oack.windowsize ?? window);
        this.ack(0);
        continue;
      }
      if (!("data" in reply)) throw new Error(`error ${reply.error}: ${reply.text}`);
      expect(reply.data).toBe(expected & 0xffff);
      pieces.push(reply.bytes);
      const last = reply.bytes.length < size;
      if (last || expected % window === 0) this.ack(expected & 0xffff);
      if (last) return Buffer.concat(pieces);
      expected++;
    }
  }
}

/** RRQ (1) or WRQ (2) with texts that end in NUL. */
export function request(opcode: number, texts: readonly string[]): Buffer {
  return Buffer.concat([Buffer.from([0, opcode]), ...texts.map((text) => Buffer.from(`${text}\0`))]);
}

export function decode(packet: Buffer): Reply {
  const opcode = packet.readUInt16BE(0);
  if (opcode === 3) return { data: packet.readUInt16BE(2), bytes: packet.subarray(4) };
  const texts = packet.toString("utf8", opcode === 5 ? 4 : 2).split("\0");
  expect(texts.pop(), "the last text ends with NUL").toBe("");
  if (opcode === 5) return { error: packet.readUInt16BE(2), text: texts.join("\0") };
  expect(opcode).toBe(6);
  return { oack: Object.fromEntries(texts.flatMap((text, i) => (i % 2 === 0 ? [[text, texts[i + 1]!]] : []))) };
}

/** Bytes in which each place shows, different for each seed. */
export function fileBytes(length: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(length);
  let state = seed;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    bytes[i] = state >>> 16;
  }
  return bytes;
}
