/** A network of its own for each guest that comes to a listening socket (`--per-guest`). */
import dgram from "node:dgram";
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { GuestCable } from "../../src/cli/guest/guest.ts";
import { ipv4FromText } from "../../src/core/address.ts";
import { GuestNetworks } from "../../src/guest-networks.ts";
import { type EmbeddedGuest, embeddedGuest, type Plug } from "../support/embedded-guest.ts";
import { webSocketPlug } from "../support/web-socket-plug.ts";
import { framedCable } from "./framed-cable.ts";

const KINDS = ["unix", "tcp", "udp", "ws"] as const;
type Kind = (typeof KINDS)[number];

let folder: string;
let networks: GuestNetworks;
const guests: EmbeddedGuest[] = [];
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "each-"));
});
afterEach(async () => {
  vi.useRealTimers();
  for (const guest of guests.splice(0)) guest.stop();
  await networks.close();
  fs.rmSync(folder, { recursive: true });
});

const targets: Readonly<Record<Kind, () => string>> = {
  unix: () => `unix:${folder}/s`,
  tcp: () => "tcp:127.0.0.1:0",
  udp: () => "udp:127.0.0.1:0",
  ws: () => "ws://127.0.0.1:0",
};

async function listen(kind: Kind): Promise<() => Promise<Plug>> {
  const address = await networks.listenAt(targets[kind]());
  return async () => {
    if (address.kind === "ws") return webSocketPlug(`ws://127.0.0.1:${address.port}/`);
    if (address.kind === "udp") return datagramPlug(address.port);
    const socket = "path" in address ? net.connect(address.path) : net.connect(address.port, address.host);
    socket.on("error", () => {});
    await once(socket, "connect");
    return { cable: () => Object.assign(framedCable(socket), { close: () => void socket.destroy() }) };
  };
}

async function datagramPlug(port: number): Promise<Plug> {
  const socket = dgram.createSocket("udp4");
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  const cable: GuestCable & { close(): void } = {
    onFrame: null,
    send: (frame) => socket.send(frame.slice(), port, "127.0.0.1"),
    close: () => socket.close(),
  };
  socket.on("message", (bytes) => cable.onFrame?.(new Uint8Array(bytes)));
  return { cable: () => cable };
}

async function guest(plug: Plug, last: number): Promise<EmbeddedGuest> {
  const made = await embeddedGuest(plug, last, `vm${last}`);
  guests.push(made);
  return made;
}

for (const kind of KINDS) {
  describe(`at a socket of kind ${kind}`, () => {
    it("each guest is 10.0.2.15 of its own network, reaches the world and nobody else, and leaves nothing behind", async () => {
      networks = new GuestNetworks({ mtu: 1500 }, { idle: 1 });
      const plug = await listen(kind);
      const servers = await Promise.all(
        ["first", "second"].map(async (word) => {
          const server = net.createServer((socket) => socket.on("error", () => {}).end(word)).listen(0, "127.0.0.1");
          await once(server, "listening");
          return server;
        }),
      );
      const [a, b] = [await guest(await plug(), 1), await guest(await plug(), 2)];
      expect([a.guest.ip, b.guest.ip]).toEqual([ipv4FromText("10.0.2.15"), ipv4FromText("10.0.2.15")]);
      const [first, second] = networks.list();
      expect([first!.id, second!.id]).toEqual(["g1", "g2"]);
      expect(first!.network.leases()).toMatchObject([{ hostname: "vm1" }]);
      expect(second!.network.leases()).toMatchObject([{ hostname: "vm2" }]);
      for (const each of [a, b]) {
        const { port } = servers[0]!.address() as net.AddressInfo;
        expect(await each.dial(each.guest.gateway, port)).toBe("connected");
        expect(await each.guest.ping(each.guest.gateway)).toBeGreaterThanOrEqual(0);
      }
      // Names of the other's network are nobody's.
      expect(first!.network.guestNamed("vm2")).toBeNull();
      for (const each of guests.splice(0)) each.stop();
      // UDP tells of nobody's end: who is silent for as long as was said is let go.
      await vi.waitFor(() => expect(networks.list()).toEqual([]), { timeout: 20_000, interval: 50 });
      expect(networks.totals()).toMatchObject({ guests: 2, refused: 0 });
      expect(networks.totals().bytesIn).toBeGreaterThan(0);
      for (const server of servers) server.close();
    }, 30_000);
  });
}

