/**
 * Why a flow ends, and how each side learns of it: the one table from a reason to RST, ICMP and errno.
 *
 * The table's columns are TCP's. When a flow of datagrams ends, its socket is closed, and a taker is told of the end;
 * no message goes to the guest. An error code of the host's is a reason, too.
 */
import { type IcmpCause, icmpCauseOfCode, NO_HOST, PROHIBITED } from "../icmp/icmp-cause.ts";

/** Reasons of our own, beside the host's errors. */
export type OwnReason =
  | "closed"
  | "reset"
  | "timeout"
  | "undeliverable"
  | "half-open"
  | "guest-gone"
  | "replaced"
  | "refused"
  | "denied"
  | "policy"
  | "conn-limit"
  | "rules"
  | "idle"
  | "recycled"
  | "network closed";
/** A reason of our own, or the code of a host socket's error, such as ECONNREFUSED. */
export type CloseReason = OwnReason | (string & {});

/**
 * How the guest learns of the end. "told": it has had its last segment already. "silence": it is left to find out
 * itself.
 */
export interface Closing {
  readonly guest: "told" | "rst" | "silence" | "icmp" | "icmp and rst";
  readonly cause: IcmpCause;
  /** The error that the host's side sees; null when that side has ended by itself. */
  readonly errno: string | null;
}

const OWN: Readonly<Record<OwnReason, Closing>> = {
  /** Both sides have ended in order. */
  closed: closing("told", null),
  /** The guest has sent RST. */
  reset: closing("told", "ECONNRESET"),
  /** The guest does not answer: `proto/tcp` has sent RST. */
  timeout: closing("told", "ETIMEDOUT"),
  /** The host's end has ended in order, and the guest still sends. */
  undeliverable: closing("rst", null),
  /** It made room before it was established. The guest may try again; a forward's client has waited too long. */
  "half-open": closing("silence", "ETIMEDOUT"),
  /** The guest's cable is gone, and the guest has not come back in time. */
  "guest-gone": closing("rst", "EHOSTUNREACH"),
  /** Another machine has the guest's address now. */
  replaced: closing("rst", "ECONNRESET"),
  /** The guest has answered that nobody listens on the port. */
  refused: closing("rst", "ECONNREFUSED"),
  /** A rule or `onFlow` refuses the flow, or has come to refuse it. */
  denied: closing("rst", "EACCES"),
  policy: closing("rst", "EACCES"),
  "conn-limit": closing("rst", "EACCES"),
  /** The flow began while nobody judged flows. It ends, and is judged when the guest begins it again. */
  rules: closing("rst", "EACCES"),
  /** The flow has been silent too long. */
  idle: closing("silence", "ETIMEDOUT"),
  /** The flow made room for another. */
  recycled: closing("silence", "ECONNRESET"),
  "network closed": closing("rst", "ENETDOWN"),
};

function closing(guest: Closing["guest"], errno: string | null, cause: IcmpCause = PROHIBITED): Closing {
  return { guest, errno, cause };
}

/** How both sides learn of an end for a reason of ours, or for a host's error after the host had connected. */
export function closingOf(reason: CloseReason): Closing {
  return (OWN as Readonly<Record<string, Closing | undefined>>)[reason] ?? closing("rst", null);
}

/**
 * How the guest learns that the host could not connect. If the host was refused, the guest gets a RST. If the far end is
 * unreachable, the guest gets an ICMP error, which a guest in SYN-SENT believes (RFC 5461), and a RST in case it does not.
 * If the far end never answered, the guest gets nothing: it has a time-out of its own.
 */
export function closingOfDial(code: string): Closing {
  if (code === "ETIMEDOUT") return closing("silence", null);
  if (code === "ECONNREFUSED" || code === "ECONNRESET") return closing("rst", null);
  return closing("icmp and rst", null, icmpCauseOfCode(code) ?? NO_HOST);
}

/** How the guest learns that its connection was refused before it began. */
export function closingOfRuling(how: "reset" | "icmp" | "drop"): Closing {
  return closing(how === "reset" ? "rst" : how === "icmp" ? "icmp" : "silence", null);
}
