/** The narrowest rule that would have let a refused flow pass, as its author would write it. */
import { endpointText } from "../../core/address.ts";
import { farName } from "./far-end.ts";
import type { Subject } from "./rules.ts";
import { isPrivate } from "./special-addresses.ts";

/**
 * The narrowest rule for a flow that only the default has allowed. Unlike a remedy, the rule for a ping names the host,
 * since the name may lead the next run to another address.
 */
export function needOf(subject: Subject, name: string | null, want: Want): string {
  const { direction, proto, remote, inside } = subject;
  const far = name === null ? null : farName(name);
  if (direction === "out" && proto === "icmp" && far !== null && inside !== true)
    return `allow icmp ${far}${isPrivate(remote) ? " private=allow" : ""}`;
  return remedyOf(subject, name, want) ?? `allow ${proto} ${remote.text}`;
}

/** What a refused flow lacks, although a rule is about it. */
export type Want = "ech" | "quic" | "unnamed" | null;

/**
 * A rule about the address where no rule can express the name. Null where no rule would help: a query for such a name,
 * the guests' own network, the port of a ping, malformed packets. A rule that denies comes first and has to be removed,
 * or moved behind.
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
