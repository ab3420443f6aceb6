/** Two networks joined by VXLAN are one LAN, whichever of them is its gateway; and loops and storms stay where they are. */
import { createHash, randomBytes } from "node:crypto";
import { afterEach, describe, expect, it } from "vitest";
import { resolveName } from "../../src/cli/guest/dns.ts";
import { ipv4FromText } from "../../src/core/address.ts";
import { createNetwork, type MemoryCable, type Network, type NetworkOptions } from "../../src/index.ts";
import { ipv4ToString } from "../../src/wire/ipv4.ts";
import { type EmbeddedGuest, embeddedGuest } from "../support/embedded-guest.ts";
import { freePlace, places, Vtep } from "../support/vxlan-ends.ts";

const ALL = [255, 255, 255, 255, 255, 255];
const ONE = [0x52, 0x54, 0, 0, 0, 1];
const FAR = [0x52, 0x54, 0, 0, 0, 99];

let open: { close(): Promise<unknown> }[] = [];
let guests: EmbeddedGuest[] = [];
afterEach(async () => {
  for (const guest of guests) guest.stop();
  for (const each of open) await each.close();
  open = [];
  guests = [];
});

async function network(options: NetworkOptions): Promise<Network> {
  const made = await createNetwork(options);
  open.push(made);
  return made;
}

async function join(to: Network, last: number, hostname?: string): Promise<EmbeddedGuest> {
  const guest = await embeddedGuest(to, last, hostname);
  guests.push(guest);
  return guest;
}

/** `from` sends so much to `to`, which hashes it: both hashes. */
async function carried(from: EmbeddedGuest, to: EmbeddedGuest, bytes: Uint8Array): Promise<[string, string]> {
  const hash = createHash("sha256");
  const ended = new Promise<void>((resolve) => {
    to.guest.listen(5001, (socket) => ({
      onData: (piece) => void hash.update(piece),
      onEnd: () => {
        socket.end();
        resolve();
      },
    }));
  });
  let at = 0;
  const feed = (): void => {
    at += socket.write(bytes.subarray(at));
    if (at === bytes.length) socket.end();
  };
  const socket = from.guest.connect(to.guest.ip, 5001, { onConnect: feed, onWritable: feed });
  await ended;
  return [hash.digest("hex"), createHash("sha256").update(bytes).digest("hex")];
}

/** A guest's datagram. */
function datagram(dst: number[], src: number[]): Uint8Array {
  const ip = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 2, 15, 192, 0, 2, 1];
  return Uint8Array.from([...dst, ...src, 8, 0, ...ip, 0, 9, 0, 9, 0, 8, 0, 0]);
}

/** A frame of a local protocol, as a segment may have them. */
function eth(dst: number[], src: number[], payload = 1, type = 0x88b5): Uint8Array {
  return Uint8Array.from([...dst, ...src, type >> 8, type & 255, payload]);
}

/** Once all that was sent to a network before has arrived there. */
async function settled(far: Vtep, seen: MemoryCable): Promise<void> {
  const before = seen.onFrame;
  const marker = eth([0x52, 0x54, 0, 0, 0, 1], FAR, 0x77);
  const came = new Promise<void>((resolve) => {
    seen.onFrame = (frame) => {
      before?.(frame);
      if (frame[14] === 0x77) resolve();
    };
  });
  await far.send(marker);
  await came;
  seen.onFrame = before;
}

