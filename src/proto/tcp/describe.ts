/** A connection's state in words, for people who look for a fault. */
import { seqDiff } from "../../wire/seq.ts";
import type { Tcb } from "./tcb.ts";
import { PERSIST, PROBE, TIME_WAIT } from "./types.ts";

/**
 * The variables of RFC 9293 section 3.3.1, what is buffered, and which timer runs; one line a subject. Sequence numbers
 * are as on the wire, with their distance from the first one behind them. Changes nothing.
 */
export function describeTcb(t: Tcb, now: number): string[] {
  const sent = (seq: number): string => `${seq >>> 0} (ISS+${seqDiff(seq, t.iss)})`;
  const got = (seq: number): string => `${seq >>> 0} (IRS+${seqDiff(seq, t.irs)})`;
  const ends = [
    t.finSent ? (t.finAcked() ? "our FIN acknowledged" : "our FIN sent") : t.finQueued ? "our FIN queued" : "",
    t.finReceived ? "the guest's FIN received" : "",
    t.recovering ? "recovering" : "",
    t.ackPending ? "an ACK owed" : "",
  ].filter((words) => words !== "");
  return [
    `SND.UNA ${sent(t.sndUna)}, SND.NXT ${sent(t.sndNxt)}, SND.MAX ${sent(t.sndMax)}, SND.WND ${t.sndWnd}`,
    `RCV.NXT ${got(t.rcvNxt)}, RCV.WND ${t.offered()}, ${t.assembler.empty ? "no" : "some"} bytes behind a gap`,
    `${t.sendBuffer.length} bytes in the send buffer, cwnd ${Math.floor(t.congestion.cwnd)}, MSS ${t.mss}`,
    `${timer(t, now)}; sent again: ${t.retransmissions}${ends.map((words) => `; ${words}`).join("")}`,
  ];
}

function timer(t: Tcb, now: number): string {
  const until = (at: number): string => `in ${Math.max(0, at - now).toFixed(3)} ms`;
  if (t.state === TIME_WAIT) return `TIME-WAIT ends ${until(t.lifeAt)}`;
  if (t.timerAt === Number.POSITIVE_INFINITY) return "no retransmission timer";
  const kind = t.timerKind === PROBE ? "probe" : t.timerKind === PERSIST ? "window probe" : "retransmission";
  return `${kind} ${until(t.timerAt)}`;
}
