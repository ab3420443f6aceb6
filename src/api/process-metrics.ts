/** prom-client's metrics of the process, without those that wake the process a hundred times a second to measure. */
import { collectDefaultMetrics, type Registry } from "prom-client";

/** Milliseconds between two samples of the event loop: the longest that a timer may be, so in effect none are taken. */
const NEVER = 2_147_483_647;
/** Metrics that need such samples. `nodejs_eventloop_lag_seconds` is measured on request, and stays. */
const LOOKED_FOR = ["min", "max", "mean", "stddev", "p50", "p90", "p99"];

export function collectProcessMetrics(register: Registry): void {
  collectDefaultMetrics({ register, eventLoopMonitoringPrecision: NEVER });
  for (const what of LOOKED_FOR) register.removeSingleMetric(`nodejs_eventloop_lag_${what}_seconds`);
  // These are gauges with a counter's name, which exist under their proper names, too.
  for (const name of ["handles", "requests", "resources"]) register.removeSingleMetric(`nodejs_active_${name}_total`);
}
