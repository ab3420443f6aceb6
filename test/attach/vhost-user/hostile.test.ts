/** Lies that a ring, a descriptor or a message can tell: each is refused and counted, and whoever comes next is served. */
import { describe, expect, it } from "vitest";
import * as m from "../../../src/attach/vhost-user/messages.ts";
import { type FrontEnd, INDIRECT, NEXT, RECEIVE, SEND, WRITE } from "../../support/vhost-user/front-end.ts";
import { closeFd, memfd } from "../../support/vhost-user/native.ts";
import { frame, transmit } from "../recorder.ts";
import { guestMappings, type VhostRig, vhostRig } from "./rig.ts";

/** Another guest comes and is served. */
async function serves(rig: VhostRig): Promise<void> {
  const end = await rig.start();
  const before = rig.recorder.frames.length;
  end.offerFrame(frame(99, 1));
  end.kick(SEND);
  await rig.recorder.until(() => rig.recorder.frames.length > before);
}

const refused = (rig: VhostRig, end: FrontEnd): Promise<true> =>
  end.until(() => (rig.drops.counts["virtio-ring"] > 0 ? true : null), "a refusal");

describe("a sending ring that lies is stopped and counted:", () => {
  const far = 0x3fff_0000;
  it.each<[string, (end: FrontEnd) => void]>([
    [
      "a chain in a circle",
      (end) => {
        end.rings[SEND].describe(0, { at: end.free, len: 10, flags: NEXT, next: 1 });
        end.rings[SEND].describe(1, { at: end.free, len: 10, flags: NEXT, next: 0 });
        end.rings[SEND].offer(0);
      },
    ],
    [
      "a circle of nothing",
      (end) => {
        end.rings[SEND].describe(0, { at: end.free, len: 0, flags: NEXT, next: 0 });
        end.rings[SEND].offer(0);
      },
    ],
    ["a descriptor beyond the ring", (end) => end.rings[SEND].offer(64)],
    [
      "a next one beyond the ring",
      (end) => {
        end.rings[SEND].describe(0, { at: end.free, len: 10, flags: NEXT, next: 64 });
        end.rings[SEND].offer(0);
      },
    ],
    [
      "memory beyond the guest's",
      (end) => {
        end.rings[SEND].describe(0, { at: far, len: 100 });
        end.rings[SEND].offer(0);
      },
    ],
    [
      "memory that ends beyond the guest's",
      (end) => {
        end.rings[SEND].describe(0, { at: end.size - 50, len: 100 });
        end.rings[SEND].offer(0);
      },
    ],
    [
      "memory before the guest's",
      (end) => {
        end.view.setBigUint64(end.rings[SEND].descriptorsAt, 0x1000n, true);
        end.view.setUint32(end.rings[SEND].descriptorsAt + 8, 100, true);
        end.rings[SEND].offer(0);
      },
    ],
    [
      "an address of 64 bits",
      (end) => {
        end.view.setBigUint64(end.rings[SEND].descriptorsAt, 0xffff_ffff_ffff_ff00n, true);
        end.view.setUint32(end.rings[SEND].descriptorsAt + 8, 100, true);
        end.rings[SEND].offer(0);
      },
    ],
    [
      "a frame that is to be written",
      (end) => {
        end.rings[SEND].describe(0, { at: end.free, len: 100, flags: WRITE });
        end.rings[SEND].offer(0);
      },
    ],
    ["more available than the ring holds", (end) => end.rings[SEND].setAvail(65)],
    ["a counter that goes back", (end) => end.rings[SEND].setAvail(65_535)],
    [
      "an indirect table within another",
      (end) => {
        end.rings[SEND].describe(0, { at: end.free, len: 16, flags: INDIRECT }, end.free);
        end.rings[SEND].describe(0, { at: end.free, len: 16, flags: INDIRECT });
        end.rings[SEND].offer(0);
      },
    ],
    [
      "an indirect table with a next",
      (end) => {
        end.rings[SEND].describe(0, { at: end.free, len: 16, flags: INDIRECT | NEXT, next: 1 });
        end.rings[SEND].offer(0);
      },
    ],
    [
      "an indirect table of no whole entries",
      (end) => {
        end.rings[SEND].describe(0, { at: end.free, len: 17, flags: INDIRECT });
        end.rings[SEND].offer(0);
      },
    ],
    [
      "an empty indirect table",
      (end) => {
        end.rings[SEND].describe(0, { at: end.free, len: 0, flags: INDIRECT });
        end.rings[SEND].offer(0);
      },
    ],
    [
      "an indirect table longer than the ring",
      (end) => {
        end.rings[SEND].describe(0, { at: end.free, len: 16 * 65, flags: INDIRECT });
        end.rings[SEND].offer(0);
      },
    ],
    [
      "an indirect table beyond the guest's memory",
      (end) => {
        end.rings[SEND].describe(0, { at: end.size - 16, len: 32, flags: INDIRECT });
        end.rings[SEND].offer(0);
      },
    ],
    [
      "a circle in an indirect table",
      (end) => {
        end.rings[SEND].describe(0, { at: end.free, len: 1, flags: NEXT, next: 0 }, end.free);
        end.rings[SEND].describe(0, { at: end.free, len: 16, flags: INDIRECT });
        end.rings[SEND].offer(0);
      },
    ],
  ])("%s", async (_, lie) => {
    const rig = await vhostRig();
    const end = await rig.start();
    lie(end);
    end.kick(SEND);
    await refused(rig, end);
    expect(rig.drops.counts["virtio-ring"]).toBe(1);
    expect(rig.recorder.frames).toHaveLength(0);
    // Nothing comes of it any more, until the front end starts it again; the other ring goes on.
    end.kick(SEND);
    await end.ask(m.GET_FEATURES);
    expect(transmit(rig.recorder.links[0]!, frame(60))).toBe(true);
    await serves(rig);
  });

  it("and runs again after a reset of the driver", async () => {
    const rig = await vhostRig();
    const end = await rig.start();
    end.rings[SEND].offer(64);
    end.kick(SEND);
    await refused(rig, end);
    expect(await end.stop(SEND)).toBe(0);
    end.rings[SEND].avail = 0;
    end.rings[SEND].setAvail(0);
    end.tellRing(SEND);
    end.offerFrame(frame(60, 4));
    end.kick(SEND);
    await rig.recorder.until(() => rig.recorder.frames.length === 1);
  });

  it("with indirect tables that were not agreed upon, too", async () => {
    const rig = await vhostRig();
    const end = await rig.start({ features: ~(1n << 28n) });
    end.rings[SEND].describe(0, { at: end.free, len: 32 }, end.free);
    end.rings[SEND].describe(0, { at: end.free, len: 16, flags: INDIRECT });
    end.rings[SEND].offer(0);
    end.kick(SEND);
    await refused(rig, end);
  });
});

