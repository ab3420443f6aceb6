/** The option to record a network, for `tslirp replay`. */
import * as z from "zod/mini";
import { type NetworkGroup, something, TEXT } from "./description.ts";

const RECORD = 'expected a new file\'s name, or { file: "run.tslirp", payload: false }';

export const RECORDING: NetworkGroup<"record"> = {
  record: {
    flag: "--record <file>",
    reading: TEXT,
    type: "string | RecordOptions",
    help: "record the network's input and output for `tslirp replay`, in a new file, or in one in an existing folder",
    more: "[docs/recording.md](recording.md) tells what is in it.",
    shape: () =>
      z.union(
        [something(RECORD), z.strictObject({ file: something(RECORD), payload: z.optional(z.boolean()) })],
        RECORD,
      ),
  },
};
