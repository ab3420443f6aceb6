/**
 * The work that a read of a guest's frames leaves behind, done once for each connection that the read touched: payload
 * to the host, and an acknowledgement to the guest.
 *
 * An acknowledgement that carries nothing else may wait for the end of a turn. A host that was written to has mostly
 * answered by then, and its answer, or its FIN, carries the acknowledgement.
 */
import type { Clock } from "../../core/clock.ts";
import type { PayloadGatherer } from "./payload-gatherer.ts";
import type { TcpFlow } from "./tcp-flow.ts";
import { LARGE, type WindowLimits } from "./window-limits.ts";

export class TcpBatch {
  readonly #clock: Clock;
  readonly #gatherer: PayloadGatherer;
  readonly #windowLimits: WindowLimits;
  readonly #touched: TcpFlow[] = [];
  /** Flows that owe their guests an acknowledgement at the end of this turn, and of the next one. */
  #due: TcpFlow[] = [];
  #owing: TcpFlow[] = [];

  constructor(clock: Clock, gatherer: PayloadGatherer, windowLimits: WindowLimits) {
    this.#clock = clock;
    this.#gatherer = gatherer;
    this.#windowLimits = windowLimits;
  }

  /** The batch has a segment of the flow. */
  touch(flow: TcpFlow): void {
    if (flow.touched) return;
    flow.touched = true;
    this.#touched.push(flow);
  }

  /**
   * All segments of a read have been handled. `late`: flows that owe nothing but an acknowledgement may wait for
   * `turnEnd`. True when some flow waits.
   */
  end(now: number, late: boolean): boolean {
    const touched = this.#touched;
    if (touched.length === 0) return false;
    // Small payloads go first: otherwise they would wait until the kernel has copied large ones.
    const senders = this.#flushUp(0, LARGE, now) + this.#flushUp(LARGE, Number.POSITIVE_INFINITY, now);
    this.#gatherer.batchEnd();
    this.#windowLimits.shareAmong(senders);
    for (let i = 0; i < touched.length; i++) {
      const flow = touched[i]!;
      flow.touched = false;
      if (!late || !flow.tcb.owesOnlyAck()) flow.goOn(now);
      else {
        if (!flow.owes) {
          flow.owes = true;
          this.#owing.push(flow);
        }
        flow.nat.schedule(flow);
      }
    }
    touched.length = 0;
    return this.#owing.length > 0;
  }

  /**
   * A turn of the event loop ends: sends the acknowledgements that were owed before it began. True when more are owed.
   */
  turnEnd(): boolean {
    const due = this.#due;
    if (due.length > 0) {
      const now = this.#clock.now();
      for (let i = 0; i < due.length; i++) {
        const flow = due[i]!;
        flow.owes = false;
        if (flow.tcb.ackPending) flow.goOn(now);
      }
      due.length = 0;
    }
    this.#due = this.#owing;
    this.#owing = due;
    return this.#due.length > 0;
  }

  /**
   * Writes the pending payload of flows that have at least `least` and less than `most` bytes of it. Returns how many
   * flows.
   */
  #flushUp(least: number, most: number, now: number): number {
    const touched = this.#touched;
    let senders = 0;
    for (let i = 0; i < touched.length; i++) {
      const flow = touched[i]!;
      const len = flow.pendingUp;
      if (len === 0 || len < least || len >= most) continue;
      senders++;
      this.#windowLimits.sending(flow, len, now);
      this.#gatherer.flush(flow);
      flow.noteWaiting();
    }
    return senders;
  }
}
