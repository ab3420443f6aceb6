/**
 * Challenge ACKs (RFC 5961): the answer to a segment that is suspicious, or that only an end out of step would send.
 * The real peer answers in a way that settles the matter.
 *
 * The limit is each connection's own, never shared by connections: a shared one tells an attacker what happens in other
 * connections (CVE-2016-5696). The limit also ends the exchange of two ends that each find the other's ACKs
 * unacceptable.
 */
import { ACK } from "../../wire/tcp.ts";
import { bareSeq, sendControl } from "./segment.ts";
import type { Tcb } from "./tcb.ts";

const PERIOD_MS = 1_000;
const PER_PERIOD = 8;

export function challenge(t: Tcb): void {
  if (mayChallenge(t)) sendControl(t, ACK, bareSeq(t), t.rcvNxt);
}

/** Takes one challenge ACK from the connection's allowance. False when there is none left. */
export function mayChallenge(t: Tcb): boolean {
  if (t.now - t.challengeAt >= PERIOD_MS) {
    t.challengeAt = t.now;
    t.challenges = 0;
  }
  if (t.challenges >= PER_PERIOD) return false;
  t.challenges++;
  return true;
}
