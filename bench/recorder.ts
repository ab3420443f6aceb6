/** A recorder whose blocks are made and summed as those of a file, and then forgotten: what it costs without the disk. */
import { BlockWriter } from "../src/record/codec.ts";
import { crc32 } from "../src/record/crc.ts";
import { Recorder } from "../src/record/recorder.ts";
import { FRAME, Guest, MSS } from "./guest.ts";
import { BATCH, batch, FIRST } from "./walks.ts";

const BLOCK = 262_144;

export const RECORDED = ["payload off", "payload on", "stopped again"] as const;
type How = (typeof RECORDED)[number];

export function benchRecorder(how: How, count: (bytes: number) => void = () => {}): Recorder {
  const block = new BlockWriter();
  const recorder = new Recorder(
    {
      block,
      entry(name, values) {
        block.entry(name, values);
        this.ended();
      },
      ended() {
        if (block.used < BLOCK) return;
        const full = block.take();
        crc32(full);
        count(full.length);
        block.give(full);
      },
    },
    how === "payload on",
  );
  if (how === "stopped again") recorder.stop();
  return recorder;
}

/** Bytes of a recording for each segment of a guest's. */
export function recordRows(): string[] {
  return RECORDED.slice(0, 2).map((how) => {
    let bytes = 0;
    const guest = new Guest(
      0,
      null,
      benchRecorder(how, (more) => {
        bytes += more;
      }),
    );
    const { write } = batch();
    const batches = 500;
    for (let n = 0; n < batches; n++) {
      const segments = n === 0 ? FIRST : BATCH;
      write(guest.slab.bytes, guest.seq, guest.ack);
      for (let k = 0; k < segments; k++) guest.receiver.receive(guest.link, guest.slab, k * FRAME, FRAME);
      guest.receiver.batchEnd(guest.link);
      guest.seq = (guest.seq + segments * MSS) | 0;
      guest.clock.advance(1);
    }
    return `| recording | a guest's segment of ${MSS} bytes, ${how} | ${Math.round(bytes / (batches * BATCH))} |`;
  });
}
