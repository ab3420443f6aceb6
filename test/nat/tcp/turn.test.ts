/** What host sockets bring in one turn of the event loop goes to the guest in one write. */
import { expect, test } from "vitest";
import { resolveOptions } from "../../../src/control/options.ts";
import type { Link } from "../../../src/core/link.ts";
import { NO_TRACE } from "../../../src/core/trace.ts";
import { Flusher } from "../../../src/stack/flusher.ts";
import { Stack } from "../../../src/stack.ts";
import { ManualClock } from "../../support/clock.ts";
import { FakeHost } from "../../support/fake-host.ts";
import { encodeFrame } from "../../support/frames.ts";
import { SeededRandom } from "../../support/random.ts";

const FAR = { host: "198.51.100.1", port: 53 };

/** Guest's frames that draw an answer each: segments without a connection. */
const STRAY = encodeFrame({
  eth: { src: "52:54:00:12:34:56", dst: "52:55:0a:00:02:02" },
  ip: { src: "10.0.2.15", dst: FAR.host },
  tcp: { srcPort: 1_000, dstPort: 80, flags: "ACK" },
});

interface Started {
  answers: (count: number) => void;
  /** The guest sends so many stray segments in one read. */
  strays: (count: number) => void;
  flushes: number[];
  turns: (() => void)[];
  /** How often the stack has said that something came. */
  stirred: () => number;
}

/** A guest that has spoken with `FAR`, which `answers` so many times in one turn. */
function started(): Started {
  const host = new FakeHost();
  const turns: (() => void)[] = [];
  let stirs = 0;
  const stack = new Stack(resolveOptions({ mtu: 1500 }).stack, {
    ...{ host, clock: new ManualClock(0), random: new SeededRandom(1), trace: NO_TRACE },
    dns: { query: (_query, _tcp, onAnswer) => onAnswer(null), close() {} },
    endOfTurn: (run) => void turns.push(run),
    stirred: () => void stirs++,
  });
  /** How many frames each flush took. */
  const flushes: number[] = [];
  let frames = 0;
  const link: Link = {
    ...{ tx: new Uint8Array(2_048), name: "test", close() {} },
    reserve: () => 0,
    commit: () => void frames++,
    flush() {
      flushes.push(frames);
      frames = 0;
    },
  };
  const bytes = encodeFrame({
    eth: { src: "52:54:00:12:34:56", dst: "52:55:0a:00:02:02" },
    ip: { src: "10.0.2.15", dst: FAR.host },
    udp: { srcPort: 1_000, dstPort: FAR.port },
    payload: new Uint8Array(4),
  });
  const far = host.udpFar(FAR);
  stack.attached(link);
  stack.receive(link, { bytes, scarce: false, pin() {}, unpin() {} }, 0, bytes.length);
  stack.batchEnd(link);
  const answers = (count: number): void => {
    for (let i = 0; i < count; i++) far.send("answer", far.received[0]!.from);
    host.run();
  };
  const strays = (count: number): void => {
    const slab = { bytes: STRAY, scarce: false, pin() {}, unpin() {} };
    for (let i = 0; i < count; i++) stack.receive(link, slab, 0, STRAY.length);
    stack.batchEnd(link);
  };
  return { answers, strays, flushes, turns, stirred: () => stirs };
}

test("what a turn brings waits for its end, and goes out in one flush", () => {
  const { answers, flushes, turns } = started();
  answers(3);
  expect(flushes).toEqual([]);
  expect(turns.length).toBe(1);
  turns[0]!();
  expect(flushes).toEqual([3]);
  answers(1);
  expect(turns.length).toBe(2);
  turns[1]!();
  expect(flushes).toEqual([3, 1]);
});

test("a turn that brings very much is flushed before its end, so that the cable does not fill up", () => {
  const { answers, flushes, turns } = started();
  answers(20);
  expect(flushes).toEqual([16]);
  turns[0]!();
  expect(flushes).toEqual([16, 4]);
});

test("what answers a small read goes out with what the host says in the next turn", () => {
  const { answers, strays, flushes, turns } = started();
  strays(1);
  turns[0]!();
  expect(flushes).toEqual([]);
  answers(1);
  expect(turns.length).toBe(2);
  turns[1]!();
  expect(flushes).toEqual([2]);
});

test("and without that at that turn's end", () => {
  const { strays, flushes, turns } = started();
  strays(1);
  strays(1);
  turns[0]!();
  expect(flushes).toEqual([]);
  turns[1]!();
  expect(flushes).toEqual([2]);
  expect(turns.length).toBe(2);
});

test("what answers a large read goes out at once", () => {
  const { strays, flushes } = started();
  strays(200);
  expect(flushes).toEqual([200]);
});

test("what a host says that is nothing to a guest asks for no turn", () => {
  const turns: (() => void)[] = [];
  const flusher = new Flusher(
    (run) => void turns.push(run),
    () => false,
  );
  flusher.soon();
  expect(turns).toEqual([]);
});

test("each read of a guest's and each callback of a host's is told of, with or without an answer: the loop may stay awake for more", () => {
  const { answers, strays, stirred } = started();
  expect(stirred()).toBe(1);
  strays(3);
  expect(stirred()).toBe(2);
  answers(2);
  expect(stirred()).toBe(4);
});