describe("a receiving ring that lies is stopped and counted:", () => {
  it.each<[string, (end: FrontEnd) => void]>([
    ["a buffer that is not to be written", (end) => end.rings[RECEIVE].describe(0, { at: end.free, len: 1536 })],
    [
      "a buffer beyond the guest's memory",
      (end) => end.rings[RECEIVE].describe(0, { at: end.size, len: 1536, flags: WRITE }),
    ],
    [
      "a buffer that reaches beyond it",
      (end) => end.rings[RECEIVE].describe(0, { at: end.size - 9, len: 1536, flags: WRITE }),
    ],
    ["a buffer of 4 GiB", (end) => end.rings[RECEIVE].describe(0, { at: 0, len: 0xffff_ffff, flags: WRITE })],
    [
      "a buffer too small for a header",
      (end) => end.rings[RECEIVE].describe(0, { at: end.free, len: 11, flags: WRITE }),
    ],
    ["an empty buffer", (end) => end.rings[RECEIVE].describe(0, { at: end.free, len: 0, flags: WRITE })],
    ["a circle", (end) => end.rings[RECEIVE].describe(0, { at: end.free, len: 64, flags: WRITE | NEXT, next: 0 })],
    ["more available than the ring holds", (end) => end.rings[RECEIVE].setAvail(129)],
  ])("%s", async (_, lie) => {
    const rig = await vhostRig();
    const end = await rig.start();
    lie(end);
    expect(transmit(rig.recorder.links[0]!, frame(60))).toBe(false);
    expect(rig.drops.counts["virtio-ring"]).toBe(1);
    expect(transmit(rig.recorder.links[0]!, frame(60))).toBe(false);
    expect(rig.drops.counts["virtio-ring"]).toBe(1);
    await serves(rig);
  });
});

