/** Guests with much memory, and with memory in many places: they cost others no time, and their frames come through. */
import fs from "node:fs";
import { expect, it } from "vitest";
import { MOST_MEMORY } from "../../../src/attach/vhost-user/memory.ts";
import * as m from "../../../src/attach/vhost-user/messages.ts";
import { type FrontEnd, GUEST, RECEIVE, SEND, WRITE } from "../../support/vhost-user/front-end.ts";
import { closeFd, memfd } from "../../support/vhost-user/native.ts";
import { frame, transmit } from "../recorder.ts";
import { guestMappings, vhostRig } from "./rig.ts";

const GIB = 2 ** 30;
const TIB = 2 ** 40;
/** Where the large region begins, behind `GUEST`. */
const AT = 3 * TIB + 4096;

/** Adds a sparse region at `AT`. The descriptor of its file, which is the test's to close. */
async function addRegion(end: FrontEnd, size: number, at = AT): Promise<number> {
  const fd = memfd();
  fs.ftruncateSync(fd, size);
  const region = Buffer.alloc(40);
  region.writeBigUInt64LE(BigInt(GUEST + at), 8);
  region.writeBigUInt64LE(BigInt(size), 16);
  region.writeBigUInt64LE(BigInt(8 * TIB + at), 24);
  end.tell(m.ADD_MEM_REG, region, [fd], 9);
  expect(await end.reply(m.ADD_MEM_REG)).toBe(0n);
  return fd;
}

it("a guest that shares 4 TiB is served, and so is another one meanwhile", async () => {
  const rig = await vhostRig();
  const mappings = guestMappings();
  const other = await rig.start();
  const end = await rig.start({ buffers: 0 });
  const began = performance.now();
  const fd = await addRegion(end, 4 * TIB);
  other.offerFrame(frame(60, 9));
  other.kick(SEND);
  await rig.recorder.until(() => rig.recorder.frames.length === 1);
  expect(performance.now() - began).toBeLessThan(1_000);

  // Frames stand in 60 different GiB, one of them across two, and so do the buffers for others.
  const sending = end.rings[SEND];
  const places = Array.from({ length: 60 }, (_, i) => 65 * i * GIB + 2 * GIB - 4096 - (i === 7 ? 40 : 4096 * i));
  for (const [i, place] of places.entries()) {
    fs.writeSync(fd, Buffer.concat([new Uint8Array(12), frame(1_000, i)]), 0, 1_012, place);
    sending.describe(i, { at: AT + place, len: 1_012 });
    sending.offer(i);
    end.rings[RECEIVE].describe(i, { at: AT + place + 2_000, len: 1_500, flags: WRITE });
    end.rings[RECEIVE].offer(i);
  }
  end.kick(SEND);
  await rig.recorder.until(() => rig.recorder.frames.length === 61);
  const link = rig.recorder.links[1]!;
  for (const i of places.keys()) expect(transmit(link, frame(1_000, i + 100))).toBe(true);
  await end.until(() => end.rings[RECEIVE].usedIndex === 60 || null, "60 frames");
  expect(performance.now() - began).toBeLessThan(3_000);
  for (const [i, place] of places.entries()) {
    expect(rig.recorder.frames[i + 1]).toEqual(frame(1_000, i));
    const got = new Uint8Array(1_000);
    fs.readSync(fd, got, 0, 1_000, place + 2_012);
    expect(got).toEqual(frame(1_000, i + 100));
  }
  closeFd(fd);
  end.close();
  await rig.recorder.until(() => rig.recorder.gone.length === 1);
  // The other guest's memory is still mapped, by both sides.
  expect(guestMappings()).toBe(mappings + 2);
});

it("memory that is added before other memory moves no buffer that was given", async () => {
  const rig = await vhostRig();
  const end = await rig.start({ buffers: 1 });
  const link = rig.recorder.links[0]!;
  // The one buffer has been looked at, and does not suffice.
  const long = frame(3_000);
  expect(transmit(link, long)).toBe(false);
  closeFd(await addRegion(end, 4096, -8192));
  for (const i of [1, 2]) {
    end.rings[RECEIVE].describe(i, { at: end.buffersAt + i * end.bufferSize, len: end.bufferSize, flags: WRITE });
    end.rings[RECEIVE].offer(i);
  }
  expect(transmit(link, long)).toBe(true);
  const at = end.buffersAt + end.header;
  expect(end.bytes.slice(at, at + long.length)).toEqual(long);
});

it("more memory than a guest may have ends the connection, with a line", async () => {
  const rig = await vhostRig();
  const end = rig.connect();
  await end.agree();
  await addRegion(end, MOST_MEMORY / 2).then(closeFd);
  const region = Buffer.alloc(40);
  region.writeBigUInt64LE(BigInt(2 * MOST_MEMORY), 8);
  region.writeBigUInt64LE(BigInt(MOST_MEMORY / 2 + 4096), 16);
  end.tell(m.ADD_MEM_REG, region, [end.memoryFd], 9);
  expect(await end.reply(m.ADD_MEM_REG)).toBe(1n);
  await end.hungUp();
  expect(rig.notices.join("\n")).toMatch(/more than 16 TiB of memory/);
});
