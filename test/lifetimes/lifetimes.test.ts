import { test } from "vitest";
import { live } from "./world.ts";

const SEEDS = 40;
const STEPS = 200;

test(`machines that come and go in any order inherit nothing, leave nothing and are served (${SEEDS} seeds)`, async () => {
  for (let seed = 1; seed <= SEEDS; seed++) await live(seed, STEPS);
}, 120_000);
