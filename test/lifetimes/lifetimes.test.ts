import { test } from "vitest";
import { live } from "./world.ts";

const SEEDS = 40;
const STEPS = 200;

test(`machines that come and go in any order inherit nothing, leave nothing and are served (${SEEDS} seeds)`, async () => {
  for (let seed = 1; seed <= SEEDS; seed++) await live(seed, STEPS);
}, 120_000);

test("a network that closes in the middle of everything tells everybody, leaves nothing and begins nothing", async () => {
  for (let seed = 1; seed <= SEEDS; seed++) await live(5_000 + seed, 20 + seed, "teardown");
}, 60_000);

// Answers to probes of a window that was shut have to arrive before the connection is given up.
test("a machine that hears again after minutes is sent what it has not heard", () => live(71_655, 200), 60_000);
