/** prom-client's metrics of the process, but for those that wake it up a hundred times a second to be measured. */
import { collectDefaultMetrics, type Registry } from "prom-client";

/** Milliseconds between two looks at the event loop: as long as a timer may be, so that there is none. */
const NEVER = 2_147_483_647;
/** What those looks would give. `nodejs_eventloop_lag_seconds` is measured when it is asked for, and stays. */
const LOOKED_FOR = ["min", "max", "mean", "stddev", "p50", "p90", "p99"];

export function collectProcessMetrics(register: Registry): void {
  collectDefaultMetrics({ register, eventLoopMonitoringPrecision: NEVER });
  for (const what of LOOKED_FOR) register.removeSingleMetric(`nodejs_eventloop_lag_${what}_seconds`);
  // Gauges by a counter's name, which stand there under their proper one as well.
  for (const name of ["handles", "requests", "resources"]) register.removeSingleMetric(`nodejs_active_${name}_total`);
}