describe.each([
  ["IPv4", "127.0.0.11", "127.0.0.12", 1450],
  ["IPv6", "::1", "::1", 1430],
])("two networks joined over %s", (_, hostA, hostB, mtu) => {
  it("are one LAN: DHCP, names, ping and TCP from guest to guest and to the gateway of one of them", async () => {
    const [a, b] = [await freePlace(hostA), await freePlace(hostB)];
    const gateway = await network({ uplink: { remotes: [b], vni: 7, local: a } });
    const bridge = await network({ mode: "bridged", uplink: `vxlan://${a}?vni=7&local=${b}` });
    const near = await join(gateway, 1, "near");
    const far = await join(bridge, 2, "far");
    expect(far.guest.mtu).toBe(mtu);
    expect(gateway.leases().map(({ ip, hostname }) => [ip, hostname])).toEqual([
      ["10.0.2.15", "near"],
      ["10.0.2.16", "far"],
    ]);
    expect(bridge.leases()).toEqual([]);
    for (const [from, to] of [
      [near, "10.0.2.16"],
      [far, "10.0.2.15"],
      [far, "10.0.2.2"],
    ] as const)
      expect(await from.guest.ping(ipv4FromText(to), 1000)).toBeGreaterThanOrEqual(0);
    expect(ipv4ToString(await resolveName(far.guest, "near.internal"))).toBe("10.0.2.15");
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      const [received, sent] = await carried(from, to, randomBytes(500_000));
      expect(received).toBe(sent);
    }
    const [stats] = bridge.uplinks().map(({ stats }) => stats);
    expect(stats!.bytesIn).toBeGreaterThan(500_000);
    expect(stats!.bytesOut).toBeGreaterThan(500_000);
    // Nothing of the other guest's TCP has passed a stack of ours.
    expect([...gateway.flows(), ...bridge.flows()].filter(({ proto }) => proto === "tcp")).toEqual([]);
    const drops = Object.entries({ ...bridge.stats().drops }).filter(([, count]) => count > 0);
    expect(drops).toEqual([]);
  });
});

describe("a bridged network", () => {
  it("is silent by itself: guests hear what the segment says, and nothing of ours", async () => {
    const [here] = (await places(1)) as [string];
    const far = await Vtep.open("127.0.0.11", here, 7);
    open.push(far);
    const bridge = await network({ mode: "bridged", uplink: `vxlan://${far.place}?vni=7&local=${here}` });
    const got: Uint8Array[] = [];
    const cable = bridge.cable((frame) => got.push(frame));
    // A question for our gateway's address, in ARP.
    const arp = [0, 1, 8, 0, 6, 4, 0, 1, ...ONE, 10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2];
    cable.send(Uint8Array.from([...ALL, ...ONE, 8, 6, ...arp]));
    await far.until(() => far.got.length === 1);
    await settled(far, cable);
    expect(got).toHaveLength(1);
    expect(bridge.stats()).toMatchObject({ framesIn: 1 });
    await expect(bridge.publish("0:22")).rejects.toThrow("expected another mode, or dhcp on");
    await expect(bridge.connect({ host: "10.0.2.15", port: 22 })).rejects.toThrow("expected another mode, or dhcp on");
  });

  it("lets the segment's DHCP and router through, and no guest be either", async () => {
    const [here] = (await places(1)) as [string];
    const far = await Vtep.open("127.0.0.11", here, 7);
    open.push(far);
    const bridge = await network({ mode: "bridged", uplink: `vxlan://${far.place}?vni=7&local=${here}` });
    const got: Uint8Array[] = [];
    const cable = bridge.cable((frame) => got.push(frame));
    cable.send(datagram(FAR, ONE));
    await far.until(() => far.got.length === 1);
    const offer = (src: number[]) =>
      Uint8Array.from([
        ...[...ALL, ...src, 8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 168, 1, 1, 255, 255, 255, 255],
        ...[0, 67, 0, 68, 0, 8, 0, 0],
      ]);
    const advert = (src: number[]) =>
      Uint8Array.from([
        ...[0x33, 0x33, 0, 0, 0, 1, ...src, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 58, 255],
        ...[0xfe, 0x80, ...new Array(13).fill(0), 9, 0xff, 2, ...new Array(13).fill(0), 1, 134, 0, 0, 0, 0, 0, 0, 0],
      ]);
    await far.send(offer(FAR), advert(FAR));
    cable.send(offer(ONE), advert(ONE));
    await settled(far, cable);
    expect(got.map((frame) => frame.length)).toEqual([42, 62, 15]);
    expect(bridge.stats().drops.policy).toBe(2);
    expect(far.got).toHaveLength(1);
  });

  it("with two uplinks to the same segment, a loop, hears a frame once and sends nobody's frames round", async () => {
    const [here, also] = (await places(2)) as [string, string];
    const first = await Vtep.open("127.0.0.31", here, 7);
    const second = await Vtep.open("127.0.0.32", also, 7);
    open.push(first, second);
    const bridge = await network({ mode: "bridged", uplink: `vxlan://${first.place}?vni=7&local=${here}` });
    await bridge.uplink({ remotes: [second.place], vni: 7, local: also });
    expect(bridge.uplinks().map(({ remotes }) => remotes)).toEqual([[first.place], [second.place]]);
    const got: Uint8Array[] = [];
    const cable = bridge.cable((frame) => got.push(frame));
    cable.send(datagram(ALL, ONE));
    await Promise.all([first.until(() => first.got.length === 1), second.until(() => second.got.length === 1)]);
    // The segment carries each frame to its other exit.
    await first.send(second.got[0]!);
    await second.send(first.got[0]!);
    await first.send(eth(ALL, FAR));
    await settled(first, cable);
    await second.send(eth(ALL, FAR));
    while (bridge.stats().drops["mac-flapping"] === 0) await new Promise((resolve) => setImmediate(resolve));
    await settled(first, cable);
    expect(got.map((frame) => frame[14])).toEqual([1, 0x77, 0x77]);
    expect(bridge.stats().drops).toMatchObject({ "mac-spoofed": 2, "mac-flapping": 1 });
    expect([first.got.length, second.got.length]).toEqual([1, 1]);
    await bridge.uplinks()[1]!.close();
    expect(bridge.uplinks()).toHaveLength(1);
    cable.send(datagram(ALL, ONE));
    await first.until(() => first.got.length === 2);
  });

  it("a storm from the segment reaches guests at a bounded rate, and is counted", async () => {
    const [here] = (await places(1)) as [string];
    const far = await Vtep.open("127.0.0.11", here, 7);
    open.push(far);
    const bridge = await network({ mode: "bridged", uplink: `vxlan://${far.place}?vni=7&local=${here}` });
    let floods = 0;
    const cable = bridge.cable((frame) => {
      if (frame[0] === 255) floods++;
    });
    cable.send(datagram(FAR, ONE));
    const started = performance.now();
    // In pieces that the socket's queue holds: what the kernel drops nobody counts.
    for (let i = 0; i < 120; i++) {
      await far.send(...Array.from({ length: 50 }, () => eth(ALL, FAR)));
      await settled(far, cable);
    }
    const seconds = (performance.now() - started) / 1000;
    expect(floods).toBeLessThanOrEqual(5_000 + Math.ceil(5_000 * seconds));
    expect(bridge.stats().drops.storm).toBe(6_000 - floods);
  });
});

