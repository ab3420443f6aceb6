/** What a network that is over leaves to others in its process. */
import { expect, test } from "vitest";
import { CHUNK } from "../../src/proto/tcp/chunk-pool.ts";
import { giveBack, region } from "../../src/wire/arena.ts";
import { PacketScript } from "../support/packet-script.ts";

test("its send buffers go back to the arena, those with bytes under way and those kept for the next burst", () => {
  const script = new PacketScript();
  const tcp = script.tcp({ dstPort: 80 });
  tcp.establish();
  const before = region(CHUNK);
  giveBack(before);
  const far = script.host.dialled.at(-1)!;
  far.send("acknowledged");
  script.takeAll();
  tcp.send({ flags: "ACK", seq: 1, ack: 13 });
  far.send("under way");
  script.takeAll();
  expect(script.stack.gauges().sendBytes).toBe(CHUNK);
  script.stack.close();
  const after = region(CHUNK);
  expect(after.byteOffset).toBe(before.byteOffset);
});
