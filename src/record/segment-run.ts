/**
 * Runs of segments: frames of one connection that follow one another, as bulk transfers send them by the dozen.
 *
 * Theory of operation. Of two such frames the headers are the same but for a few numbers, and those can be foretold:
 * the sequence number is higher by the payload's length, the IPv4 identification by one or not at all, and IPv4's
 * checksum follows from that. TCP's checksum covers payload that was left out, so nobody compares it. A recorder keeps
 * the header that would come next. When it comes, the frame costs a comparison and no bytes: a count in the recording
 * grows. A reader makes the headers again by the same rule.
 */
import { get16, get32, put16, put32 } from "../wire/bytes.ts";
import { ETH_HEADER, ETH_IPV4, ETH_IPV6 } from "../wire/ethernet.ts";
import { IPV4_HEADER, PROTO_TCP } from "../wire/ipv4.ts";
import { IPV6_HEADER } from "../wire/ipv6.ts";
import { TCP_HEADER, tcpHeaderLength } from "../wire/tcp.ts";

/** The longest header of a segment, in bytes: Ethernet, IPv6, TCP with all its options. */
export const LONGEST_HEADER: number = ETH_HEADER + IPV6_HEADER + 60;

// Offsets in a frame.
const TOTAL_LENGTH: number = ETH_HEADER + 2;
const IDENTIFICATION: number = ETH_HEADER + 4;
const HEADER_CHECKSUM: number = ETH_HEADER + 10;
const IPV4_TCP: number = ETH_HEADER + IPV4_HEADER;
const IPV6_TCP: number = ETH_HEADER + IPV6_HEADER;
// Offsets behind TCP's beginning.
const SEQUENCE = 4;
const CHECKSUM = 16;

/**
 * The offset of TCP in a frame of `len` bytes whose first `kept` bytes are `head`, if they are the headers of a segment
 * with payload (IPv4 without options, or IPv6 without extension headers); otherwise 0.
 */
function tcpOffset(head: Uint8Array, kept: number, len: number): number {
  if (kept < IPV4_TCP + TCP_HEADER || kept >= len || kept > LONGEST_HEADER) return 0;
  const type = get16(head, 12);
  let tcp = 0;
  if (type === ETH_IPV4 && head[ETH_HEADER] === 0x45 && head[ETH_HEADER + 9] === PROTO_TCP) tcp = IPV4_TCP;
  else if (type === ETH_IPV6 && kept >= IPV6_TCP + TCP_HEADER && head[ETH_HEADER + 6] === PROTO_TCP) tcp = IPV6_TCP;
  return tcp > 0 && tcp + tcpHeaderLength(head, tcp) === kept ? tcp : 0;
}

/** The bytes of payload that a segment's IP header promises; below zero if it contradicts itself. */
function payloadLength(head: Uint8Array, tcp: number, kept: number): number {
  const packet = tcp === IPV4_TCP ? get16(head, TOTAL_LENGTH) + ETH_HEADER : get16(head, ETH_HEADER + 4) + IPV6_TCP;
  return packet - kept;
}

/** IPv4's checksum after its identification has grown by one (RFC 1624, equation 3). */
function sumOfNext(sum: number): number {
  const complement = (~sum & 0xffff) + 1;
  return ~(complement > 0xffff ? 1 : complement) & 0xffff;
}

/** Makes a segment's header that of the next segment. */
function advance(head: Uint8Array, tcp: number, size: number, step: number): void {
  put32(head, tcp + SEQUENCE, (get32(head, tcp + SEQUENCE) + size) >>> 0);
  if (tcp !== IPV4_TCP || step === 0) return;
  put16(head, IDENTIFICATION, (get16(head, IDENTIFICATION) + 1) & 0xffff);
  put16(head, HEADER_CHECKSUM, sumOfNext(get16(head, HEADER_CHECKSUM)));
}

/** The other half of the word that holds TCP's checksum, which is not compared. The lowest byte comes first. */
const BESIDE_CHECKSUM = 0x0000ffff;

