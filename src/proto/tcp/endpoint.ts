/** A TCP endpoint: the control block (tcb.ts) with the calls of its user and of the clock. */
import type { Landing } from "../../core/host-net.ts";
import { seqAdd } from "../../wire/seq.ts";
import { ACK, RST } from "../../wire/tcp.ts";
import type { TcpOptions } from "../../wire/tcp-options.ts";
import { expired } from "./expiry.ts";
import { output } from "./output.ts";
import { bareSeq, sendControl } from "./segment.ts";
import { KEEPALIVE_IDLE, MIN_MSS, Tcb } from "./tcb.ts";
import { CLOSE_WAIT, CLOSED, ESTABLISHED, HELD, SYN_RECEIVED, SYN_SENT, TIME_WAIT } from "./types.ts";

/** Milliseconds between two keepalive probes, and how many may go unanswered. */
const KEEPALIVE_PAUSE = 75_000;
const KEEPALIVE_PROBES = 9;

export class TcpEndpoint extends Tcb {
  /** Passive: takes a guest's SYN and holds it. `ourMss` is what the link carries. */
  offer(seq: number, window: number, o: TcpOptions, iss: number, ourMss: number, ourScale: number): void {
    this.state = HELD;
    this.#start(iss, ourMss, ourScale);
    this.syn(seq, window, o);
  }

  /** Passive: the host has connected. */
  accept(now: number): void {
    if (this.state !== HELD) return;
    this.state = SYN_RECEIVED;
    output(this, now);
  }

  /** Active: dials the guest. */
  connect(iss: number, ourMss: number, ourScale: number, now: number): void {
    this.state = SYN_SENT;
    this.#start(iss, ourMss, ourScale);
    output(this, now);
  }

  #start(iss: number, ourMss: number, ourScale: number): void {
    this.iss = iss;
    this.sndUna = iss;
    this.sndNxt = iss;
    this.sndMax = iss;
    this.recover = iss;
    this.ourMss = ourMss;
    this.ourScale = ourScale;
  }

  /**
   * A segment was too big for the path (RFC 1191 section 6.4): unacknowledged data are sent again, in smaller segments.
   */
  shrinkMss(mss: number, now: number): void {
    const payload = Math.max(MIN_MSS, mss) - (this.timestamps ? 12 : 0);
    if (payload >= this.mss || this.state === CLOSED) return;
    this.mss = payload;
    this.congestion.shrink(payload);
    if (this.state === HELD || this.state === SYN_SENT || this.state === SYN_RECEIVED) return;
    this.sndNxt = this.sndUna;
    this.timedAt = -1;
    output(this, now);
  }

  /** Queues bytes of the user, who is expected to keep to its share of the send buffers; nothing forces it. */
  send(bytes: Uint8Array, at: number, len: number, now: number): void {
    if (this.state === CLOSED || this.finQueued) return;
    this.sendBuffer.append(bytes, at, len);
    output(this, now);
  }

  /**
   * As `send`, for bytes of which more are to come at once: gives room for up to `most` of them, and `landed` follows. Null,
   * and nothing is queued, where there is none.
   */
  land(bytes: Uint8Array, at: number, len: number, most: number): Landing | null {
    if (this.state === CLOSED || this.finQueued || !this.sendBuffer.lands) return null;
    this.sendBuffer.append(bytes, at, len);
    return this.sendBuffer.land(most);
  }

  /** So many bytes have come into that room. */
  landed(len: number, now: number): void {
    this.sendBuffer.landed(len);
    output(this, now);
  }

  /** No more data from the user: FIN after what is queued. */
  close(now: number): void {
    if (this.finQueued || this.state === CLOSED) return;
    this.finQueued = true;
    output(this, now);
  }

  /** Sends RST to the guest, and forgets the connection. */
  abort(): void {
    if (this.state !== CLOSED && this.state !== TIME_WAIT && this.state !== SYN_SENT) {
      const seq = this.state === HELD ? 0 : bareSeq(this);
      if (!sendControl(this, RST | ACK, seq, this.rcvNxt)) this.path.resetLost(seq, this.rcvNxt);
    }
    this.drop();
  }

  /** The host's socket has drained: tell the guest if it may be waiting (section 3.8.6.2.2). */
  windowOpened(now: number): void {
    if (this.state < ESTABLISHED || this.state >= CLOSE_WAIT || this.finReceived) return;
    const offered = this.offered();
    const gain = this.user.room() - offered;
    if (gain >= this.windowStep() && (gain >= offered || gain >= 2 * this.ourMss)) {
      this.ackPending = true;
      output(this, now);
    }
  }

  poll(now: number): void {
    this.now = now;
    if (this.lifeAt <= now) {
      if (this.state === TIME_WAIT) {
        this.finish();
        return;
      }
      this.alive(now);
      if (this.state === CLOSED) return;
    }
    if (this.timerAt <= now) expired(this, now);
  }

  /**
   * RFC 9293 section 3.8.4: when nothing is under way, a segment just before the window makes the guest send an ACK.
   * Only the guest's segments bring bytes to hold: while none are held, none will be before the guest is heard again.
   */
  private alive(now: number): void {
    if (now - this.heardAt < KEEPALIVE_IDLE && !this.user.holds()) {
      this.probes = 0;
      this.lifeAt = this.heardAt + KEEPALIVE_IDLE;
      return;
    }
    this.lifeAt = now + KEEPALIVE_PAUSE;
    if (this.sndMax !== this.sndUna) return;
    if (this.probes >= KEEPALIVE_PROBES) {
      this.giveUp();
      return;
    }
    // A cable that is full has lost nothing: the probe does not count. One that is gone loses everything: it counts.
    if (sendControl(this, ACK, seqAdd(this.sndUna, -1), this.rcvNxt) || !this.path.reachable) this.probes++;
  }

  /** The guest does not answer: sends RST, and tells the user. */
  giveUp(): void {
    this.abort();
    this.user.onAborted("timeout");
  }
}