describe("networks of guests", () => {
  it("are so many and no more, and one that has left makes room", async () => {
    networks = new GuestNetworks({}, { guests: 2 });
    const plug = await listen("unix");
    await guest(await plug(), 1);
    await guest(await plug(), 2);
    const third = net.connect(path.join(folder, "s"));
    await new Promise((resolve) => third.on("close", resolve));
    expect(networks.totals()).toMatchObject({ guests: 2, refused: 1 });
    guests.shift()!.stop();
    await vi.waitFor(() => expect(networks.list()).toHaveLength(1));
    await guest(await plug(), 3);
    expect(networks.list().map(({ id }) => id)).toEqual(["g2", "g3"]);
  });

  it("let go of who has said nothing for a minute, and not of who has spoken once", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "performance"] });
    networks = new GuestNetworks();
    const plug = await listen("unix");
    await guest(await plug(), 1);
    const silent = net.connect(path.join(folder, "s"));
    const closed = new Promise((resolve) => silent.on("close", resolve));
    silent.resume();
    await vi.waitFor(() => expect(networks.list()).toHaveLength(2));
    vi.advanceTimersByTime(10_000);
    vi.advanceTimersByTime(65_000);
    await closed;
    await vi.waitFor(() => expect(networks.list().map(({ id }) => id)).toEqual(["g1"]));
    vi.advanceTimersByTime(3_600_000);
    expect(networks.list()).toHaveLength(1);
  });

  it("change their rules together, for those who come later as well, or not at all", async () => {
    networks = new GuestNetworks({ rules: ["default allow"] });
    const plug = await listen("unix");
    const first = await guest(await plug(), 1);
    const server = net.createServer((socket) => socket.on("error", () => {}).end()).listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as net.AddressInfo;
    expect(await first.dial(first.guest.gateway, port)).toBe("connected");
    networks.setRules(["default deny"]);
    const second = await guest(await plug(), 2);
    expect(await first.dial(first.guest.gateway, port)).toBe("refused");
    expect(await second.dial(second.guest.gateway, port)).toBe("refused");
    expect(() => networks.setRules(["nonsense"])).toThrow();
    expect(networks.rules()).toEqual(["default deny"]);
    server.close();
  });

  it("close the sockets that guests come by to all of them", async () => {
    networks = new GuestNetworks();
    const plug = await listen("unix");
    const first = await guest(await plug(), 1);
    const later = await networks.listenAt("tcp:127.0.0.1:0");
    const { port } = later as { port: number };
    const second = await guest(await plug(), 2);
    for (const each of [first, second]) expect(await each.dial(each.guest.gateway, port)).toBe("refused");
  });

  it.each([{ publish: ["2222:22"] }, { hostfwd: ["tcp::2222-:22"] }, { uplink: "vxlan://192.0.2.7?vni=42" }])(
    "have no %j, which leads to one network",
    (options) => {
      networks = new GuestNetworks();
      expect(() => new GuestNetworks(options)).toThrow("each guest has a network of its own");
    },
  );

  it("two hundred come at once and leave at once: no handle and no listener stays", async () => {
    networks = new GuestNetworks();
    const plug = await listen("ws");
    await guest(await plug(), 1);
    const before = process.getActiveResourcesInfo().length;
    const plugs = await Promise.all(Array.from({ length: 200 }, plug));
    await vi.waitFor(() => expect(networks.list()).toHaveLength(201), 5_000);
    const all = plugs.map((each) => each.cable());
    for (const cable of all) cable.send(new Uint8Array(60).fill(255));
    for (const cable of all) cable.close();
    await vi.waitFor(() => expect(networks.list()).toHaveLength(1), 10_000);
    await vi.waitFor(() => expect(process.getActiveResourcesInfo().length).toBeLessThanOrEqual(before), 5_000);
  }, 30_000);
});
