/**
 * One TCP connection of the guest: its states (RFC 9293). `tcp-sender.ts` and `tcp-receiver.ts` are its two halves.
 *
 * Bytes that arrive in order go to the user at once. While the user has paused the connection they wait, and the window
 * shrinks by as much. Callbacks may call the socket. No callback follows `onClose`.
 */
import { seqAdd, seqDiff, seqGt, seqLe, seqLt } from "../../wire/seq.ts";
import { ACK, FIN, PSH, RST, SYN } from "../../wire/tcp.ts";
import { TcpReceiver } from "./tcp-receiver.ts";
import { type Segment, type SegmentExtras, TIMESTAMPS_LENGTH } from "./tcp-segment.ts";
import { type SenderStats, TcpSender } from "./tcp-sender.ts";
import type { TcpEnd, TcpEvents, TcpOptions, TcpState } from "./tcp-user.ts";

/**
 * Milliseconds until a single segment is acknowledged (RFC 9293 section 3.8.6.3 allows 500). Every second one is at
 * once.
 */
const DELAYED_ACK_MS = 40;
/** Milliseconds: twice a segment's longest life on a cable within one machine, and some of the peer's time-outs. */
const TIME_WAIT_MS = 10_000;

/** The guest's IP layer, as a connection sees it. */
export interface TcpNet {
  readonly ip: number;
  readonly mtu: number;
  now(): number;
  random(): number;
  sendSegment(
    socket: TcpSocket,
    flags: number,
    seq: number,
    ack: number,
    window: number,
    extras: SegmentExtras,
    payload: Uint8Array,
  ): void;
  forget(socket: TcpSocket): void;
  /** Called when a deadline may have become earlier. */
  wake(): void;
}

export class TcpSocket {
  readonly localPort: number;
  readonly remoteIp: number;
  readonly remotePort: number;
  readonly sender: TcpSender;
  state: TcpState = "CLOSED";
  events: TcpEvents = {};
  readonly #net: TcpNet;
  readonly #sendBuffer: number;
  readonly #receiver: TcpReceiver;
  readonly #offers: Required<Pick<TcpOptions, "sack" | "timestamps">>;
  readonly #tsOffset: number;
  /** Whether both ends have offered timestamps; until the handshake is over, whether we do. */
  #timestamps: boolean;
  #peerScale = 0;
  #tsRecent = 0;
  #lastAckSent = 0;
  #wl1 = 0;
  #wl2 = 0;
  #paused = false;
  #ackAt: number = Number.POSITIVE_INFINITY;
  #timeWaitAt: number = Number.POSITIVE_INFINITY;
  #blocked = false;
  #endTold = false;
  bytesReceived = 0;

