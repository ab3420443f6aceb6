/** A network's events: their names, and what their listeners are given. */
import type { Question } from "../control/on-ask.ts";
import type { Flow } from "../control/on-flow.ts";
import type { TraceEvent } from "../core/trace.ts";
import type { DropSummary } from "./drops.ts";

type EventOf<T extends TraceEvent["type"]> = Omit<Extract<TraceEvent, { type: T }>, "type">;

/** A refusal. One record tells of a query that is asked in several ways: as A and AAAA, of both families' servers. */
export type Refusal = Omit<EventOf<"flow-refused">, "qtype"> & {
  /** What a query has asked for: `["A", "AAAA"]`. */
  readonly types?: readonly string[];
};

/** Events and what their listeners are given. Listeners run after the network's own call has returned. */
export interface NetworkEvents {
  lease: [lease: EventOf<"lease">];
  flowOpen: [flow: EventOf<"flow-open">];
  flowClose: [flow: EventOf<"flow-close">];
  /** A file's transfer has ended, well or not. */
  tftp: [transfer: EventOf<"tftp">];
  /** What a guest forward's program says on its standard error. */
  programOutput: [line: EventOf<"program-output">];
  dns: [query: EventOf<"dns">];
  /** A rule has refused a flow, or ended one when the rules changed. */
  flowRefused: [refusal: Refusal];
  /** A question waits, for those who show it to people. @internal */
  ask: [question: Question];
  /** A flow may begin; told with the options `learn` and `auditAllowed`. */
  flowAllowed: [flow: EventOf<"flow-allowed">];
  /** Packets or connections were dropped for this reason: at most one event of a reason in a second. */
  drop: [drop: DropSummary];
  /** `onFlow` has thrown, answered nonsense, or not answered; the flow was refused. */
  flowError: [error: Error, flow: Flow];
  /** `onAsk` has thrown, or answered nonsense; the flows were refused. */
  askError: [error: Error, question: Question];
  /** Something that guests want is not to be had on this host; a line that says what would allow it. */
  notice: [notice: EventOf<"notice">];
}

/** Which of them tells what the stack reports. */
export const EVENT_NAMES: Readonly<Record<TraceEvent["type"], keyof NetworkEvents>> = {
  lease: "lease",
  "flow-open": "flowOpen",
  "flow-close": "flowClose",
  "flow-refused": "flowRefused",
  "flow-allowed": "flowAllowed",
  tftp: "tftp",
  "program-output": "programOutput",
  dns: "dns",
  notice: "notice",
};
