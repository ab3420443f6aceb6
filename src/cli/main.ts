/**
 * The first lines of the command line. Signals are held before the rest is loaded, since loading takes a while, and
 * `run` starts the namespaces of its command meanwhile.
 */
import { holdSignals } from "./early-signals.ts";

async function start(args: readonly string[]): Promise<number> {
  const early = args[0] === "run" ? await import("./run/early.ts") : null;
  early?.beginEarly(args.slice(1));
  const { main } = await import("./command-line.ts");
  early?.advanceEarly();
  // Loading may take no turn of the event loop. Signals that came meanwhile are delivered now, before the second turn.
  for (let turn = 0; turn < 2; turn++) await new Promise(setImmediate);
  const status = await main(args);
  await early?.endEarly();
  return status;
}

holdSignals();
void start(process.argv.slice(2)).then((status) => process.exit(status));
