/** The command line's first lines: signals are kept before all else is loaded, which takes a while. */
import { holdSignals } from "./early-signals.ts";

holdSignals();
void import("./command-line.ts").then(async ({ main }) => {
  // Loading may take no turn of the loop: what has come meanwhile is told now, before the second one of these.
  for (let turn = 0; turn < 2; turn++) await new Promise(setImmediate);
  process.exit(await main(process.argv.slice(2)));
});
