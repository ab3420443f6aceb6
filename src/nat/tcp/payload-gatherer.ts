/**
 * Payload from guests on its way from the read slab to host sockets: one write for each flow and batch, where possible.
 *
 * Theory of operation. At MTU 1500 segments stand in the slab with headers between them, and segments of several flows
 * alternate. A write for each segment would cost more than all other work together. So payload is gathered in two
 * steps:
 *
 * - A *run* is payload of one flow that stands in one piece. While segments of the same flow follow one another, each
 *   is moved down to the end of the run, over headers that are done with. Only the last run grows, and behind its start
 *   there are no other runs, so a move never overwrites bytes that wait.
 * - At the batch's end each flow's runs are written. A single run is written where it stands. Several are first copied
 *   together into a *stage*. A long run is always written where it stands, because copying it costs more than a system
 *   call. Long runs that follow one another, as at a large MTU, are handed over together (`HostTcp.writeMany`).
 *
 * Payload that is still in the guest's memory (`Slab.elsewhere`) is always a long run, and nothing is moved to it. If
 * it is short, or its socket cannot take it from there, it is first copied into its place in the slab.
 *
 * A socket pins a slab or stage that it does not take at once. A pinned stage is replaced.
 */
import { type HostTcp, writeRuns } from "../../core/host-net.ts";
import type { Slab } from "../../core/link.ts";

/** Payloads of this many bytes or more are not moved. */
export const LONG = 16_384;
const STAGE = 262_144;
/** The most long runs that are handed over together: more than a read of 256 KiB contains. */
const TOGETHER = 16;
/** When this many stages are pinned, sockets copy the bytes that they cannot send. */
const MAX_PINNED = 4;

/** What the gatherer keeps in a flow: its socket, and the chain of its runs (indices, -1 for none). */
export interface GatheredFlow {
  readonly host: HostTcp | null;
  firstRun: number;
  lastRun: number;
  /** Bytes in those runs. */
  pendingUp: number;
}

class Stage implements Slab {
  readonly bytes: Uint8Array = new Uint8Array(STAGE);
  readonly #owner: PayloadGatherer;
  #pins = 0;

  constructor(owner: PayloadGatherer) {
    this.#owner = owner;
  }

  get pinned(): boolean {
    return this.#pins > 0;
  }

  get scarce(): boolean {
    return this.#owner.pinnedStages >= MAX_PINNED;
  }

  pin(): void {
    if (this.#pins++ === 0) this.#owner.pinnedStages++;
  }

  unpin(): void {
    if (--this.#pins === 0) this.#owner.pinnedStages--;
  }
}

export class PayloadGatherer {
  pinnedStages = 0;
  /** Made at first use, so a guest at rest costs less. */
  #stage: Stage | null = null;
  #staged = 0;
  /** The runs of this batch, in parallel arrays. */
  readonly #slabs: Slab[] = [];
  readonly #at: number[] = [];
  readonly #len: number[] = [];
  readonly #next: number[] = [];
  /** The long runs that are written next, of one slab. */
  readonly #manyAt: Int32Array = new Int32Array(TOGETHER);
  readonly #manyLen: Int32Array = new Int32Array(TOGETHER);
  /** The flow of the last run. */
  #last: GatheredFlow | null = null;

  append(flow: GatheredFlow, slab: Slab, at: number, len: number): void {
    flow.pendingUp += len;
    const elsewhere = slab.elsewhere ?? null;
    if (len < LONG) elsewhere?.fill(at, len);
    const run = flow.lastRun;
    if (this.#last === flow && run >= 0 && this.#slabs[run] === slab) {
      const end = this.#at[run]! + this.#len[run]!;
      if (len < LONG && end <= at && (elsewhere === null || this.#len[run]! < LONG)) {
        if (end < at) slab.bytes.copyWithin(end, at, at + len);
        this.#len[run]! += len;
        return;
      }
    }
    const index = this.#slabs.length;
    this.#slabs.push(slab);
    this.#at.push(at);
    this.#len.push(len);
    this.#next.push(-1);
    if (run < 0) flow.firstRun = index;
    else this.#next[run] = index;
    flow.lastRun = index;
    this.#last = flow;
  }

  /** Writes a flow's pending runs to its socket. */
  flush(flow: GatheredFlow): void {
    let run = flow.firstRun;
    if (run < 0) return;
    const host = flow.host!;
    this.forget(flow);
    for (; run >= 0; run = this.#next[run]!) {
      const len = this.#len[run]!;
      const alone = this.#staged === 0 && this.#next[run]! < 0;
      if (len >= LONG || alone) {
        this.#send(host);
        run = this.#write(host, run);
        continue;
      }
      if (this.#staged + len > STAGE) this.#send(host);
      if (this.#stage === null || (this.#staged === 0 && this.#stage.pinned)) this.#stage = new Stage(this);
      const at = this.#at[run]!;
      this.#stage.bytes.set(this.#slabs[run]!.bytes.subarray(at, at + len), this.#staged);
      this.#staged += len;
    }
    this.#send(host);
  }

  /**
   * Writes a run where it stands, together with the long runs that follow it in the same slab. Returns the last one's
   * index.
   */
  #write(host: HostTcp, run: number): number {
    const slab = this.#slabs[run]!;
    let count = 0;
    let last = run;
    do {
      this.#manyAt[count] = this.#at[run]!;
      this.#manyLen[count++] = this.#len[run]!;
      last = run;
      run = this.#next[run]!;
    } while (run >= 0 && count < TOGETHER && this.#slabs[run] === slab && this.#len[run]! >= LONG);
    const elsewhere = slab.elsewhere ?? null;
    if (elsewhere !== null && host.takesElsewhere !== true)
      for (let i = 0; i < count; i++) elsewhere.fill(this.#manyAt[i]!, this.#manyLen[i]!);
    writeRuns(host, slab, this.#manyAt, this.#manyLen, count);
    return last;
  }

  #send(host: HostTcp): void {
    if (this.#staged === 0) return;
    host.write(this.#stage!, 0, this.#staged);
    this.#staged = 0;
  }

  /** The flow has lost its socket: its pending bytes are dropped. */
  forget(flow: GatheredFlow): void {
    flow.firstRun = -1;
    flow.lastRun = -1;
    flow.pendingUp = 0;
    if (this.#last === flow) this.#last = null;
  }

  /** Called when all flows have been flushed. */
  batchEnd(): void {
    this.#slabs.length = 0;
    this.#at.length = 0;
    this.#len.length = 0;
    this.#next.length = 0;
    this.#last = null;
  }
}
