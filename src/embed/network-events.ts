/** A network's events: their names, and the arguments of their listeners. */
import type { Question } from "../control/on-ask.ts";
import type { Flow } from "../control/on-flow.ts";
import type { TraceEvent } from "../core/trace.ts";
import type { DropSummary } from "./drops.ts";

type EventOf<T extends TraceEvent["type"]> = Omit<Extract<TraceEvent, { type: T }>, "type">;

/** A refused flow. Queries for one name within a moment (A and AAAA, of both families' servers) make one refusal. */
export type Refusal = Omit<EventOf<"flow-refused">, "qtype"> & {
  /** The record types that queries have asked for: `["A", "AAAA"]`. Absent for flows that are no DNS queries. */
  readonly types?: readonly string[];
};

/** Events, with the arguments of their listeners. Listeners run after the network's own call has returned. */
export interface NetworkEvents {
  /** A guest has got an address by DHCP or DHCPv6, or an address has become free again. */
  lease: [lease: EventOf<"lease">];
  /** A flow has begun. */
  flowOpen: [flow: EventOf<"flow-open">];
  /** A flow has ended; `reason` says why, and `bytesUp` and `bytesDown` how much it has carried. */
  flowClose: [flow: EventOf<"flow-close">];
  /** The transfer of a file by TFTP has ended, complete or not. */
  tftp: [transfer: EventOf<"tftp">];
  /** A line that the program of a guest forward has written to its standard error. */
  programOutput: [line: EventOf<"program-output">];
  /** The DNS server has answered a query, after `millis` milliseconds. */
  dns: [query: EventOf<"dns">];
  /** A rule has refused a flow, or ended one when the rules changed. */
  flowRefused: [refusal: Refusal];
  /** A question waits for an answer; for programs that show questions to people. @internal */
  ask: [question: Question];
  /** A rule or the default has allowed a flow. Emitted only with the option `learn`, or `allowed` of `audit`. */
  flowAllowed: [flow: EventOf<"flow-allowed">];
  /** Packets or connections were dropped. For each reason there is at most one event a second. */
  drop: [drop: DropSummary];
  /** `onFlow` has thrown, has given an invalid answer, or has not answered in time. The flow was refused. */
  flowError: [error: Error, flow: Flow];
  /** `onAsk` has thrown or has given an invalid answer. The flows were refused. */
  askError: [error: Error, question: Question];
  /** Guests want something that this host does not offer. The notice is one line that says how to change that. */
  notice: [notice: EventOf<"notice">];
}

/** The event for each type of report from the stack. */
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
