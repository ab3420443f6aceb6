#!/usr/bin/env node
/** The command line's first lines: signals are kept before all else is loaded, which takes a good part of a second. */
import { holdSignals } from "./early-signals.ts";

holdSignals();
const { main } = await import("./command-line.ts");
process.exit(await main(process.argv.slice(2)));
