/**
 * A TCP segment as an object. This guest is for the demo and tests, so it may allocate where the NAT itself may not.
 */
import { get16 } from "../../wire/bytes.ts";
import {
  TCP_HEADER,
  tcpAck,
  tcpCheck,
  tcpDst,
  tcpFlags,
  tcpHeaderLength,
  tcpSeal,
  tcpSeq,
  tcpSrc,
  tcpWindow,
  tcpWrite,
} from "../../wire/tcp.ts";
import {
  type TcpOptions,
  tcpOptions,
  tcpReadOptions,
  writeMss,
  writeSack,
  writeSackPermitted,
  writeTimestamps,
  writeWindowScale,
} from "../../wire/tcp-options.ts";

export interface Segment {
  readonly srcPort: number;
  readonly dstPort: number;
  readonly seq: number;
  readonly ack: number;
  readonly flags: number;
  /** The window field of the header, not scaled. */
  readonly window: number;
  readonly options: TcpOptions;
  readonly payload: Uint8Array;
}

/** The parts of a segment beside its fixed header. Absent parts are not sent. */
export interface SegmentExtras {
  readonly mss?: number;
  readonly windowScale?: number;
  readonly sackPermitted?: boolean;
  readonly timestamps?: { readonly value: number; readonly echo: number };
  /** Left and right edges of blocks, in pairs. */
  readonly sack?: readonly number[];
}

/** The length of the timestamps option: ten bytes and two of padding (RFC 7323 appendix A). */
export const TIMESTAMPS_LENGTH = 12;

/** Null when the checksum or the data offset is wrong. */
export function decodeSegment(buf: Uint8Array, pseudo: number): Segment | null {
  if (!tcpCheck(buf, 0, buf.length, pseudo)) return null;
  const options = tcpOptions();
  tcpReadOptions(buf, 0, options);
  return {
    srcPort: tcpSrc(buf, 0),
    dstPort: tcpDst(buf, 0),
    seq: tcpSeq(buf, 0),
    ack: tcpAck(buf, 0),
    flags: tcpFlags(buf, 0),
    window: tcpWindow(buf, 0),
    options,
    payload: buf.subarray(tcpHeaderLength(buf, 0)),
  };
}

export function encodeSegment(
  s: { srcPort: number; dstPort: number; seq: number; ack: number; flags: number; window: number },
  extras: SegmentExtras,
  payload: Uint8Array,
  pseudo: (length: number) => number,
): Uint8Array {
  // A data offset of 15 leaves 40 bytes for options.
  const buf = new Uint8Array(TCP_HEADER + 40 + payload.length);
  let at = TCP_HEADER;
  if (extras.mss !== undefined) at = writeMss(buf, at, extras.mss);
  if (extras.sackPermitted) at = writeSackPermitted(buf, at);
  if (extras.timestamps) at = writeTimestamps(buf, at, extras.timestamps.value, extras.timestamps.echo);
  if (extras.windowScale !== undefined) at = writeWindowScale(buf, at, extras.windowScale);
  if (extras.sack && extras.sack.length > 0) {
    const count = Math.min(extras.sack.length >> 1, (TCP_HEADER + 40 - at - 4) >> 3);
    at = writeSack(buf, at, extras.sack, count);
  }
  buf.set(payload, at);
  const length = at + payload.length;
  tcpWrite(buf, 0, s.srcPort, s.dstPort, s.seq, s.ack, at, s.flags, s.window);
  tcpSeal(buf, 0, length, pseudo(length));
  return buf.subarray(0, length);
}

/** The ports of a segment that an ICMP error quotes. It quotes at least the first eight bytes. */
export function quotedPorts(buf: Uint8Array, at: number): { src: number; dst: number } {
  return { src: get16(buf, at), dst: get16(buf, at + 2) };
}