/** A run as its recorder knows it. */
export class SegmentRun {
  /** The header that comes next, as bytes and as words. */
  readonly #next: Uint8Array = new Uint8Array(4 * Math.ceil(LONGEST_HEADER / 4));
  readonly #words: Int32Array = new Int32Array(this.#next.buffer);
  #tag = 0;
  #link = 0;
  #undone = 0;
  #len = 0;
  #kept = 0;
  #size = 0;
  /** The offset of TCP; 0 if the last frame begins no run. */
  #tcp = 0;
  /** By how much the identification grows with each frame; guessed before the second one. */
  #step = 1;
  /** Whether the second frame comes next, and the first one's identification and checksum of IPv4. */
  #second = false;
  #identification = 0;
  #sum = 0;

  get step(): number {
    return this.#tcp === IPV4_TCP ? this.#step : 0;
  }

  /** Begins with a frame of `len` bytes, the first `kept` of them at `at`. */
  begin(tag: number, link: number, undone: number, buf: Uint8Array, at: number, kept: number, len: number): void {
    this.#tcp = 0;
    if (kept >= len || kept > LONGEST_HEADER) return;
    const next = this.#next;
    for (let i = 0; i < kept; i++) next[i] = buf[at + i]!;
    const tcp = tcpOffset(next, kept, len);
    const size = payloadLength(next, tcp, kept);
    if (tcp === 0 || size < 0) return;
    this.#tag = tag;
    this.#link = link;
    this.#undone = undone;
    this.#len = len;
    this.#kept = kept;
    this.#size = size;
    this.#tcp = tcp;
    this.#second = true;
    this.#identification = get16(next, IDENTIFICATION);
    this.#sum = get16(next, HEADER_CHECKSUM);
    advance(next, tcp, size, this.#step);
  }

  /**
   * Whether a frame of `len` bytes at `at` in what `view` shows, whose first `kept` bytes are recorded, is the run's
   * next segment. If so, the run goes on behind that frame. `kept` is -1 where it is not known yet: equal headers have
   * equal lengths.
   */
  takes(tag: number, link: number, undone: number, view: DataView, at: number, kept: number, len: number): boolean {
    const tcp = this.#tcp;
    if (tcp === 0 || len !== this.#len || link !== this.#link || tag !== this.#tag || undone !== this.#undone)
      return false;
    if (kept >= 0 && kept !== this.#kept) return false;
    if (!this.#comes(view, at) && !(this.#second && tcp === IPV4_TCP && this.#guessAnew(view, at))) return false;
    this.#second = false;
    advance(this.#next, tcp, this.#size, this.#step);
    return true;
  }

  /**
   * Whether the header at `at` is the one that comes next, but for TCP's checksum. All words are compared before the
   * answer, since a branch for each would cost twice as much. (A processor that has the highest byte first sees other
   * words, and records each frame in full.)
   */
  #comes(view: DataView, at: number): boolean {
    const words = this.#words;
    const summed = (this.#tcp + CHECKSUM) >> 2;
    // A header's length is two bytes more than whole words.
    const count = this.#kept >> 2;
    let differs = (view.getInt32(at + 4 * summed, true) ^ words[summed]!) & BESIDE_CHECKSUM;
    for (let i = 0; i < summed; i++) differs |= view.getInt32(at + 4 * i, true) ^ words[i]!;
    for (let i = summed + 1; i < count; i++) differs |= view.getInt32(at + 4 * i, true) ^ words[i]!;
    return differs === 0 && view.getUint16(at + 4 * count) === get16(this.#next, 4 * count);
  }

  /** The same, if the identification grows otherwise than guessed. */
  #guessAnew(view: DataView, at: number): boolean {
    this.#foretell(1 - this.#step);
    if (this.#comes(view, at)) return true;
    this.#foretell(1 - this.#step);
    return false;
  }

  /** The second frame's IPv4 header, if the identification grows by `step`. */
  #foretell(step: number): void {
    this.#step = step;
    put16(this.#next, IDENTIFICATION, (this.#identification + step) & 0xffff);
    put16(this.#next, HEADER_CHECKSUM, step === 0 ? this.#sum : sumOfNext(this.#sum));
  }
}

/**
 * The header of the segment behind one with the header `head`, in a frame of `len` bytes. Null if `head` begins no run.
 */
export function nextHeader(head: Uint8Array, len: number, step: number): Uint8Array | null {
  const tcp = tcpOffset(head, head.length, len);
  const size = payloadLength(head, tcp, head.length);
  if (tcp === 0 || size < 0) return null;
  const next = head.slice();
  advance(next, tcp, size, step);
  return next;
}
