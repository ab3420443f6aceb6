/**
 * A front end and the guest behind it, in place of QEMU and a driver: real shared memory, real eventfds, and no manners. It
 * does what a driver does, or whatever a test makes it do.
 *
 * The guest's memory is one file. It holds the two rings and room for buffers; a guest address is `GUEST` beyond the offset.
 */
import fs from "node:fs";
import * as m from "../../../src/attach/vhost-user/messages.ts";
import {
  closeFd,
  connectUnix,
  endSending,
  eventfd,
  mapShared,
  memfd,
  receive,
  sendWith,
  signal,
  signals,
} from "./native.ts";

/** Where the guest has its memory. */
export const GUEST = 0x4000_0000;
export const NEXT = 1;
export const WRITE = 2;
export const INDIRECT = 4;
export const RECEIVE = 0;
export const SEND = 1;

export interface FrontEndOptions {
  /** Entries of a ring (64). */
  readonly size?: number;
  /** Bytes of the guest's memory (4 MiB). */
  readonly memory?: number;
  /** What the driver takes of the features that are offered (all). */
  readonly features?: bigint;
  /** Bytes of a receive buffer (1536), and how many are given (all entries). */
  readonly buffer?: number;
  readonly buffers?: number;
}

export interface Descriptor {
  readonly at: number;
  readonly len: number;
  readonly flags?: number;
  readonly next?: number;
}

/** One ring, from the driver's side. Offsets are in the guest's memory. */
export class DriverRing {
  readonly size: number;
  readonly descriptorsAt: number;
  readonly availAt: number;
  readonly usedAt: number;
  readonly kick: number = eventfd();
  readonly call: number = eventfd();
  readonly error: number = eventfd();
  readonly #view: DataView;
  avail = 0;
  used = 0;

  constructor(view: DataView, at: number, size: number) {
    this.#view = view;
    this.size = size;
    this.descriptorsAt = at;
    this.availAt = at + 16 * size;
    this.usedAt = (this.availAt + 6 + 2 * size + 3) & ~3;
  }

  get end(): number {
    return (this.usedAt + 6 + 8 * this.size + 4095) & ~4095;
  }

  describe(index: number, { at, len, flags = 0, next = 0 }: Descriptor, base: number = this.descriptorsAt): void {
    const where = base + 16 * index;
    this.#view.setBigUint64(where, BigInt(GUEST + at), true);
    this.#view.setUint32(where + 8, len, true);
    this.#view.setUint16(where + 12, flags, true);
    this.#view.setUint16(where + 14, next, true);
  }

  /** Makes a chain available. Nobody is told. */
  offer(head: number): void {
    this.#view.setUint16(this.availAt + 4 + 2 * (this.avail % this.size), head, true);
    this.avail = (this.avail + 1) & 0xffff;
    this.setAvail(this.avail);
  }

  setAvail(index: number): void {
    this.#view.setUint16(this.availAt + 2, index, true);
  }

  /** The used element that is next; null when there is none. */
  take(): { id: number; len: number } | null {
    if (this.usedIndex === this.used) return null;
    const at = this.usedAt + 4 + 8 * (this.used % this.size);
    this.used = (this.used + 1) & 0xffff;
    return { id: this.#view.getUint32(at, true), len: this.#view.getUint32(at + 4, true) };
  }

  get usedIndex(): number {
    return this.#view.getUint16(this.usedAt + 2, true);
  }

  get usedFlags(): number {
    return this.#view.getUint16(this.usedAt, true);
  }

  /** By which entry the back end wants to be told (event index). */
  get availEvent(): number {
    return this.#view.getUint16(this.usedAt + 4 + 8 * this.size, true);
  }

  set usedEvent(index: number) {
    this.#view.setUint16(this.availAt + 4 + 2 * this.size, index, true);
  }

  set availFlags(flags: number) {
    this.#view.setUint16(this.availAt, flags, true);
  }
}

export class FrontEnd {
  readonly fd: number;
  readonly memoryFd: number = memfd();
  readonly size: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly rings: readonly [DriverRing, DriverRing];
  readonly bufferSize: number;
  /** Where receive buffers are, and what is behind them is free. */
  readonly buffersAt: number;
  readonly free: number;
  features = 0n;
  protocolFeatures = 0n;
  readonly #map: { address: number; unmap(): void };
  readonly #options: FrontEndOptions;
  #unread: Buffer = Buffer.alloc(0);
  #closed = false;

