/** The narrowest rule that would have let a refused flow pass, as its author would write it. */
import { endpointText } from "../../core/address.ts";
import type { Subject } from "./rules.ts";
import { isPrivate } from "./special-addresses.ts";

/**
 * The narrowest rule for a flow that nothing but the default has allowed. Unlike a remedy, one for a ping is about the name:
 * the next run may be led to another address by it.
 */
export function needOf(subject: Subject, name: string | null, want: Want): string {
  const { direction, proto, remote, inside } = subject;
  if (direction === "out" && proto === "icmp" && name !== null && inside !== true)
    return `allow icmp ${name}${isPrivate(remote) ? " private=allow" : ""}`;
  return remedyOf(subject, name, want) ?? `allow ${proto} ${remote.text}`;
}

/** What a refused flow was short of, beside a rule that is about it. */
export type Want = "ech" | "quic" | "unnamed" | null;

/**
 * Null where no rule is about it: the guests' own network, ICMP's far end apart from its address, what is malformed. A rule that
 * denies stands before it, and has to go or to stand behind.
 */
export function remedyOf(subject: Subject, name: string | null, want: Want = null): string | null {
  const { direction, proto, remote, port, inside } = subject;
  if (proto === "dns") return name === null ? null : `allow dns ${name}`;
  if (direction === "in") return `allow in ${proto} ${remote.text}${proto === "icmp" ? "" : ` port ${port}`}`;
  if (proto === "icmp") return `allow icmp ${remote.text}`;
  if (name === null || inside === true) return `allow ${proto} ${endpointText({ host: remote.text, port })}`;
  const words = [`allow ${proto} ${name}:${port}`];
  if (isPrivate(remote)) words.push("private=allow");
  if (want !== null) words.push(`${want}=allow`);
  return words.join(" ");
}
