/** The command line's first lines: signals are held before anything else is loaded, since loading takes a while. */
import { holdSignals } from "./early-signals.ts";

holdSignals();
void import("./command-line.ts").then(async ({ main }) => {
  // Loading may take no turn of the loop. Signals that came meanwhile are delivered now, before the second of these
  // turns.
  for (let turn = 0; turn < 2; turn++) await new Promise(setImmediate);
  process.exit(await main(process.argv.slice(2)));
});
