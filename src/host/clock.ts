/** The real clock: milliseconds since the process began, with fractions. Never goes back. */
import { performance } from "node:perf_hooks";
import type { Clock } from "../core/clock.ts";

export class HostClock implements Clock {
  now(): number {
    return performance.now();
  }
}
