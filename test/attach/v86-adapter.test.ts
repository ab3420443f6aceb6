/**
 * v86's own network adapter against the relay: its code (the class that `net_device: { relay_url }` makes), under Node with
 * `ws` in place of the browser's WebSocket. Behind it stands the little guest instead of the emulated card, which carries
 * too little for 100 MB in a test; `examples.slow.test.ts` has the whole PC, in a real browser.
 */
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createRequire } from "node:module";
import net from "node:net";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { WebSocket } from "ws";
import type { GuestCable } from "../../src/cli/guest/guest.ts";
import { GuestNetworks } from "../../src/guest-networks.ts";
import { type EmbeddedGuest, embeddedGuest } from "../support/embedded-guest.ts";

const MEGABYTE = 1_000_000;

/** What v86 calls its adapter, as far as it is looked at here. */
interface Adapter {
  bus: { send(name: string, frame: Uint8Array): void };
  reconnect_interval: number;
  send(frame: Uint8Array): void;
}

interface Machine {
  readonly network_adapter: Adapter;
  add_listener(event: string, listener: () => void): void;
  destroy(): Promise<void>;
}

let networks: GuestNetworks;
let machine: Machine;
let guest: EmbeddedGuest;
let port: number;
const servers: net.Server[] = [];
beforeEach(async () => {
  vi.stubGlobal("WebSocket", WebSocket);
  networks = new GuestNetworks();
  ({ port } = (await networks.listenAt("ws://127.0.0.1:0")) as { port: number });
  const { V86 } = (await import("v86")) as unknown as { V86: new (options: object) => Machine };
  machine = new V86({
    wasm_path: createRequire(import.meta.url).resolve("v86/build/v86.wasm"),
    net_device: { type: "ne2k", relay_url: `ws://127.0.0.1:${port}/` },
    autostart: false,
  });
  await new Promise<void>((resolve) => machine.add_listener("emulator-loaded", resolve));
  const adapter = machine.network_adapter;
  const cable: GuestCable & { close(): void } = {
    onFrame: null,
    send: (frame) => adapter.send(frame.slice()),
    close: () => {},
  };
  // Where the emulated card would be.
  adapter.bus = { send: (_name, frame) => cable.onFrame?.(frame) };
  guest = await embeddedGuest({ cable: () => cable });
});
afterEach(async () => {
  guest.stop();
  await machine.destroy();
  await networks.close();
  for (const server of servers.splice(0)) server.close();
  vi.unstubAllGlobals();
});

it("carries 100 MB without a wrong byte", async () => {
  const block = randomBytes(MEGABYTE);
  const told = createHash("sha256");
  const server = net.createServer(async (socket) => {
    socket.on("error", () => {});
    for (let i = 0; i < 100; i++) {
      block.writeUInt32BE(i);
      told.update(block);
      if (!socket.write(Buffer.from(block))) await once(socket, "drain");
    }
    socket.end();
  });
  servers.push(server.listen(0, "127.0.0.1"));
  await once(server, "listening");
  const heard = createHash("sha256");
  let bytes = 0;
  await new Promise<void>((resolve, reject) => {
    const socket = guest.guest.connect(guest.guest.gateway, (server.address() as net.AddressInfo).port, {
      onData: (data) => {
        heard.update(data);
        bytes += data.length;
      },
      onEnd: () => {
        socket.abort();
        resolve();
      },
      onClose: (end) => reject(new Error(`after ${bytes} bytes: ${end}`)),
    });
  });
  expect(bytes).toBe(100 * MEGABYTE);
  expect(heard.digest("hex")).toBe(told.digest("hex"));
}, 300_000);

it("comes again by itself when its cable has ended, and its guest has a network again", async () => {
  machine.network_adapter.reconnect_interval = 300;
  const [first] = networks.list();
  await first!.network.close();
  await vi.waitFor(() => expect(networks.list().map(({ id }) => id)).toEqual(["g2"]), 10_000);
  await vi.waitFor(() => expect(guest.guest.ping(guest.guest.gateway)).resolves.toBeGreaterThanOrEqual(0), 10_000);
}, 60_000);