  constructor(net: TcpNet, localPort: number, remoteIp: number, remotePort: number, options: TcpOptions = {}) {
    this.#net = net;
    this.localPort = localPort;
    this.remoteIp = remoteIp;
    this.remotePort = remotePort;
    this.#sendBuffer = options.sendBuffer ?? 262_144;
    this.#receiver = new TcpReceiver(options.receiveBuffer ?? 262_144, options.windowScale ?? true);
    this.#offers = {
      sack: options.sack ?? true,
      timestamps: options.timestamps ?? true,
    };
    this.#timestamps = this.#offers.timestamps;
    this.#tsOffset = net.random();
    this.sender = new TcpSender(net.random() | 0, (seq, payload, fin) => {
      const last = seqDiff(seq, this.sender.una) + payload.length >= this.sender.queue.length;
      this.#emit(ACK | (last ? PSH : 0) | (fin ? FIN : 0), seq, payload);
    });
  }

  get stats(): SenderStats {
    return this.sender.stats;
  }

  /** Sends the SYN of a new connection. */
  open(): void {
    this.state = "SYN-SENT";
    this.#sendSyn();
  }

  /** Answers a SYN. */
  accept(syn: Segment): void {
    this.state = "SYN-RECEIVED";
    this.#takeSyn(syn);
    this.#sendSyn();
  }

  /**
   * Queues as much of `bytes` as fits, and returns how many bytes that was. If it was not all, `onWritable` follows.
   */
  write(bytes: Uint8Array): number {
    if (this.sender.ending || this.state === "CLOSED" || this.state === "TIME-WAIT") return 0;
    const room = Math.max(this.#sendBuffer - this.sender.queue.length, 0);
    const taken = Math.min(room, bytes.length);
    this.#blocked = taken < bytes.length;
    this.sender.queue.push(bytes.subarray(0, taken));
    this.#output();
    return taken;
  }

  /** Sends a FIN behind the written bytes. */
  end(): void {
    if (this.sender.ending || this.state === "CLOSED") return;
    this.sender.ending = true;
    this.#output();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#hand();
    if (this.state === "CLOSED" || this.state === "SYN-SENT" || this.state === "SYN-RECEIVED") return;
    if (this.#receiver.windowGrew(this.sender.mss)) this.#sendAck();
  }

  /** Sends RST. No callback follows. */
  abort(): void {
    if (this.state === "CLOSED") return;
    const { nxt } = this.sender;
    this.events = {};
    if (this.state !== "SYN-SENT" && this.state !== "TIME-WAIT") this.#emit(RST | ACK, nxt, new Uint8Array(0));
    this.#close(null);
  }

  pollAt(): number {
    return Math.min(this.sender.rtoAt, this.sender.persistAt, this.#ackAt, this.#timeWaitAt);
  }

  poll(now: number): void {
    if (now >= this.#timeWaitAt) return this.#close(null);
    if (now >= this.#ackAt) this.#sendAck();
    if (now >= this.sender.rtoAt) {
      if (!this.sender.timedOut(now)) return this.#close("timeout");
      if (this.state === "SYN-SENT" || this.state === "SYN-RECEIVED") this.#sendSyn();
      else this.sender.output(now);
    }
    if (now >= this.sender.persistAt && !this.sender.probe(now)) this.#close("timeout");
  }

  /** Takes a segment (RFC 9293 section 3.10.7). */
  receive(s: Segment): void {
    if (this.state === "CLOSED") return;
    if (this.state === "SYN-SENT") return this.#receiveInSynSent(s);
    const flags = s.flags;
    if (this.#timestamps && s.options.timestamps && !(flags & RST)) {
      // PAWS (RFC 7323 section 5.3).
      if (seqLt(s.options.tsValue, this.#tsRecent)) return this.#sendAck();
      if (seqLe(s.seq, this.#lastAckSent)) this.#tsRecent = s.options.tsValue;
    }
    if (!this.#receiver.acceptable(s)) {
      if (flags & RST) return;
      // The peer has sent its FIN again: our last acknowledgement was lost.
      if (this.state === "TIME-WAIT" && flags & FIN) this.#timeWait();
      return this.#sendAck();
    }
    if (flags & RST) {
      // An old duplicate segment of ours has reached the peer's closed end (RFC 1337 section 3, fix F1).
      if (this.state === "TIME-WAIT") return;
      // Only a RST with the exact sequence number resets (RFC 5961 section 3.2).
      if (s.seq === this.#receiver.nxt) this.#close(this.state === "SYN-RECEIVED" ? "refused" : "reset");
      else this.#sendAck();
      return;
    }
    if (flags & SYN) return this.state === "SYN-RECEIVED" ? this.#sendSyn() : this.#sendAck();
    if (!(flags & ACK) || !this.#receiveAck(s)) return;
    if (this.#closed()) return;
    this.#receiveText(s);
    if (this.#closed()) return;
    this.#output();
    if (this.#receiver.ackNow) this.#sendAck();
    else if (this.#receiver.unacked > 0) this.#ackAt = Math.min(this.#ackAt, this.#net.now() + DELAYED_ACK_MS);
  }

  #closed(): boolean {
    return this.state === "CLOSED";
  }

  #receiveInSynSent(s: Segment): void {
    const acked = (s.flags & ACK) !== 0;
    if (acked && s.ack !== this.sender.nxt) {
      if (!(s.flags & RST)) this.#net.sendSegment(this, RST, s.ack, 0, 0, {}, new Uint8Array(0));
      return;
    }
    if (s.flags & RST) {
      if (acked) this.#close("refused");
      return;
    }
    if (!(s.flags & SYN)) return;
    this.#takeSyn(s);
    if (!acked) {
      this.state = "SYN-RECEIVED";
      return this.#sendSyn();
    }
    this.#establish(s, s.window);
    if (this.#closed()) return;
    this.#sendAck();
    this.#output();
  }

  #takeSyn(s: Segment): void {
    const o = s.options;
    this.#timestamps &&= o.timestamps;
    this.#tsRecent = o.tsValue;
    this.#receiver.scaling &&= o.windowScale >= 0;
    this.#peerScale = this.#receiver.scaling ? o.windowScale : 0;
    this.sender.sack = this.#offers.sack && o.sackPermitted;
    // RFC 9293 section 3.7.1: 536 when the peer says nothing; RFC 6691: options come out of the MSS.
    const mss = Math.min(o.mss || 536, this.#net.mtu - 40);
    this.sender.mss = Math.max(mss, 64) - (this.#timestamps ? TIMESTAMPS_LENGTH : 0);
    this.#receiver.begin(s.seq);
    this.#lastAckSent = this.#receiver.nxt;
  }

  #establish(s: Segment, window: number): void {
    this.state = "ESTABLISHED";
    this.sender.start(s.ack, window, this.#rtt(s), this.#net.now());
    this.#wl1 = s.seq;
    this.#wl2 = s.ack;
    this.events.onConnect?.();
  }

  /** Takes the acknowledgement. Returns false when the segment is to be dropped. */
  #receiveAck(s: Segment): boolean {
    const sender = this.sender;
    const window = s.window << this.#peerScale;
    if (this.state === "SYN-RECEIVED") {
      if (s.ack !== sender.nxt) {
        this.#net.sendSegment(this, RST, s.ack, 0, 0, {}, new Uint8Array(0));
        return false;
      }
      this.#establish(s, window);
      return true;
    }
    // An acknowledgement out of range is answered (RFC 5961 section 5.2).
    if (seqGt(s.ack, sender.max) || seqLt(s.ack, seqAdd(sender.una, -sender.maxWindow))) {
      this.#sendAck();
      return false;
    }
    // Only a segment that is as recent as the last one that set the window may set it.
    const fresh = seqLt(this.#wl1, s.seq) || (this.#wl1 === s.seq && seqLe(this.#wl2, s.ack));
    if (fresh) {
      this.#wl1 = s.seq;
      this.#wl2 = s.ack;
    }
    const plain = s.payload.length === 0 && !(s.flags & FIN);
    const sack = sender.sack ? Array.from(s.options.sack.subarray(0, s.options.sackCount * 2)) : [];
    const moved = sender.acknowledged(
      s.ack,
      fresh ? window : sender.window,
      plain,
      sack,
      this.#rtt(s),
      this.#net.now(),
    );
    if (sender.finAcked) {
      if (this.state === "FIN-WAIT-1") this.state = "FIN-WAIT-2";
      else if (this.state === "CLOSING") this.#timeWait();
      else if (this.state === "LAST-ACK") this.#close(null);
    }
    if (moved && this.#blocked && sender.queue.length <= this.#sendBuffer / 2 && !this.#closed()) {
      this.#blocked = false;
      this.events.onWritable?.();
    }
    return true;
  }

  #receiveText(s: Segment): void {
    this.#receiver.take(s);
    this.#hand();
    if (this.#receiver.finIsNext && !this.#closed()) this.#receiveFin();
  }

  #receiveFin(): void {
    this.#receiver.takeFin();
    if (this.state === "ESTABLISHED") this.state = "CLOSE-WAIT";
    else if (this.state === "FIN-WAIT-1") this.state = "CLOSING";
    else if (this.state === "FIN-WAIT-2") this.#timeWait();
    this.#hand();
  }

  /** Hands the user the waiting bytes, and the end behind them. */
  #hand(): void {
    while (!this.#paused) {
      const bytes = this.#receiver.next();
      if (bytes === undefined) break;
      this.bytesReceived += bytes.length;
      this.events.onData?.(bytes);
    }
    if (this.#paused || this.#endTold || !this.#receiver.finished) return;
    this.#endTold = true;
    this.events.onEnd?.();
  }

  #output(): void {
    const state = this.state;
    if (state === "CLOSED" || state === "SYN-SENT" || state === "SYN-RECEIVED" || state === "TIME-WAIT") return;
    this.sender.output(this.#net.now());
    this.#net.wake();
    if (!this.sender.finSent) return;
    if (state === "ESTABLISHED") this.state = "FIN-WAIT-1";
    else if (state === "CLOSE-WAIT") this.state = "LAST-ACK";
  }

  #timeWait(): void {
    this.state = "TIME-WAIT";
    this.#timeWaitAt = this.#net.now() + TIME_WAIT_MS;
  }

  #close(end: TcpEnd): void {
    if (this.state === "CLOSED") return;
    this.state = "CLOSED";
    this.sender.rtoAt = this.sender.persistAt = this.#ackAt = this.#timeWaitAt = Number.POSITIVE_INFINITY;
    this.sender.queue.clear();
    this.#net.forget(this);
    const { onClose } = this.events;
    const events = this.events;
    this.events = {};
    onClose?.call(events, end);
  }

  /**
   * The round-trip time from the echoed timestamp, in milliseconds; -1 without. Called for acknowledgements of new
   * data only.
   */
  #rtt(s: Segment): number {
    if (!this.#timestamps || !s.options.timestamps || s.options.tsEcho === 0) return -1;
    const rtt = (this.#tsNow() - s.options.tsEcho) | 0;
    return rtt >= 0 ? rtt : -1;
  }

  #tsNow(): number {
    return (Math.floor(this.#net.now()) + this.#tsOffset) | 0;
  }

  #sendSyn(): void {
    const extras: SegmentExtras = {
      mss: this.#net.mtu - 40,
      ...((this.state === "SYN-SENT" ? this.#offers.sack : this.sender.sack) && { sackPermitted: true }),
      ...(this.#receiver.scaling && { windowScale: this.#receiver.shift }),
      ...(this.#timestamps && {
        timestamps: { value: this.#tsNow(), echo: this.state === "SYN-SENT" ? 0 : this.#tsRecent },
      }),
    };
    const dialling = this.state === "SYN-SENT";
    const window = dialling ? this.#receiver.firstWindow : this.#receiver.window(this.sender.mss, false);
    const { una } = this.sender;
    this.#net.sendSegment(
      this,
      dialling ? SYN : SYN | ACK,
      una,
      dialling ? 0 : this.#receiver.nxt,
      window,
      extras,
      new Uint8Array(0),
    );
    this.sender.sentSyn(this.#net.now());
  }

  #sendAck(): void {
    this.#emit(ACK, this.sender.ackSeq(), new Uint8Array(0));
  }

  #emit(flags: number, seq: number, payload: Uint8Array): void {
    const receiver = this.#receiver;
    const window = receiver.window(this.sender.mss, true);
    const sack = this.sender.sack ? receiver.blocks(3) : [];
    const extras: SegmentExtras = {
      ...(this.#timestamps && { timestamps: { value: this.#tsNow(), echo: this.#tsRecent } }),
      ...(sack.length > 0 && payload.length === 0 && { sack }),
    };
    receiver.unacked = 0;
    receiver.ackNow = false;
    this.#ackAt = Number.POSITIVE_INFINITY;
    this.#lastAckSent = this.#receiver.nxt;
    this.#net.sendSegment(this, flags, seq, this.#receiver.nxt, window, extras, payload);
  }
}
