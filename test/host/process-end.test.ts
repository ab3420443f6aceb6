/** The end of a process that is no child of ours is told, without looking for it now and then. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, it } from "vitest";
import { libc } from "../../src/host/libc.ts";
import { whenProcessEnds } from "../../src/host/process-end.ts";

const skipped = libc() === null ? " (SKIPPED: koffi)" : "";

it.skipIf(libc() === null)(`is told once, and not after it has been given up${skipped}`, async () => {
  const processes = [0, 1].map(() => spawn("sleep", ["60"], { stdio: "ignore" }));
  let ends = 0;
  const told = new Promise<void>((resolve) => {
    whenProcessEnds(processes[0]!.pid!, () => {
      ends++;
      resolve();
    });
  });
  const stop = whenProcessEnds(processes[1]!.pid!, () => expect.unreachable("it was given up"));
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(ends).toBe(0);
  stop!();
  for (const process of processes) process.kill();
  await Promise.all([told, ...processes.map((process) => once(process, "exit"))]);
  await new Promise((resolve) => setImmediate(resolve));
  expect(ends).toBe(1);
  expect(whenProcessEnds(processes[0]!.pid!, () => {})).toBe(null);
});
