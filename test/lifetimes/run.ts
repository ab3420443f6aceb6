/**
 * `npm run test:lifetimes -- [--minutes N] [--seed S] [--steps N]`: worlds of one seed after another from S (1), each of N
 * steps (400), for N minutes (1). The first that fails is printed with its seed and its last steps, and is the exit status.
 */
import { parseArgs } from "node:util";
import { live } from "./world.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "1" },
    seed: { type: "string", default: "1" },
    steps: { type: "string", default: "400" },
  },
});
const [minutes, first, steps] = [Number(values.minutes), Number(values.seed), Number(values.steps)];
if (!(minutes > 0) || !Number.isInteger(first) || !(Number.isInteger(steps) && steps > 0)) {
  console.error("lifetimes: expected --minutes N (more than 0), --seed S and --steps N (whole numbers)");
  process.exit(2);
}
const end = Date.now() + minutes * 60_000;
let seed = first;
try {
  for (; Date.now() < end; seed++) {
    await live(seed, steps);
    // A world is nothing but microtasks. What the garbage collector finds is given back in turns of the event loop only.
    await new Promise((resolve) => setImmediate(resolve));
  }
  console.log(`seeds ${first} to ${seed - 1}, ${steps} steps each: ok`);
} catch (error) {
  console.error((error as Error).message);
  process.exitCode = 1;
}
