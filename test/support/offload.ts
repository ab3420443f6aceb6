/** Cables that carry unfinished frames, and such frames, for tests. */
import { finished } from "../../src/attach/undone.ts";
import { COMPLETE, type Link, type Offload } from "../../src/core/link.ts";
import { encodeFrame, type FrameSpec, internetChecksum, isIpv6 } from "./frames.ts";

export const ALL: Offload = { sums: true, tcp4: true, tcp6: true, largest: 65_549 };

/** The same frame with its TCP or UDP checksum left undone: its field holds the pseudo-header's folded sum. */
export function undoneFrame(spec: FrameSpec): Uint8Array {
  const frame = encodeFrame(spec);
  const view = new DataView(frame.buffer);
  const v6 = isIpv6(spec);
  const ip = 14;
  // No extension headers and no padding in these specs.
  const transport = v6 ? ip + 40 : ip + (frame[ip]! & 15) * 4;
  const length = frame.length - transport;
  const addresses = v6 ? frame.slice(ip + 8, ip + 40) : frame.slice(ip + 12, ip + 20);
  const pseudo = new Uint8Array([...addresses, 0, spec.tcp ? 6 : 17, length >> 8, length & 255]);
  view.setUint16(transport + (spec.tcp ? 16 : 6), ~internetChecksum(pseudo) & 0xffff);
  return frame;
}

/** What a link was given beside frames. */
export interface Undone {
  readonly undone: number;
  readonly len: number;
}

/**
 * Makes a link offload: what is committed undone is finished before it goes on to the guest's end, as a guest's card would
 * do it, and kept in the returned list as it was.
 */
export function offloading(link: Link, offload: Offload = ALL): Undone[] {
  const seen: Undone[] = [];
  const reserve = link.reserve.bind(link);
  const commit = link.commit.bind(link);
  let at = 0;
  Object.assign(link, {
    offload,
    reserve: (len: number) => {
      at = reserve(len);
      return at;
    },
    commit: (len: number, undone: number = COMPLETE) => {
      seen.push({ undone, len });
      if (undone === COMPLETE) return commit(len);
      const frames = finished(link.tx, at, len, undone);
      if (frames === null) throw new Error("an undone frame was sent that nobody could finish");
      for (const frame of frames) {
        const o = reserve(frame.length);
        link.tx.set(frame, o);
        commit(frame.length);
      }
    },
  });
  return seen;
}
