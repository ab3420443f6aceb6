/**
 * Why a flow ends, and what each side is told: the one table from a reason to RST, ICMP and errno.
 *
 * A flow of datagrams has nobody to tell: its socket is closed, and whoever took it over is told that it is over. So the
 * table's columns are TCP's. A host's own error is a reason, too, by its code.
 */
import { type IcmpCause, icmpCauseOfCode, NO_HOST, PROHIBITED } from "../icmp/icmp-cause.ts";

/** Ends that do not come from a host's error. */
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
/** A reason of ours, or a host socket's code (ECONNREFUSED). */
export type CloseReason = OwnReason | (string & {});

/** How the guest learns of it: "told" when it has had its last segment already, "silence" when it is to find out itself. */
export interface Closing {
  readonly guest: "told" | "rst" | "silence" | "icmp" | "icmp and rst";
  readonly cause: IcmpCause;
  /** The error that the host's side sees; null when that has ended by itself. */
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
  /** It made room before it was established: the guest may try again, a client of a forward has waited too long. */
  "half-open": closing("silence", "ETIMEDOUT"),
  /** The guest's cable is gone, and the guest has not come back in time. */
  "guest-gone": closing("rst", "EHOSTUNREACH"),
  /** Another machine has the guest's address now. */
  replaced: closing("rst", "ECONNRESET"),
  /** The guest says that nobody has the port. */
  refused: closing("rst", "ECONNREFUSED"),
  /** A rule or `onFlow` does not allow it (any more). */
  denied: closing("rst", "EACCES"),
  policy: closing("rst", "EACCES"),
  "conn-limit": closing("rst", "EACCES"),
  /** Flows that began while nobody was asked end, and are asked about when they begin again. */
  rules: closing("rst", "EACCES"),
  /** Silence has ended it. */
  idle: closing("silence", "ETIMEDOUT"),
  /** It made room for another. */
  recycled: closing("silence", "ECONNRESET"),
  "network closed": closing("rst", "ENETDOWN"),
};

function closing(guest: Closing["guest"], errno: string | null, cause: IcmpCause = PROHIBITED): Closing {
  return { guest, errno, cause };
}

/** What both sides are told when a flow ends for a reason of ours, or with the host's error after it had connected. */
export function closingOf(reason: CloseReason): Closing {
  return (OWN as Readonly<Record<string, Closing | undefined>>)[reason] ?? closing("rst", null);
}

/**
 * What the guest is told when the host could not connect: refused is a RST; unreachable is an ICMP error, which a SYN-SENT
 * guest believes (RFC 5461), and a RST for those that do not; silence stays silence, as the guest has its own time-out.
 */
export function closingOfDial(code: string): Closing {
  if (code === "ETIMEDOUT") return closing("silence", null);
  if (code === "ECONNREFUSED" || code === "ECONNRESET") return closing("rst", null);
  return closing("icmp and rst", null, icmpCauseOfCode(code) ?? NO_HOST);
}

/** What the guest is told of a connection that was refused before it began. */
export function closingOfRuling(how: "reset" | "icmp" | "drop"): Closing {
  return closing(how === "reset" ? "rst" : how === "icmp" ? "icmp" : "silence", null);
}
