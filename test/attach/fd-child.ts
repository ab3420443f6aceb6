/** Serves descriptor 3 as a cable that echoes, until its far end is gone. */
import { inheritStream } from "../../src/attach/client.ts";
import { SlabPool } from "../../src/attach/slab.ts";
import { DEFAULT_LIMITS } from "../../src/core/limits.ts";
import type { LinkReceiver } from "../../src/core/link.ts";
import { NO_TAP } from "../../src/core/tap.ts";
import { NO_TRACE } from "../../src/core/trace.ts";

const receiver: LinkReceiver = {
  attached() {},
  receive(link, slab, at, len) {
    const o = link.reserve(len);
    link.tx.set(slab.bytes.subarray(at, at + len), o);
    link.commit(len);
  },
  batchEnd: (link) => link.flush(),
  writable() {},
  detached() {},
};
await inheritStream(3, {
  receiver,
  pool: new SlabPool(),
  trace: NO_TRACE,
  clock: { now: () => 0 },
  tap: NO_TAP,
  limits: DEFAULT_LIMITS,
  sent: { frames: 0, bytes: 0 },
}).closed;
