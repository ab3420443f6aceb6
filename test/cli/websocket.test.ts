/** `tslirp serve --listen ws://…`: an emulator's cable, from the command line on. */
import fs from "node:fs";
import { afterEach, beforeEach, expect, it } from "vitest";
import { WebSocket } from "ws";
import { createNetwork } from "../../src/index.ts";
import { type EmbeddedGuest, embeddedGuest } from "../support/embedded-guest.ts";
import { webSocketPlug } from "../support/web-socket-plug.ts";
import { Command, temporaryFolder } from "./command.ts";

let folder: string;
let command: Command | null = null;
let guest: EmbeddedGuest | null = null;
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(async () => {
  guest?.stop();
  await command?.stop("SIGKILL");
  fs.rmSync(folder, { recursive: true });
});

it("tells the address, serves a guest that shows the token, and lets in listed pages only", async () => {
  const page = "http://localhost:8000";
  command = new Command(["--listen", "ws://127.0.0.1:0/relay", "--ws-origin", page, "--ws-token", "s3cret"], {
    XDG_RUNTIME_DIR: folder,
  });
  const [, url] = await command.printed(/^ {2}(ws:\/\/127\.0\.0\.1:\d+\/relay)\?token=…$/m);
  expect(command.stdout).toContain(page);
  const opens = (origin?: string, token = "s3cret"): Promise<boolean> => {
    const ws = new WebSocket(`${url}?token=${token}`, origin === undefined ? {} : { origin });
    return new Promise((resolve) => {
      ws.on("open", () => {
        resolve(true);
        ws.terminate();
      });
      ws.on("error", () => resolve(false));
    });
  };
  expect(await opens()).toBe(true);
  expect(await opens(page)).toBe(true);
  expect(await opens(undefined, "other")).toBe(false);
  expect(await opens("https://evil.example")).toBe(false);
  guest = await embeddedGuest(await webSocketPlug(`${url}?token=s3cret`));
  expect(await guest.guest.ping(guest.guest.gateway)).toBeGreaterThanOrEqual(0);
  // An emulator's card takes no more, and DHCP says so.
  expect(guest.guest.mtu).toBe(1500);
  expect((await command.stop()).status).toBe(0);
});

it("the library gives no QEMU arguments for it, closes its port to guests, and ends with the network", async () => {
  const net = await createNetwork();
  const address = await net.listenAt({ ws: "ws://127.0.0.1:0" });
  expect(address).toMatchObject({ kind: "ws", host: "127.0.0.1", path: "/" });
  if (address.kind !== "ws") throw new Error("expected a WebSocket's address");
  expect(await net.listen("ws://127.0.0.1:0")).toEqual([]);
  await expect(net.listen({ ws: "ws://127.0.0.1:0", origins: ["example.org"] })).rejects.toThrow("listen.origins");
  const plug = await webSocketPlug(`ws://127.0.0.1:${address.port}/`);
  guest = await embeddedGuest(plug);
  expect(await guest.dial(guest.guest.gateway, address.port)).toBe("refused");
  await net.close();
  expect(await plug.closed).toBe(1001);
});

it("--per-guest gives each its own 10.0.2.15, and says who comes and leaves", async () => {
  command = new Command(["--per-guest", "--listen", "ws://127.0.0.1:0"], { XDG_RUNTIME_DIR: folder });
  const [, url] = await command.printed(/^ {2}(ws:\/\/127\.0\.0\.1:\d+\/)$/m);
  guest = await embeddedGuest(await webSocketPlug(url!), 1);
  const second = await embeddedGuest(await webSocketPlug(url!), 2);
  expect(second.guest.ip).toBe(guest.guest.ip);
  second.stop();
  await command.logged(/g2.*guest has left|guest has left.*g2/s);
  expect((await command.stop()).status).toBe(0);
});
