/** Datagrams that go together: how many system calls they cost, and what becomes of those that the kernel does not take. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { HostUdp } from "../../src/core/host-net.ts";
import { libc } from "../../src/host/libc.ts";
import { NodeRig } from "./node-rig.ts";

const c = libc();

describe.skipIf(c === null)(`datagrams that go together${c === null ? " (SKIPPED: koffi)" : ""}`, () => {
  const bytes = Buffer.alloc(2_000, "0123456789");
  /** The calls that matter here, in order. */
  let calls: string[] = [];
  let rig: NodeRig;
  let udp: HostUdp;
  let far: Awaited<ReturnType<NodeRig["udpFar"]>>;

  beforeEach(async () => {
    rig = new NodeRig();
    far = await rig.udpFar();
    udp = rig.net.openUdp(4, {
      onDatagram() {},
      onUdpError: ({ code }) => calls.push(code),
      onUdpLost: (count) => calls.push(`lost ${count}`),
    });
    const { sendMany, send, set } = Object.getPrototypeOf(c) as NonNullable<typeof c>;
    vi.spyOn(c!, "sendMany").mockImplementation((fd, table, count) => {
      const taken = sendMany.call(c, fd, table, count);
      calls.push(`sendmmsg ${taken}`);
      return taken;
    });
    vi.spyOn(c!, "send").mockImplementation((...args) => {
      calls.push("sendto");
      return send.apply(c, args);
    });
    vi.spyOn(c!, "set").mockImplementation((fd, family, option, value) => {
      calls.push(`${option} ${value}`);
      set.call(c, fd, family, option, value);
    });
    udp.send(bytes, 0, 1, far.at, 64, false);
    await rig.until(() => far.received.length === 1);
    calls = [];
  });
  afterEach(async () => {
    vi.restoreAllMocks();
    udp.close();
    await rig.close();
  });

  function together(...lengths: readonly number[]): void {
    rig.net.cork();
    for (const len of lengths) udp.send(bytes, 0, len, far.at, 64, false);
    rig.net.uncork();
  }

  function lengths(): number[] {
    return far.received.slice(1).map((d) => d.bytes.length);
  }

  it("are one message while they are as long as the first, and the shorter one behind them", async () => {
    const sent = [...Array.from({ length: 40 }, () => 64), 10];
    together(...sent);
    await rig.until(() => far.received.length === 42);
    expect(calls).toEqual(["sendmmsg 1"]);
    expect(lengths()).toEqual(sent);
  });

  it("are one call when they differ, a message for each run", async () => {
    const sent = [64, 64, 1_400, 1_400, 3, 3, 3, 0, 0, 5];
    together(...sent);
    await rig.until(() => far.received.length === 11);
    expect(calls).toEqual(["sendmmsg 6"]);
    expect(lengths()).toEqual(sent);
  });

  it("go by sixty-four to a run and sixty-four messages to a call", async () => {
    const sent = Array.from({ length: 130 }, () => 20);
    together(...sent);
    await rig.until(() => far.received.length === 131);
    expect(calls).toEqual(["sendmmsg 3"]);
    calls = [];
    const differ = Array.from({ length: 65 }, (_, i) => i + 1);
    together(...differ);
    await rig.until(() => far.received.length === 196);
    expect(calls).toEqual(["sendmmsg 64", "sendmmsg 1"]);
    expect(lengths()).toEqual([...sent, ...differ]);
  });

  it("keep their hop limit and DF: what has others goes apart, in order", async () => {
    rig.net.cork();
    udp.send(bytes, 0, 1, far.at, 64, false);
    udp.send(bytes, 0, 2, far.at, 9, false);
    udp.send(bytes, 0, 3, far.at, 9, true);
    udp.send(bytes, 0, 4, far.at, 9, true);
    rig.net.uncork();
    await rig.until(() => far.received.length === 5);
    expect(calls).toEqual(["sendmmsg 1", "hops 9", "sendmmsg 1", "mtuDiscover 2", "sendmmsg 2"]);
    expect(lengths()).toEqual([1, 2, 3, 4]);
  });

  it("go one by one where a run is refused, from then on", async () => {
    vi.mocked(c!.sendMany).mockImplementationOnce(() => -1);
    together(50, 50, 50);
    await rig.until(() => far.received.length === 4);
    expect(calls).toEqual(["sendto", "sendto", "sendto"]);
    calls = [];
    together(50, 50, 50);
    await rig.until(() => far.received.length === 7);
    expect(calls).toEqual(["sendmmsg 3"]);
  });

  it("are tried as a run again when it was an earlier datagram's error that came in its stead", async () => {
    udp.send(bytes, 0, 1, rig.refused, 64, false);
    calls = [];
    together(50, 50, 50);
    await rig.until(() => far.received.length === 4 && calls.includes("ECONNREFUSED"));
    expect(calls).toEqual(["sendmmsg -1", "sendto", "sendto", "sendto", "ECONNREFUSED"]);
    calls = [];
    together(50, 50, 50);
    await rig.until(() => far.received.length === 7);
    expect(calls).toEqual(["sendmmsg 1"]);
    expect(lengths()).toEqual([50, 50, 50, 50, 50, 50]);
  });

  it("lose what there is no room for, which is told, and nothing else", async () => {
    vi.mocked(c!.sendMany).mockImplementationOnce(() => 0);
    together(50, 50, 7, 30);
    await rig.until(() => far.received.length === 2);
    expect(lengths()).toEqual([30]);
    expect(calls).toEqual(["lost 3", "sendmmsg 1"]);
    vi.mocked(c!.send).mockReturnValueOnce("EAGAIN");
    udp.send(bytes, 0, 1, far.at, 64, false);
    expect(calls.at(-1)).toBe("lost 1");
  });
});
