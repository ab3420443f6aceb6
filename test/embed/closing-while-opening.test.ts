/** What is being opened while its network ends is closed again: no port, no socket's file, nothing that keeps a process. */
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { PassThrough } from "node:stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createNetwork, GuestNetworks, type Network } from "../../src/index.ts";
import { freePort } from "../support/free-port.ts";

const WHY = new Error("changed my mind");

let folder: string;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(tmpdir(), "tslirp-closing-"));
});
afterAll(() => fs.rmSync(folder, { recursive: true }));

/** Moments to end at: at once, a few promises later, a few turns later. */
const MOMENTS: Readonly<Record<string, () => Promise<void>>> = {
  "at once": async () => {},
  "after a promise": () => Promise.resolve().then(() => {}),
  "after five promises": async () => {
    for (let i = 0; i < 5; i++) await null;
  },
  "a tick later": () => new Promise((resolve) => process.nextTick(resolve)),
  "a turn later": () => turns(1),
  "three turns later": () => turns(3),
};

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** Throws where somebody still holds it. */
async function canListen(port: number): Promise<void> {
  const server = net.createServer().listen(port, "127.0.0.1");
  await once(server, "listening");
  await new Promise((resolve) => server.close(resolve));
}

/** What begins to open a place that clients and guests see, and the place. */
const OPENINGS: Readonly<
  Record<string, (network: Network, port: number, file: string) => readonly [Promise<unknown>, "port" | "file"]>
> = {
  publish: (network, port) => [network.publish(`${port}:22`), "port"],
  "publish at a path": (network, _port, file) => [network.publish(`unix:${file}-:22`), "file"],
  listen: (network, port) => [network.listen({ host: "127.0.0.1", port }), "port"],
  "listen at a path": (network, _port, file) => [network.listen({ path: file }), "file"],
  "listen for WebSockets": (network, port) => [network.listen(`ws://127.0.0.1:${port}`), "port"],
  "listen for vhost-user": (network, _port, file) => [network.listen({ vhostUser: file }), "file"],
};

async function isFree(kind: "port" | "file", port: number, file: string): Promise<void> {
  if (kind === "port") await canListen(port);
  else expect(fs.existsSync(file)).toBe(false);
}

describe.each(Object.entries(MOMENTS))("%s", (_name, moment) => {
  it.each(["tcp", "unix"])(
    "createNetwork that is aborted rejects with the reason and leaves no forward over %s",
    async (kind) => {
      const port = await freePort();
      const file = path.join(folder, `${port}.sock`);
      const abort = new AbortController();
      const made = createNetwork({
        signal: abort.signal,
        ...(kind === "tcp" ? { publish: [`${port}:22`] } : { hostfwd: [`unix:${file}-:22`] }),
      });
      const outcome = made.then(
        () => "made",
        (error: unknown) => error,
      );
      await moment();
      abort.abort(WHY);
      // Who was made before that is closed by it.
      const result = await outcome;
      if (result === "made") await (await made).close();
      else expect(result).toBe(WHY);
      await isFree(kind === "tcp" ? "port" : "file", port, file);
    },
  );

  it.each(Object.entries(OPENINGS))("a network that closes lets go of %s", async (_what, open) => {
    const port = await freePort();
    const file = path.join(folder, `${port}.sock`);
    const network = await createNetwork();
    const [opening, kind] = open(network, port, file);
    const outcome = opening.then(
      () => "opened",
      (error: Error) => error.message,
    );
    await moment();
    await network.close();
    expect(["opened", "the network is closed", "cannot open a forward: the network is closed"]).toContain(
      await outcome,
    );
    await isFree(kind, port, file);
  });

  it("networks of guests that close let go of where guests come", async () => {
    const port = await freePort();
    const networks = new GuestNetworks();
    const outcome = networks.listenAt({ host: "127.0.0.1", port }).then(
      () => "opened",
      (error: Error) => error.message,
    );
    await moment();
    await networks.close();
    expect(["opened", "the networks are closed"]).toContain(await outcome);
    await canListen(port);
  });

  it("networks of guests that are aborted let go of where guests come", async () => {
    const port = await freePort();
    const abort = new AbortController();
    const networks = new GuestNetworks({ signal: abort.signal });
    const outcome = networks.listenAt({ host: "127.0.0.1", port }).catch(() => {});
    await moment();
    abort.abort(WHY);
    await outcome;
    await networks.close();
    await canListen(port);
    await expect(networks.listenAt({ host: "127.0.0.1", port })).rejects.toThrow("the networks are closed");
  });
});

it("publish on a closed network rejects, and so does a second one that waits", async () => {
  const network = await createNetwork();
  const many = Promise.all(
    [1, 2, 3].map((port) => network.publish(`tcp:127.0.0.1:0-:${port}`).catch((e: Error) => e.message)),
  );
  await network.close();
  for (const each of await many) expect(each).toContain("the network is closed");
  expect(network.forwards()).toEqual([]);
  await expect(network.publish("tcp:127.0.0.1:0-:22")).rejects.toThrow("the network is closed");
});

it("networks of guests made with a signal that is aborted are refused", () => {
  expect(() => new GuestNetworks({ signal: AbortSignal.abort(WHY) })).toThrow(WHY);
});

it("a signal with the place that guests come to ends the waiting and the guests' networks", async () => {
  await using networks = new GuestNetworks();
  const at = path.join(folder, "guests.sock");
  const abort = new AbortController();
  await networks.listenAt({ path: at, signal: abort.signal });
  const guest = net.connect(at);
  await once(networks, "come");
  const left = once(networks, "left");
  abort.abort();
  await left;
  await expect.poll(() => fs.existsSync(at)).toBe(false);
  expect(networks.listening()).toEqual([]);
  guest.destroy();
});

it("every call on a closed network fails with ENETDOWN", async () => {
  const network = await createNetwork();
  const udp = await network.bindGuestUdp({ port: 9 });
  await network.close();
  const calls: (() => unknown)[] = [
    () => network.connect({ port: 80 }),
    () => network.createConnection({ port: 80 }),
    () => network.listenGuest({ port: 80 }),
    () => network.bindGuestUdp({ port: 80 }),
    () => network.publish("tcp:127.0.0.1:0-:22"),
    () => network.listen({ host: "127.0.0.1", port: 0 }),
    () => network.dial({ host: "127.0.0.1", port: 1 }),
    () => network.uplink("vxlan://192.0.2.7?vni=42"),
    () => network.capture(new PassThrough()),
    () => network.record("/no/folder/x"),
    () => network.attach(new PassThrough()),
    () => network.attachFd(0),
    () => network.makeTap("tap0"),
    () => network.watch({ frame() {} }),
    () => network.impair([]),
    () => network.setRules([]),
    () => network.setDnsHosts([]),
    () => network.setDnsZones([]),
    () => network.cable(),
    () => network.open(),
  ];
  for (const call of calls) {
    const error = await Promise.resolve()
      .then(call)
      .then(
        () => null,
        (thrown: unknown) => thrown,
      );
    expect(error, String(call)).toMatchObject({ code: "ENETDOWN", message: "the network is closed" });
  }
  expect(() => udp.send("x", 9, "10.0.2.15")).toThrow(
    expect.objectContaining({ code: "ERR_SOCKET_DGRAM_NOT_RUNNING" }),
  );
  const networks = new GuestNetworks();
  await networks.close();
  await expect(networks.listenAt({ host: "127.0.0.1", port: 0 })).rejects.toMatchObject({ code: "ENETDOWN" });
});
