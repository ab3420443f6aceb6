/** QEMU's framing: a read full of frames, handed over one by one to a receiver that only counts. */
import { FrameDecoder } from "../src/attach/decoder.ts";
import { SlabPool } from "../src/attach/slab.ts";
import type { LinkReceiver } from "../src/core/link.ts";
import { NO_TRACE } from "../src/core/trace.ts";
import { get32, put32 } from "../src/wire/bytes.ts";
import { type Case, same } from "./case.ts";
import { DiscardingLink } from "./guest.ts";

const LEN = 1_460;

export function decodeCases(): Case[] {
  let frames = 0;
  let bytes = 0;
  let places = 0;
  const receiver: LinkReceiver = {
    attached() {},
    receive(_link, slab, at, len) {
      frames++;
      bytes += len;
      places += slab.bytes[at]!;
    },
    batchEnd() {},
    writable() {},
    detached() {},
  };
  const decoder = new FrameDecoder(new SlabPool(), receiver, new DiscardingLink(), NO_TRACE);
  const per = Math.floor(decoder.readArea.length / (LEN + 4));
  let first = 0;
  for (let k = 0; k < per; k++) first += k & 255;
  /** A cable gives its memory back between reads, and mostly has the same again. */
  const fill = (area: Uint8Array): void => {
    if (get32(area, 0) === LEN) return;
    for (let k = 0; k < per; k++) {
      put32(area, k * (LEN + 4), LEN);
      area[k * (LEN + 4) + 4] = k;
    }
  };
  return [
    {
      suite: "decoding",
      name: `frames of ${LEN} bytes, ${per} to a read`,
      per,
      bytes: LEN,
      call() {
        fill(decoder.readArea);
        if (!decoder.received(per * (LEN + 4))) throw new Error("the decoder gave up");
      },
      check(calls) {
        same("frames", frames, calls * per);
        same("bytes", bytes, calls * per * LEN);
        same("first bytes of frames", places, calls * first);
      },
    },
  ];
}
