/** When two builds' figures are said to differ. */
import { describe, expect, it } from "vitest";
import { compare } from "../../bench/system/statistics.ts";
import { SeededRandom } from "../support/random.ts";

describe("a verdict", () => {
  it("is faster or slower when every run says so by about the same", () => {
    const half = [
      [100, 49],
      [200, 101],
      [80, 41],
    ] as const;
    expect(compare(half, "more")).toMatchObject({ verdict: "slower" });
    expect(compare(half, "less")).toMatchObject({ verdict: "faster" });
    expect(compare(half, "more").ratio).toBeCloseTo(0.5, 1);
  });

  it("tells no difference where runs differ more among each other than the builds", () => {
    const noise = [
      [100, 130],
      [100, 90],
      [100, 105],
    ] as const;
    const { low, high, verdict } = compare(noise, "more");
    expect(verdict).toBe("no difference that can be told");
    expect(low).toBeLessThan(1);
    expect(high).toBeGreaterThan(1);
  });

  it("is none from two runs, whatever they say", () => {
    expect(
      compare(
        [
          [1, 2],
          [1, 2],
        ],
        "more",
      ).verdict,
    ).toBe("too few runs");
    expect(compare([], "more").verdict).toBe("too few runs");
  });

  it("is not fooled more than one time in twenty by builds that are the same", () => {
    const random = new SeededRandom(1);
    const figure = (): number => 100 + (random.u32() % 21) + (random.u32() % 21);
    let wrong = 0;
    for (let i = 0; i < 1_000; i++) {
      const pairs = Array.from({ length: 5 }, () => [figure(), figure()] as const);
      if (compare(pairs, "more").verdict !== "no difference that can be told") wrong++;
    }
    expect(wrong).toBeGreaterThan(20);
    expect(wrong).toBeLessThan(75);
  });
});
