/**
 * Guest → host payload on its way from the read slab to host sockets: one write per flow and batch where it can be.
 *
 * Theory of operation. Segments of MTU 1500 stand in the slab with headers between them, and those of several flows by
 * turns. A write for each would cost more than all else together. So payload is gathered in two steps:
 *
 * - A *run* is payload of one flow that stands in one piece. While segments of the same flow follow one another, each
 *   is moved down against the run's end, over headers that have been handled. Only the last run grows, and behind its
 *   start there is nothing but it, so a move never passes over bytes that wait.
 * - At the batch's end each flow's runs are written: a single one where it stands, several copied together into a
 *   *stage* first. A long run is always written where it stands: copying it costs more than a call. Long runs that
 *   follow one another, as at a large MTU, are one call (`HostTcp.writeMany`).
 *
 * Payload that the guest's memory still holds (`Slab.elsewhere`) is a long run always, to which nothing is moved; what is short
 * of it, or goes to a socket that cannot take it from there, is put in its place first.
 *
 * A slab or stage that a socket does not take at once is pinned by that socket; a pinned stage is replaced.
 */
import { type HostTcp, writeRuns } from "../../core/host-net.ts";
import type { Slab } from "../../core/link.ts";

/** From this length on a payload is not moved. */
export const LONG = 16_384;
const STAGE = 262_144;
/** So many long runs are written in one call: more than a read of 256 KiB brings. */
const TOGETHER = 16;
/** With so many stages pinned, sockets copy what they cannot send. */
const MAX_PINNED = 4;

/** A flow, as far as it concerns this: its socket and the chain of its runs (indices, -1 for none). */
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
  /** Made when it is first needed: a guest at rest costs less. */
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
  /** Whose run is the last one. */
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

  /** Writes what waits for a flow's socket. */
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

  /** Writes a run where it stands, and with it the long ones that follow in the same slab; the last one's index. */
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

  /** The flow's socket is gone: its bytes go nowhere. */
  forget(flow: GatheredFlow): void {
    flow.firstRun = -1;
    flow.lastRun = -1;
    flow.pendingUp = 0;
    if (this.#last === flow) this.#last = null;
  }

  /** All flows have been flushed. */
  batchEnd(): void {
    this.#slabs.length = 0;
    this.#at.length = 0;
    this.#len.length = 0;
    this.#next.length = 0;
    this.#last = null;
  }
}
