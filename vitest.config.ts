import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

export default defineConfig({
  // The recipes of docs/library.md import the package by its name.
  resolve: { alias: { tslirp: new URL("src/index.ts", import.meta.url).pathname } },
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["test/support/built.ts"],
    setupFiles: ["test/support/properties.ts", "test/support/own-runtime-folder.ts"],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // In CI a test may be tried twice: machines that others use stall at times. The end of the run names each that needed it.
    retry: process.env.CI === undefined ? 0 : 1,
    pool: "forks",
    // Most files wait for processes, guests and sockets: on two processors, too, two at a time take less than one after the other.
    maxWorkers: Math.max(2, availableParallelism() - 1),
  },
});