  constructor(path: string, options: FrontEndOptions = {}) {
    this.#options = options;
    this.size = options.memory ?? 4 << 20;
    fs.ftruncateSync(this.memoryFd, this.size);
    const map = mapShared(this.memoryFd, this.size);
    this.#map = map;
    this.bytes = map.bytes;
    this.view = new DataView(map.bytes.buffer, map.bytes.byteOffset, map.bytes.length);
    const entries = options.size ?? 64;
    const receiving = new DriverRing(this.view, 0, entries);
    const sending = new DriverRing(this.view, receiving.end, entries);
    this.rings = [receiving, sending];
    this.bufferSize = options.buffer ?? 1536;
    this.buffersAt = sending.end;
    this.free = this.buffersAt + entries * this.bufferSize;
    this.fd = connectUnix(path);
  }

  get header(): number {
    return (this.features >> 32n) & 1n || (this.features >> 15n) & 1n ? 12 : 10;
  }

  /** Says all that QEMU says at a driver's start, and gives receive buffers. */
  async start(): Promise<void> {
    await this.agree();
    this.tellMemory();
    this.giveBuffers(this.#options.buffers ?? this.rings[RECEIVE].size);
    this.tellRing(RECEIVE);
    this.tellRing(SEND);
    // All has been handled once a question behind it is answered.
    await this.ask(m.GET_FEATURES);
  }

  async agree(): Promise<void> {
    const offered = await this.ask(m.GET_FEATURES);
    this.features = offered & ((this.#options.features ?? ~0n) | (1n << 30n));
    const protocol = await this.ask(m.GET_PROTOCOL_FEATURES);
    this.protocolFeatures = protocol;
    this.tellNumber(m.SET_PROTOCOL_FEATURES, protocol);
    this.tell(m.SET_OWNER);
    this.tellNumber(m.SET_FEATURES, this.features);
  }

  tell(
    request: number,
    payload: Uint8Array = new Uint8Array(0),
    descriptors: readonly number[] = [],
    flags = 1,
  ): boolean {
    const message = Buffer.alloc(12 + payload.length);
    message.writeUInt32LE(request);
    message.writeUInt32LE(flags, 4);
    message.writeUInt32LE(payload.length, 8);
    message.set(payload, 12);
    return sendWith(this.fd, message, descriptors);
  }

  tellNumber(request: number, value: bigint, descriptors: readonly number[] = [], flags = 1): void {
    const payload = Buffer.alloc(8);
    payload.writeBigUInt64LE(value);
    this.tell(request, payload, descriptors, flags);
  }

  tellState(request: number, ring: number, value: number, flags = 1): void {
    this.tellNumber(request, (BigInt(value) << 32n) | BigInt(ring), [], flags);
  }

  /** Half a message's header, and the connection's end behind it. */
  half(): void {
    sendWith(this.fd, new Uint8Array(6), []);
    endSending(this.fd);
  }

  /** Asks, and gives the number that comes back. */
  async ask(request: number, payload: bigint | null = null): Promise<bigint> {
    if (payload === null) this.tell(request);
    else this.tellNumber(request, payload);
    return this.reply(request);
  }

  /** The number in the next reply, which must be to `request`. */
  async reply(request: number): Promise<bigint> {
    const whole = await this.until(() => {
      const more = receive(this.fd, 4096);
      if (more?.length === 0 && this.#unread.length === 0) throw new Error("the back end has hung up");
      if (more !== null) this.#unread = Buffer.concat([this.#unread, more]);
      const length = this.#unread.length < 12 ? 12 : 12 + this.#unread.readUInt32LE(8);
      if (this.#unread.length < length) return null;
      const message = this.#unread.subarray(0, length);
      this.#unread = this.#unread.subarray(length);
      return message;
    }, `a reply to ${request}`);
    if (whole.readUInt32LE(0) !== request || whole.readUInt32LE(4) !== 5)
      throw new Error(`a reply to ${whole.readUInt32LE(0)} with flags ${whole.readUInt32LE(4)}`);
    return whole.readBigUInt64LE(12);
  }

  /** Resolves when the back end has hung up. */
  hungUp(): Promise<true> {
    return this.until(() => receive(this.fd, 4096)?.length === 0 || null, "the connection's end");
  }

  /** Regions of the guest's memory, `at` and `size` each; the whole by default. */
  tellMemory(regions: readonly { at: number; size: number }[] = [{ at: 0, size: this.size }], flags = 1): void {
    const payload = Buffer.alloc(8 + 32 * regions.length);
    payload.writeUInt32LE(regions.length);
    for (const [i, { at, size }] of regions.entries()) payload.set(this.region(at, size), 8 + 32 * i);
    this.tell(
      m.SET_MEM_TABLE,
      payload,
      regions.map(() => this.memoryFd),
      flags,
    );
  }

  /** A region as messages have it. */
  region(at: number, size: number): Buffer {
    const bytes = Buffer.alloc(32);
    bytes.writeBigUInt64LE(BigInt(GUEST + at));
    bytes.writeBigUInt64LE(BigInt(size), 8);
    bytes.writeBigUInt64LE(BigInt(this.#map.address + at), 16);
    bytes.writeBigUInt64LE(BigInt(at), 24);
    return bytes;
  }

  tellRing(number: 0 | 1, size: number = this.rings[number].size): void {
    const ring = this.rings[number];
    this.tellState(m.SET_VRING_NUM, number, size);
    this.tellState(m.SET_VRING_BASE, number, ring.used);
    this.tellAddresses(number);
    this.tellNumber(m.SET_VRING_KICK, BigInt(number), [ring.kick]);
    this.tellNumber(m.SET_VRING_CALL, BigInt(number), [ring.call]);
    this.tellNumber(m.SET_VRING_ERR, BigInt(number), [ring.error]);
    this.tellState(m.SET_VRING_ENABLE, number, 1);
  }

  tellAddresses(number: 0 | 1, off = 0): void {
    const ring = this.rings[number];
    const payload = Buffer.alloc(40);
    payload.writeUInt32LE(number);
    for (const [at, offset] of [
      [8, ring.descriptorsAt],
      [16, ring.usedAt],
      [24, ring.availAt],
    ] as const)
      payload.writeBigUInt64LE(BigInt(this.#map.address + offset + off), at);
    this.tell(m.SET_VRING_ADDR, payload);
  }

  /** Stops a ring. How far it had come. */
  async stop(number: 0 | 1): Promise<number> {
    this.tellState(m.GET_VRING_BASE, number, 0);
    return Number((await this.reply(m.GET_VRING_BASE)) >> 32n);
  }

  giveBuffers(count: number): void {
    const ring = this.rings[RECEIVE];
    for (let i = 0; i < count; i++) {
      ring.describe(i, { at: this.buffersAt + i * this.bufferSize, len: this.bufferSize, flags: WRITE });
      ring.offer(i);
    }
  }

  kick(number: 0 | 1): void {
    signal(this.rings[number].kick);
  }

  /** How often the back end has called since it was last asked. */
  calls(number: 0 | 1): number {
    return signals(this.rings[number].call);
  }

  /**
   * Sends a frame, with its header before it, in descriptors of the given lengths (the last one takes the rest) from `first` on.
   * Nobody is told.
   */
  offerFrame(
    frame: Uint8Array,
    lengths: readonly number[] = [],
    first = 0,
    header: Uint8Array = new Uint8Array(this.header),
  ): void {
    const ring = this.rings[SEND];
    const base = this.free + first * (frame.length > 4_000 ? 70_000 : 4_096);
    this.bytes.set(header, base);
    this.bytes.set(frame, base + header.length);
    const total = header.length + frame.length;
    let at = 0;
    for (let i = 0; at < total || i === 0; i++) {
      const len = Math.min(lengths[i] ?? total, total - at);
      const more = at + len < total;
      ring.describe(first + i, { at: base + at, len, flags: more ? NEXT : 0, next: first + i + 1 });
      at += len;
    }
    ring.offer(first);
  }

  /** The next frame that has come, put together of its buffers, which are given back; null for none. */
  takeFrame(): { header: Uint8Array; frame: Uint8Array; buffers: number } | null {
    const ring = this.rings[RECEIVE];
    const first = ring.take();
    if (first === null) return null;
    const pieces = [this.#buffer(first)];
    const count = this.header === 12 && (this.features >> 15n) & 1n ? pieces[0]![10]! | (pieces[0]![11]! << 8) : 1;
    while (pieces.length < count) pieces.push(this.#buffer(ring.take()!));
    const whole = Buffer.concat(pieces);
    return {
      header: whole.subarray(0, this.header),
      frame: new Uint8Array(whole.subarray(this.header)),
      buffers: count,
    };
  }

  #buffer({ id, len }: { id: number; len: number }): Uint8Array {
    const at = this.buffersAt + id * this.bufferSize;
    const bytes = this.bytes.slice(at, at + len);
    this.rings[RECEIVE].offer(id);
    return bytes;
  }

  /** Resolves with what `look` gives once that is not null; looks once a turn. */
  async until<T>(look: () => T | null, what: string): Promise<T> {
    for (const end = performance.now() + 10_000; ; ) {
      const found = look();
      if (found !== null) return found;
      if (performance.now() > end) throw new Error(`no sign of ${what}`);
      await new Promise(setImmediate);
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeFd(this.fd);
    closeFd(this.memoryFd);
    for (const { kick, call, error } of this.rings) for (const each of [kick, call, error]) closeFd(each);
    this.#map.unmap();
  }
}
