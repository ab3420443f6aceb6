/** A rate that many connections share is shared: none waits for the others' whole reads. */
import { describe, expect, it } from "vitest";
import type { HostTcp, HostTcpEvents } from "../../../src/core/host-net.ts";
import { Pacer } from "../../../src/nat/inspect/paced-tcp.ts";
import { Meter } from "../../../src/nat/rules/meters.ts";

const MBIT = 125_000;
/** What a host socket reads at the most where nobody says less. */
const READ = 65_536;

/** A flow under a meter, with a host that always has `ready` bytes. */
class Download implements HostTcpEvents {
  readonly receiveLimit = 262_144;
  readonly socket: HostTcp;
  readonly taken: { readonly at: number; readonly len: number }[] = [];
  ready: number;
  events!: HostTcpEvents;
  paused = true;
  readonly #now: () => number;

  constructor(pacer: Pacer, meter: Meter, ready: number, now: () => number) {
    this.ready = ready;
    this.#now = now;
    meter.enter();
    this.socket = pacer.pace(this, [meter], (events) => {
      this.events = events;
      return {
        backlog: 0,
        local: null,
        write() {},
        end() {},
        pause: () => {
          this.paused = true;
        },
        resume: () => {
          this.paused = false;
        },
        reset() {},
      };
    });
    this.socket.resume();
  }

  /** One read, if the socket may be read and has something. */
  read(): void {
    if (this.paused || this.ready === 0) return;
    const len = Math.min(this.ready, this.events.readMost?.(true) ?? READ);
    this.ready -= len;
    this.events.onData(new Uint8Array(len), 0, len);
  }

  onData(_bytes: Uint8Array, _at: number, len: number): void {
    this.taken.push({ at: this.#now(), len });
  }

  onConnect(): void {}
  onEnd(): void {}
  onDrain(): void {}
  onClose(): void {}
}

/** Fifty endless downloads and one connection that gets 50 bytes each half second, under one rate for `seconds`. */
function share(seconds: number): { downloads: Download[]; waits: number[]; total: number } {
  let now = 0;
  const clock = { now: () => now };
  const pacer = new Pacer({ clock, wake() {} });
  const meter = new Meter({ text: "", up: null, down: MBIT, conns: null, opens: null, queries: null }, 0);
  const downloads = Array.from({ length: 50 }, () => new Download(pacer, meter, Number.POSITIVE_INFINITY, clock.now));
  const small = new Download(pacer, meter, 0, clock.now);
  const waits: number[] = [];
  let asked = -1;
  for (; now < seconds * 1000; now++) {
    if (now % 500 === 0 && small.ready === 0) {
      small.ready = 50;
      asked = now;
    }
    pacer.poll(now);
    for (const each of downloads) each.read();
    const before = small.taken.length;
    small.read();
    if (small.taken.length > before) waits.push(now - asked);
  }
  if (small.ready > 0) waits.push(now - asked);
  const total = downloads.flatMap(({ taken }) => taken).reduce((sum, { len }) => sum + len, 0);
  return { downloads, waits, total };
}

describe("fifty downloads under one rate of 1 Mbit/s", () => {
  it("leave a small answer its share: it waits no longer than a round of them all, of 2 KiB each", () => {
    const { waits } = share(30);
    expect(waits.length).toBeGreaterThan(15);
    expect(Math.max(...waits)).toBeLessThan(((51 * 2048) / MBIT) * 1000 + 300);
  });

  it("have the same, and all of the rate", () => {
    const { downloads, total } = share(30);
    const each = downloads.map(({ taken }) => taken.reduce((sum, { len }) => sum + len, 0));
    expect(Math.max(...each) / Math.min(...each)).toBeLessThan(1.5);
    expect(total).toBeGreaterThan(29 * MBIT);
    expect(total).toBeLessThan(30 * MBIT + 131_072 + 51 * 2048);
  });
});

it("one download alone has all of a high rate", () => {
  let now = 0;
  const pacer = new Pacer({ clock: { now: () => now }, wake() {} });
  const meter = new Meter({ text: "", up: null, down: 1000 * MBIT, conns: null, opens: null, queries: null }, 0);
  const only = new Download(pacer, meter, Number.POSITIVE_INFINITY, () => now);
  for (; now < 2000; now++) {
    pacer.poll(now);
    for (let i = 0; i < 10; i++) only.read();
  }
  const total = only.taken.reduce((sum, { len }) => sum + len, 0);
  expect(total).toBeGreaterThan(1.9 * 1000 * MBIT);
});

it("uploads under one rate are offered no more than it all together", () => {
  const clock = { now: () => 0 };
  const pacer = new Pacer({ clock, wake() {} });
  const meter = new Meter({ text: "", up: MBIT, down: null, conns: null, opens: null, queries: null }, 0);
  const uploads = Array.from({ length: 50 }, () => new Download(pacer, meter, 0, clock.now));
  const offered = uploads.reduce((sum, { socket }) => sum + socket.windowCap!, 0);
  expect(offered).toBeLessThanOrEqual(meter.up!.burst);
});