describe("a message that cannot be right ends the connection, with a line:", () => {
  const bytes = (...numbers: readonly number[]): Buffer => {
    const payload = Buffer.alloc(4 * numbers.length);
    for (const [i, each] of numbers.entries()) payload.writeUInt32LE(each >>> 0, 4 * i);
    return payload;
  };
  it.each<[string, RegExp, (end: FrontEnd) => void]>([
    [
      "memory that is not shared",
      /not shared: QEMU needs/,
      (end) => void end.tell(m.SET_MEM_TABLE, Buffer.concat([bytes(1, 0), end.region(0, 4096)])),
    ],
    ["an unknown request", /message 99/, (end) => void end.tell(99)],
    ["another version", /another version/, (end) => void end.tell(m.SET_OWNER, new Uint8Array(0), [], 2)],
    ["a payload too short", /too short/, (end) => void end.tell(m.SET_FEATURES, bytes(1))],
    ["a payload too long", /too long/, (end) => void end.tell(m.SET_OWNER, new Uint8Array(2_000))],
    [
      "a table shorter than it says",
      /too short/,
      (end) => void end.tell(m.SET_MEM_TABLE, bytes(8, 0, 0), [end.memoryFd]),
    ],
    [
      "more descriptors than regions",
      /more descriptors/,
      (end) =>
        void end.tell(m.SET_MEM_TABLE, Buffer.concat([bytes(1, 0), end.region(0, 4096)]), [end.memoryFd, end.memoryFd]),
    ],
    ["memory beyond the file's end", /the file has/, (end) => end.tellMemory([{ at: 0, size: end.size + 4096 }])],
    ["an empty region", /cannot be/, (end) => end.tellMemory([{ at: 0, size: 0 }])],
    [
      "regions that overlap",
      /share/,
      (end) =>
        end.tellMemory([
          { at: 0, size: 8192 },
          { at: 4096, size: 8192 },
        ]),
    ],
    [
      "a descriptor of no memory",
      /not of memory/,
      (end) => void end.tell(m.SET_MEM_TABLE, Buffer.concat([bytes(1, 0), end.region(0, 4096)]), [end.rings[0].kick]),
    ],
    ["a ring that there is not", /no ring 2/, (end) => end.tellState(m.SET_VRING_NUM, 2, 64)],
    ["a ring of no entries", /cannot have 0/, (end) => end.tellState(m.SET_VRING_NUM, 0, 0)],
    ["a ring of 48 entries", /cannot have 48/, (end) => end.tellState(m.SET_VRING_NUM, 0, 48)],
    ["a ring of 65536 entries", /cannot have 65536/, (end) => end.tellState(m.SET_VRING_NUM, 0, 65_536)],
    ["features that were not offered", /were not offered/, (end) => end.tellNumber(m.SET_FEATURES, 1n << 60n)],
    ["a kick without its descriptor", /without its descriptor/, (end) => end.tellNumber(m.SET_VRING_KICK, 1n)],
    [
      "a kick by a file, over which libuv would abort",
      /no eventfd/,
      (end) => end.tellNumber(m.SET_VRING_KICK, 1n, [end.memoryFd]),
    ],
    ["a call by a socket", /no eventfd/, (end) => end.tellNumber(m.SET_VRING_CALL, 1n, [end.fd])],
    [
      "more descriptors than any message has",
      /cannot be read|too many/,
      (end) => void end.tell(m.SET_OWNER, new Uint8Array(0), Array(40).fill(end.memoryFd)),
    ],
    [
      "a region to remove that there is not",
      /no region/,
      (end) => void end.tell(m.REM_MEM_REG, Buffer.concat([bytes(0, 0), end.region(0, 4096)])),
    ],
    [
      "its end in the middle of a message",
      /middle of a message/,
      (end) => {
        end.tell(m.SET_OWNER);
        end.half();
      },
    ],
  ])("%s", async (_, line, lie) => {
    const rig = await vhostRig();
    const mappings = guestMappings();
    const end = await rig.start();
    lie(end);
    await rig.recorder.until(() => rig.recorder.gone.length === 1);
    expect(rig.notices.join("\n")).toMatch(line);
    expect(guestMappings()).toBe(mappings + 1);
    await serves(rig);
  });

  it("with REPLY_ACK it is answered first", async () => {
    const rig = await vhostRig();
    const end = await rig.start();
    end.tellState(m.SET_VRING_NUM, 0, 3, 9);
    expect(await end.reply(m.SET_VRING_NUM)).toBe(1n);
    expect(await end.hungUp()).toBe(true);
  });

  it("rings outside the guest's memory, or askew, do not run", async () => {
    for (const off of [1 << 30, 8]) {
      const rig = await vhostRig();
      const end = await rig.start();
      await end.stop(SEND);
      end.tellAddresses(SEND, off);
      end.tellNumber(m.SET_VRING_KICK, BigInt(SEND), [end.rings[SEND].kick]);
      end.offerFrame(frame(60));
      end.kick(SEND);
      await end.ask(m.GET_FEATURES);
      expect(rig.recorder.frames).toHaveLength(0);
      await serves(rig);
    }
  });

  it("memory that changes under the read changes no check: what arrives is as long as was said once", async () => {
    const rig = await vhostRig();
    const end = await rig.start({ size: 256 });
    rig.recorder.keep = false;
    let longest = 0;
    rig.recorder.onReceive = (_link, slab, at, len) => {
      longest = Math.max(longest, len);
      expect(at + len).toBeLessThanOrEqual(slab.bytes.length);
      // From within the batch, the guest rewrites its descriptors and counters.
      end.rings[SEND].describe(0, { at: end.size - 1, len: 0xffff_ffff, flags: NEXT | WRITE, next: 9 });
      end.rings[SEND].setAvail(Math.floor(Math.random() * 65_536));
    };
    for (let i = 0; i < 20; i++) end.offerFrame(frame(60, i), [12], 4 * (i % 8));
    end.kick(SEND);
    await end.ask(m.GET_FEATURES);
    expect(longest).toBe(60);
    rig.recorder.onReceive = null;
    rig.recorder.keep = true;
    await serves(rig);
  });
});

it("memory as a front end's that is cut off meanwhile is refused before it is mapped", async () => {
  const rig = await vhostRig();
  const end = rig.connect();
  await end.agree();
  const empty = memfd();
  end.tell(m.ADD_MEM_REG, Buffer.concat([Buffer.alloc(8), end.region(0, 4096)]), [empty], 9);
  expect(await end.reply(m.ADD_MEM_REG)).toBe(1n);
  closeFd(empty);
});
