/** The narrowest rule that would have let a refused flow pass, as its author would write it. */
import { endpointText } from "../../core/address.ts";
import { farName } from "./far-end.ts";
import type { Subject } from "./rules.ts";
import { isPrivate } from "./special-addresses.ts";

/**
 * The narrowest rule for a flow that nothing but the default has allowed. Unlike a remedy, one for a ping is about the name:
 * the next run may be led to another address by it.
 */
export function needOf(subject: Subject, name: string | null, want: Want): string {
  const { direction, proto, remote, inside } = subject;
  const far = name === null ? null : farName(name);
  if (direction === "out" && proto === "icmp" && far !== null && inside !== true)
    return `allow icmp ${far}${isPrivate(remote) ? " private=allow" : ""}`;
  return remedyOf(subject, name, want) ?? `allow ${proto} ${remote.text}`;
}

/** What a refused flow was short of, beside a rule that is about it. */
export type Want = "ech" | "quic" | "unnamed" | null;

/**
 * About the address where no rule can say the name. Null where no rule is about it: a query for such a name, the guests' own
 * network, ICMP's far end apart from its address, what is malformed. A rule that denies stands before it, and has to go or to
 * stand behind.
 */
export function remedyOf(subject: Subject, name: string | null, want: Want = null): string | null {
  const { direction, proto, remote, port, inside } = subject;
  const far = name === null ? null : farName(name);
  if (proto === "dns") return far === null ? null : `allow dns ${far}`;
  if (direction === "in") return `allow in ${proto} ${remote.text}${proto === "icmp" ? "" : ` port ${port}`}`;
  if (proto === "icmp") return `allow icmp ${remote.text}`;
  if (far === null || inside === true) return `allow ${proto} ${endpointText({ host: remote.text, port })}`;
  const words = [`allow ${proto} ${far}:${port}`];
  if (isPrivate(remote)) words.push("private=allow");
  if (want !== null) words.push(`${want}=allow`);
  return words.join(" ");
}
