/** The first lines of the command line. Signals are held before the rest is loaded, since loading takes a while. */
import { holdSignals } from "./early-signals.ts";

holdSignals();
void import("./command-line.ts").then(async ({ main }) => {
  // Loading may take no turn of the event loop. Signals that came meanwhile are delivered now, before the second turn.
  for (let turn = 0; turn < 2; turn++) await new Promise(setImmediate);
  process.exit(await main(process.argv.slice(2)));
});
