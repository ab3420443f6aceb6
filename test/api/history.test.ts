/** What the API remembers of a network's throughput, by a clock that the test moves. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { History } from "../../src/api/history.ts";
import type { Network } from "../../src/index.ts";

let bytesIn = 0;
const network = { stats: () => ({ bytesIn, bytesOut: 2 * bytesIn }) } as unknown as Network;
beforeEach(() => {
  bytesIn = 0;
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

test("samples each second from the first look on, as bits a second and the oldest first", () => {
  const history = new History(network);
  vi.advanceTimersByTime(5_000);
  expect(history.samples()).toEqual([]);
  bytesIn = 1_000;
  vi.advanceTimersByTime(1_000);
  bytesIn = 1_500;
  vi.advanceTimersByTime(1_000);
  expect(history.samples()).toEqual([
    { ago: 1_000, up: 8_000, down: 16_000 },
    { ago: 0, up: 4_000, down: 8_000 },
  ]);
  history.close();
  expect(vi.getTimerCount()).toBe(0);
});

test("keeps ten minutes, and wakes nobody once it has not been asked for so long", () => {
  const history = new History(network);
  history.samples();
  for (let minutes = 0; minutes < 30; minutes++) {
    vi.advanceTimersByTime(60_000);
    history.samples();
  }
  expect(history.samples().length).toBeLessThanOrEqual(600);
  expect(history.samples().length).toBeGreaterThan(590);
  vi.advanceTimersByTime(602_000);
  expect(vi.getTimerCount()).toBe(0);
  // Hours later what is old is not told as if it were new.
  vi.advanceTimersByTime(7_200_000);
  expect(history.samples()).toEqual([]);
  vi.advanceTimersByTime(1_000);
  expect(history.samples()).toEqual([{ ago: 0, up: 0, down: 0 }]);
  history.close();
});
