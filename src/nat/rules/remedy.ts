/** The narrowest rule that would have let a refused flow pass, as its author would write it. */
import { endpointText } from "../../core/address.ts";
import type { Subject } from "./rules.ts";
import { isPrivate } from "./special-addresses.ts";

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
