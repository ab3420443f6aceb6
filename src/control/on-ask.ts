/** The shape of `onAsk`: what it is told about a flow that only the default would refuse, and what it may answer. */
import { ConfigError } from "./errors.ts";

/** A question that waits for its answer. */
export interface Question {
  /** Names it in `tslirp ctl asks`. */
  readonly id: string;
  /** The rule that would allow it: `allow tcp api.example.org:443`. A name in another script stands there as `xn--`. */
  readonly rule: string;
  readonly proto: "tcp" | "udp" | "icmp" | "dns";
  /** The guest that asked first, and its cable. */
  readonly guest: string;
  readonly cable: string | null;
  /** The name by which the guest knows the far end, or that it asks for. */
  readonly host: string | null;
  /** Where the first flow wants to go: `IP:PORT`; the address alone with ICMP, the DNS server's with a query. */
  readonly remote: string;
  /** Flows that wait for it, and how many milliseconds it is before they are refused. */
  readonly waiting: number;
  readonly millisLeft: number;
}

/** "allow" and "deny" are about the flows that wait; "always" and "never" become rules as well, the last ones. */
export type AskVerdict = "allow" | "always" | "deny" | "never";

/**
 * Asked about what only the default would refuse, once for all flows that one rule would allow. They wait for the answer,
 * 30 seconds at the most, with nothing sent to the guest; `signal` is aborted when it comes too late, or somebody else has answered (`tslirp
 * ctl`). Throwing, rejecting and nonsense are "deny"; the event `askError` tells of it.
 */
export type OnAsk = (question: Question & { readonly signal: AbortSignal }) => AskVerdict | Promise<AskVerdict>;

/** Throws `ConfigError` about what is no verdict. */
export function checkAskVerdict(field: string, verdict: AskVerdict): AskVerdict {
  if (["allow", "always", "deny", "never"].includes(verdict)) return verdict;
  throw new ConfigError(field, verdict, "expected allow, always, deny or never");
}
