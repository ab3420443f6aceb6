/** Datagrams that have come together: what of them arrives, and what they cost. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Endpoint, HostUdp } from "../../src/core/host-net.ts";
import { libc } from "../../src/host/libc.ts";
import { NodeRig } from "./node-rig.ts";

const c = libc();

/** What a mapping was given, copied. */
interface Heard {
  readonly text: string;
  readonly from: Endpoint;
}

describe.skipIf(c === null)(`datagrams that have come together${c === null ? " (SKIPPED: koffi)" : ""}`, () => {
  let rig: NodeRig;
  let far: Awaited<ReturnType<NodeRig["udpFar"]>>;
  let udp: HostUdp;
  let heard: Heard[];
  let onDatagram: () => void;
  /** Where the mapping is. */
  let at: Endpoint;

  beforeEach(async () => {
    rig = new NodeRig();
    far = await rig.udpFar();
    heard = [];
    onDatagram = () => {};
    udp = rig.net.openUdp(4, {
      onDatagram: (bytes, begin, len, from) => {
        heard.push({ text: Buffer.from(bytes.subarray(begin, begin + len)).toString(), from });
        onDatagram();
      },
      onUdpError() {},
    });
    udp.send(Buffer.from("x"), 0, 1, far.at, 64, false);
    await rig.until(() => far.received.length === 1);
    at = far.received[0]!.from;
  });
  afterEach(async () => {
    vi.restoreAllMocks();
    udp.close();
    await rig.close();
  });

  /** Sends them before the mapping's process can read any. */
  function burst(...texts: readonly string[]): void {
    const fd = c!.socket(4, 0);
    for (const text of texts) c!.send(fd, Buffer.from(text), text.length, "127.0.0.1", at.port);
    c!.close(fd);
  }

  it("arrive whole and in order, also more than one call takes, empty and of the greatest length", async () => {
    // As many as a socket's room holds.
    const texts = Array.from({ length: 80 }, (_, i) => `datagram ${i}`.padEnd(i % 7 === 0 ? 1_400 : 12, "."));
    texts[10] = "z".repeat(65_507);
    texts[40] = "";
    burst(...texts);
    await rig.until(() => heard.length === texts.length);
    expect(heard.map(({ text }) => text)).toEqual(texts);
  });

  it("are taken many at a time, and those of one sender make one endpoint", async () => {
    const calls: number[] = [];
    const { receiveMany } = Object.getPrototypeOf(c) as NonNullable<typeof c>;
    vi.spyOn(c!, "receiveMany").mockImplementation((fd, table, count) => {
      const taken = receiveMany.call(c, fd, table, count);
      calls.push(taken);
      return taken;
    });
    burst(...Array.from({ length: 70 }, (_, i) => String(i)));
    await rig.until(() => heard.length === 70);
    expect(calls.filter((taken) => taken > 0)).toEqual([32, 32, 6]);
    expect(new Set(heard.map(({ from }) => from)).size).toBe(1);
  });

  it("arrive each by itself, though their sender has sent them as one packet and one call reads it", async () => {
    const { receiveMany } = Object.getPrototypeOf(c) as NonNullable<typeof c>;
    let messages = 0;
    vi.spyOn(c!, "receiveMany").mockImplementation((fd, table, count) => {
      const taken = receiveMany.call(c, fd, table, count);
      messages += Math.max(taken, 0);
      return taken;
    });
    const sender = rig.net.openUdp(4, { onDatagram() {}, onUdpError() {} });
    const texts = Array.from({ length: 31 }, (_, i) => `datagram ${i}`.padEnd(i < 30 ? 1_400 : 20, String(i % 10)));
    rig.net.cork();
    for (const text of texts)
      sender.send(Buffer.from(text), 0, text.length, { host: "127.0.0.1", port: at.port }, 64, false);
    rig.net.uncork();
    await rig.until(() => heard.length === texts.length);
    expect(heard.map(({ text }) => text)).toEqual(texts);
    expect(new Set(heard.map(({ from }) => from)).size).toBe(1);
    // On Linux before 5.0 each is a message.
    expect(messages).toBeLessThan(3);
    sender.close();
  });

  it("each have their sender, who is answered", async () => {
    const others = [await rig.udpFar(), await rig.udpFar(), await rig.udpFar()];
    for (let i = 0; i < 30; i++) others[i % 3]!.send(String(i), { host: "127.0.0.1", port: at.port });
    await rig.until(() => heard.length === 30);
    for (const { text, from } of heard) expect(from).toEqual(others[Number(text) % 3]!.at);
  });

  it("end with the mapping: what came together with the one that closed it is nobody's", async () => {
    onDatagram = () => udp.close();
    burst("a", "b", "c");
    await rig.until(() => heard.length > 0);
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    expect(heard.map(({ text }) => text)).toEqual(["a"]);
  });
});
