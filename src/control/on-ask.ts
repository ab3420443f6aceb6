/** The types of `onAsk`: the question about a flow that only the default would refuse, and the answers. */
import { ConfigError } from "./errors.ts";

/** A question whether to allow flows, which wait for the answer. */
export interface Question {
  /** The name of the question in `tslirp ctl asks`. */
  readonly id: string;
  /**
   * The rule that would allow the flows: `allow tcp api.example.org:443`. A name in another script has its `xn--`
   * form.
   */
  readonly rule: string;
  /** The protocol of the flows; "dns" is a query. */
  readonly proto: "tcp" | "udp" | "icmp" | "dns";
  /** The address of the guest whose flow came first, and its cable's name; null when the cable is not known. */
  readonly guest: string;
  readonly cable: string | null;
  /** The name by which the guest has found the far end, or that a DNS query asks for; null when there is none. */
  readonly host: string | null;
  /** The destination of the first flow: `IP:PORT`, or the address alone for ICMP. For a DNS query, the DNS server's. */
  readonly remote: string;
  /** How many flows wait for the answer, and how many milliseconds are left until they are refused. */
  readonly waiting: number;
  readonly millisLeft: number;
}

/**
 * "allow" and "deny" decide about the waiting flows only. "always" and "never" also add a rule behind the network's.
 */
export type AskVerdict = "allow" | "always" | "deny" | "never";

/**
 * Asked about flows that only the default would refuse, once for all flows that the same rule would allow. They wait
 * for the answer for up to 30 seconds, and the guest hears nothing meanwhile. `signal` is aborted when that time is
 * over, or when somebody else has answered (`tslirp ctl`). Throwing, rejecting and an invalid answer count as "deny",
 * and the event `askError` reports them.
 */
export type OnAsk = (question: Question & { readonly signal: AbortSignal }) => AskVerdict | Promise<AskVerdict>;

/** Throws `ConfigError` about an invalid answer. */
export function checkAskVerdict(field: string, verdict: AskVerdict): AskVerdict {
  if (["allow", "always", "deny", "never"].includes(verdict)) return verdict;
  throw new ConfigError(field, verdict, "expected allow, always, deny or never");
}
