/** Options about the process: processor time, memory, and the network's end. */
import { limitsShape } from "../limits.ts";
import { abortSignal } from "../shape.ts";
import { type NetworkGroup, TEXT, wholeNumber } from "./description.ts";

/** Microseconds. */
export const MAX_BUSY_POLL = 1000;

export const PROCESS: NetworkGroup<"busyPoll" | "limits" | "signal"> = {
  busyPoll: {
    flag: "--busy-poll <microseconds>",
    reading: { as: "number", min: 0, max: MAX_BUSY_POLL, unit: "microseconds" },
    type: "number",
    help: `microseconds, at most ${MAX_BUSY_POLL}, that the process stays awake after a packet when another is likely to follow`,
    initial: "100; on a single processor 0, never",
    more: "It halves the time of a request and its answer.",
    shape: () => wholeNumber(0, MAX_BUSY_POLL, `expected a whole number of microseconds up to ${MAX_BUSY_POLL}`),
  },
  limits: {
    flag: "--max <name=number>",
    reading: { as: "texts" },
    type: "LimitsOptions",
    help: "a cap on what guests may use, all together or each: `tcpFlows=4000`, `udpFlowsPerGuest=500`",
    more: "[docs/limits.md](limits.md) lists them.",
    shape: limitsShape,
  },
  signal: {
    flag: null,
    reading: TEXT,
    type: "AbortSignal",
    help: "closes the network when it is aborted",
    shape: abortSignal,
  },
};
