/** A large transfer leaves room for something small beside it, and has all it can while it is alone. */
import { describe, expect, test } from "vitest";
import { resolveOptions } from "../../src/control/options.ts";
import type { TcpFlow } from "../../src/nat/tcp-flow.ts";
import { TcpNat, type TcpSurroundings } from "../../src/nat/tcp-nat.ts";
import { SeededRandom } from "../support/random.ts";

const KIB = 1_024;

function nat(): TcpNat {
  return new TcpNat(resolveOptions({ mtu: 1500 }).stack, { random: new SeededRandom(1) } as unknown as TcpSurroundings);
}

function flow(): TcpFlow {
  return { intervalBytes: 0, large: false } as TcpFlow;
}

/** Every millisecond each flow's host sends so many bytes. */
function run(n: TcpNat, millis: [from: number, to: number], ...flows: readonly (readonly [TcpFlow, number])[]): void {
  for (let now = millis[0]; now < millis[1]; now++) for (const [f, len] of flows) n.shares.receiving(f, len, now);
}

test("eight large transfers alone are not held back", () => {
  const n = nat();
  const flows = Array.from({ length: 8 }, () => [flow(), 64 * KIB] as const);
  run(n, [0, 100], ...flows);
  expect(n.shares.largeFlight).toBe(Number.POSITIVE_INFINITY);
});

test("beside something small a large transfer has an eighth of a megabyte under way, four have a share of it", () => {
  const n = nat();
  const [large, small] = [flow(), flow()];
  run(n, [0, 50], [large, 256 * KIB], [small, 1]);
  expect(n.shares.largeFlight).toBe(128 * KIB);
  expect([large.large, small.large]).toEqual([true, false]);
  const more = Array.from({ length: 3 }, () => [flow(), 256 * KIB] as const);
  run(n, [50, 100], [large, 256 * KIB], [small, 1], ...more);
  expect(n.shares.largeFlight).toBe(32 * KIB);
});

test("it is over when nothing small has come for a while", () => {
  const n = nat();
  const [large, small] = [flow(), flow()];
  run(n, [0, 50], [large, 256 * KIB], [small, 1]);
  run(n, [50, 80], [large, 256 * KIB]);
  expect(n.shares.largeFlight).toBe(Number.POSITIVE_INFINITY);
});

test("never less than six packets, whatever the MTU", () => {
  const n = new TcpNat(resolveOptions({ mtu: 65_520 }).stack, {
    random: new SeededRandom(1),
  } as unknown as TcpSurroundings);
  run(n, [0, 50], [flow(), 256 * KIB], [flow(), 1]);
  expect(n.shares.largeFlight).toBe(6 * 65_520);
});

describe("the window that senders share", () => {
  function windows(mss: number, receiveMost?: number): number[] {
    const limits = receiveMost === undefined ? {} : { receiveBuffer: receiveMost };
    const { shares } = new TcpNat(resolveOptions({ limits }).stack, {
      random: new SeededRandom(1),
    } as unknown as TcpSurroundings);
    return [1, 8, 100].map((senders) => {
      shares.sending(senders);
      return shares.receiveLimit(mss);
    });
  }

  test("is a megabyte where packets are of 1500 bytes, of which one alone has a quarter", () => {
    expect(windows(1460)).toEqual([256 * KIB, 128 * KIB, 0xffff]);
  });

  test("is 64 packets where they are larger, of which one alone has 16, and nobody less than two", () => {
    expect(windows(65_480)).toEqual([16 * 65_480, 8 * 65_480, 2 * 65_480]);
  });

  test("is never more than the limit", () => {
    expect(windows(65_480, 100_000)).toEqual([100_000, 100_000, 100_000]);
  });
});