describe("a shared network with an uplink", () => {
  it("is not posed for by the segment, nor are its guests", async () => {
    const [here] = (await places(1)) as [string];
    const far = await Vtep.open("127.0.0.11", here, 7);
    open.push(far);
    const net = await network({ ipv6: false, uplink: `vxlan://${far.place}?vni=7&local=${here}` });
    const got: Uint8Array[] = [];
    const cable = net.cable((frame) => got.push(frame));
    cable.send(datagram(FAR, ONE));
    await far.until(() => far.got.some((frame) => frame[11] === 1));
    const gateway = [0x52, 0x55, 10, 0, 2, 2];
    const claim = [0, 1, 8, 0, 6, 4, 0, 2, ...FAR, 10, 0, 2, 2, ...ONE, 10, 0, 2, 15];
    await far.send(eth(ALL, ONE), eth(ONE, gateway), Uint8Array.from([...ONE, ...FAR, 8, 6, ...claim]));
    got.length = 0;
    await settled(far, cable);
    expect(got.map((frame) => frame[14])).toEqual([0x77]);
    expect(net.stats().drops).toMatchObject({ "mac-spoofed": 2, policy: 1 });
  });

  it("no guest sends datagrams to the uplink's other end, as if they came from us", async () => {
    const [here] = (await places(1)) as [string];
    const far = await Vtep.open("127.0.0.11", here, 7);
    open.push(far);
    const net = await network({
      uplink: `vxlan://${far.place}?vni=7&local=${here}`,
      onFlow: ({ remote }) => (remote.host === "192.0.2.1" ? { redirect: endpoint(far.place) } : "allow"),
    });
    const one = await join(net, 1);
    const before = far.got.length;
    const refused = new Promise<number>((resolve) => {
      const socket = one.guest.udp();
      socket.onUnreachable = (code) => resolve(code);
      socket.send(new Uint8Array(30), ipv4FromText("192.0.2.1"), 4789);
    });
    expect(await refused).toBe(3);
    expect(far.got.slice(before).filter((frame) => frame.length === 22)).toEqual([]);
  });
});

function endpoint(place: string): { host: string; port: number } {
  const [host, port] = place.split(":") as [string, string];
  return { host, port: Number(port) };
}
