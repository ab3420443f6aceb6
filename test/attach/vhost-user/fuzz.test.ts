/** Rings and messages at random: the process lives, nothing hangs, nothing is delivered that is too long, and nothing stays. */
import { expect, it } from "vitest";
import { MAX_FRAME } from "../../../src/core/link.ts";
import { type FrontEnd, GUEST, RECEIVE, SEND } from "../../support/vhost-user/front-end.ts";
import { frame, transmit } from "../recorder.ts";
import { guestMappings, vhostRig } from "./rig.ts";

/** The same numbers for the same seed. */
function randomness(seed: number): (below: number) => number {
  let x = seed | 1;
  return (below) => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) % below;
  };
}

/** Scribbles over descriptors, rings and what headers and indirect tables are made of. */
function scribble(end: FrontEnd, random: (below: number) => number): void {
  for (const ring of end.rings) {
    for (let i = 0; i < 24; i++) {
      const at = ring.descriptorsAt + 16 * random(ring.size);
      const where = random(8) === 0 ? random(0x7fff_ffff) : GUEST + random(end.size);
      end.view.setBigUint64(at, BigInt(where) | (random(20) === 0 ? BigInt(random(0x7fff_ffff)) << 33n : 0n), true);
      end.view.setUint32(
        at + 8,
        random(4) === 0 ? random(random(2) ? 30_000 : 0x7fff_ffff) : random(200) * (random(2) ? 16 : 1),
        true,
      );
      end.view.setUint16(at + 12, random(8), true);
      end.view.setUint16(at + 14, random(ring.size + (random(8) === 0 ? 8 : 0)), true);
    }
    for (let i = random(6); i > 0; i--) ring.offer(random(ring.size + (random(10) === 0 ? 1 : 0)));
    if (random(10) === 0) ring.setAvail(random(65_536));
  }
  for (let i = 0; i < 400; i++) end.bytes[end.free + random(4_000)] = random(256);
}

it("rings at random", async () => {
  const rig = await vhostRig();
  rig.recorder.keep = false;
  rig.recorder.onReceive = (_link, slab, at, len) => {
    expect(len).toBeLessThanOrEqual(MAX_FRAME);
    expect(at + len).toBeLessThanOrEqual(slab.bytes.length);
    slab.elsewhere?.fill(at, len);
  };
  let asked = 0;
  Object.assign(rig.recorder, { leavesPayload: () => asked++ % 2 === 0 });
  const mappings = guestMappings();
  for (let seed = 1; seed <= 60; seed++) {
    const random = randomness(seed * 7919);
    const features = ~0n ^ (random(2) ? 1n << 15n : 0n) ^ (random(2) ? 1n << 29n : 0n);
    const end = await rig.start({ features, memory: 1 << 20 });
    const link = rig.recorder.links.at(-1)!;
    for (let round = 0; round < 10; round++) {
      scribble(end, random);
      end.kick(SEND);
      end.kick(RECEIVE);
      transmit(link, frame(14 + random(3_000), round));
      await new Promise(setImmediate);
    }
    await end.ask(1);
    end.close();
    await rig.recorder.until(() => rig.recorder.gone.includes(link));
  }
  expect(guestMappings()).toBe(mappings);
  expect(rig.pool.inUse).toBe(0);
  expect(rig.drops.counts["virtio-ring"]).toBeGreaterThan(20);
}, 60_000);

it("messages at random", async () => {
  const rig = await vhostRig();
  for (let seed = 1; seed <= 60; seed++) {
    const random = randomness(seed * 104_729);
    const end = rig.connect({ memory: 1 << 20 });
    if (random(2)) await end.start();
    const before = rig.notices.length;
    for (let i = 0; i < 30; i++) {
      const payload = new Uint8Array(random(3) === 0 ? random(400) : 8 * random(6));
      for (let k = 0; k < payload.length; k++) payload[k] = random(3) ? random(3) : random(256);
      const { kick, call } = end.rings[random(2) as 0 | 1];
      const descriptors = [[], [], [kick], [call], [end.memoryFd], [kick, end.memoryFd]][random(6)]!;
      if (!end.tell(random(42), payload, descriptors, random(12) === 0 ? random(16) : 1 | (random(2) << 3))) break;
      if (random(4) === 0) await new Promise(setImmediate);
      if (rig.notices.length > before) break;
    }
    end.close();
  }
  const end = await rig.start();
  end.offerFrame(frame(60));
  end.kick(SEND);
  rig.recorder.frames.length = 0;
  await rig.recorder.until(() => rig.recorder.frames.length > 0);
}, 60_000);
