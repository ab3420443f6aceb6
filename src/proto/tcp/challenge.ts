/**
 * Challenge ACKs (RFC 5961): the answer to a segment that is suspicious, or that only an end out of step would send. A
 * peer that is who it seems answers in a way that settles the matter.
 *
 * Limited for each connection, never by a budget that connections share: a shared one tells an attacker what happens in
 * others' (CVE-2016-5696). The limit also ends the exchange of two ends that call each other's ACKs unacceptable.
 */
import { ACK } from "../../wire/tcp.ts";
import { bareSeq, sendControl } from "./segment.ts";
import type { Tcb } from "./tcb.ts";

const PERIOD_MS = 1_000;
const PER_PERIOD = 8;

export function challenge(t: Tcb): void {
  if (mayChallenge(t)) sendControl(t, ACK, bareSeq(t), t.rcvNxt);
}

/** Takes one from the connection's allowance. */
export function mayChallenge(t: Tcb): boolean {
  if (t.now - t.challengeAt >= PERIOD_MS) {
    t.challengeAt = t.now;
    t.challenges = 0;
  }
  if (t.challenges >= PER_PERIOD) return false;
  t.challenges++;
  return true;
}
