/** Caps on what the host's own users and clients can make a network hold, each set by its option. */
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { PassThrough } from "node:stream";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ClientPlaces } from "../../src/api/client-places.ts";
import { serveApi } from "../../src/api/server.ts";
import { serveSocks } from "../../src/api/socks.ts";
import { createNetwork } from "../../src/index.ts";
import { DISCOVER, guestMac, message, REQUEST } from "../proto/dhcp-script.ts";
import { ScriptGuest } from "../support/guests.ts";
import { PacketScript } from "../support/packet-script.ts";

let folder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "tslirp-caps-"));
});
afterEach(() => fs.rmSync(folder, { recursive: true }));

/** A client that is connected; it may be turned away. */
async function dial(file: string): Promise<net.Socket> {
  const socket = net.connect(file).on("error", () => {});
  await once(socket, "connect");
  return socket.resume();
}

const forward = (port: number): string => `tcp:127.0.0.1:0-:${port}`;

test("forwards: one more than may be is refused, counted and says so; when one is closed there is room", async () => {
  await using network = await createNetwork({ limits: { forwards: 2 }, hostfwd: [forward(1)] });
  const [second] = await network.publish(forward(2));
  await expect(network.publish(forward(3))).rejects.toThrow(/^cannot open a forward: there are 2 already/);
  expect(network.stats().drops["forwards-full"]).toBe(1);
  network.unpublish(second!);
  await network.publish(forward(3));
  expect(network.forwards()).toHaveLength(2);
  await expect(createNetwork({ limits: { forwards: 1 }, hostfwd: [forward(1), forward(2)] })).rejects.toThrow(
    "there are 1",
  );
});

test("captures: one more than may run is refused and says so; when one has ended there is room", async () => {
  await using network = await createNetwork({ limits: { captures: 1 } });
  const first = network.capture(new PassThrough().resume());
  expect(() => network.capture(new PassThrough().resume())).toThrow("expected at most 1 captures");
  await first.stop();
  network.capture(new PassThrough().resume());
});

test("clients of the API: one more is turned away and counted, and served when one has gone", async () => {
  await using network = await createNetwork({ limits: { apiClients: 2 } });
  const file = path.join(folder, "api.sock");
  const api = await serveApi(network, { address: { kind: "unix", path: file }, version: "1" });
  const [first] = [await dial(file), await dial(file)];
  await once(await dial(file), "close");
  expect(network.stats().drops["clients-full"]).toBe(1);
  first!.destroy();
  const status = (): Promise<number> =>
    new Promise((resolve) => {
      http
        .get({ socketPath: file, path: "/v1/status", agent: false }, (answer) => resolve(answer.statusCode!))
        .on("error", () => resolve(0));
    });
  await expect.poll(status).toBe(200);
  await api.close();
});

test("clients of the API that show no token make room for one that does, and not the other way round", async () => {
  await using network = await createNetwork({ limits: { apiClients: 3 } });
  const api = await serveApi(network, { address: { kind: "tcp", host: "127.0.0.1", port: 0 }, version: "1" });
  const { port } = api.address as { port: number };
  const ask = async (url: string): Promise<http.IncomingMessage> => {
    const headers = { authorization: `Bearer ${api.token}` };
    return (await once(http.get({ port, path: url, agent: false, headers }), "response"))[0] as http.IncomingMessage;
  };
  const stream = (await ask("/v1/events")).resume();
  const strangers = Array.from({ length: 8 }, () => net.connect(port, "127.0.0.1").on("error", () => {}));
  await Promise.all(strangers.slice(0, 6).map((each) => once(each, "close")));
  expect((await ask("/v1/status")).resume().statusCode).toBe(200);
  expect(stream.destroyed).toBe(false);
  expect(network.stats().drops["clients-full"]).toBeGreaterThanOrEqual(6);
  // Those who have shown the token keep their places.
  for (let i = 0; i < 2; i++) await vi.waitFor(async () => (await ask("/v1/events")).resume());
  await once(
    net
      .connect(port, "127.0.0.1")
      .resume()
      .on("error", () => {}),
    "close",
  );
  expect(stream.destroyed).toBe(false);
  await api.close();
});

test("a client of the API that shows no token is let go after ten seconds", () => {
  vi.useFakeTimers();
  try {
    const client = (): { closed: boolean; once(): void; destroy(): void } => ({
      closed: false,
      once() {},
      destroy() {
        this.closed = true;
      },
    });
    const places = new ClientPlaces(10, () => {});
    const [stranger, known] = [client(), client()];
    places.arrived(stranger);
    places.arrived(known);
    places.known(known);
    vi.advanceTimersByTime(10_000);
    expect([stranger.closed, known.closed]).toEqual([true, false]);
    expect(vi.getTimerCount()).toBe(0);
  } finally {
    vi.useRealTimers();
  }
});

test("streams of the API's events: one more is told so and counted, and served when one has gone", async () => {
  await using network = await createNetwork({ limits: { apiStreams: 1 } });
  const file = path.join(folder, "api.sock");
  const api = await serveApi(network, { address: { kind: "unix", path: file }, version: "1" });
  const stream = (): Promise<http.IncomingMessage> =>
    new Promise((resolve) => {
      http.get({ socketPath: file, path: "/v1/events", agent: false }, resolve).on("error", () => {});
    });
  const first = await stream();
  expect(first.statusCode).toBe(200);
  expect((await stream()).statusCode).toBe(503);
  expect(network.stats().drops["clients-full"]).toBe(1);
  first.on("error", () => {}).destroy();
  await vi.waitUntil(async () => (await stream()).statusCode === 200, { timeout: 10_000 });
  await api.close();
});

test("clients of SOCKS: one more is turned away and counted, and served when one has gone", async () => {
  await using network = await createNetwork({ limits: { socksClients: 1 } });
  const file = path.join(folder, "socks.sock");
  const socks = await serveSocks(network, { kind: "unix", path: file });
  const first = await dial(file);
  await once(await dial(file), "close");
  expect(network.stats().drops["clients-full"]).toBe(1);
  first.destroy();
  const greets = async (): Promise<boolean> => {
    const client = net.connect(file).on("error", () => {});
    client.write(Uint8Array.of(5, 1, 0));
    const answered = await Promise.race([
      once(client, "data").then(() => true),
      once(client, "close").then(() => false),
    ]);
    client.destroy();
    return answered;
  };
  await vi.waitUntil(greets, { timeout: 10_000 });
  await socks.close();
});

test("leases: a guest of many MACs has no more than one may, which is counted; another has its own, and it has more when its own are over", () => {
  const script = new PacketScript({ limits: { leases: 6, leasesPerGuest: 3 }, ipv6: false });
  const [hostile, other] = [new ScriptGuest(script, 100), new ScriptGuest(script, 101)];
  const asks = (guest: ScriptGuest, client: number, type: number = DISCOVER, wanted?: string): boolean => {
    const mac = guestMac(client);
    const ip = { src: "0.0.0.0", dst: "255.255.255.255" };
    const payload = message({ type, mac, ...(wanted !== undefined && { requestedIp: wanted }) });
    guest.send({ eth: { src: mac, dst: "ff:ff:ff:ff:ff:ff" }, ip, udp: { srcPort: 68, dstPort: 67 }, payload });
    return guest.all().some(({ payload: reply }) => reply[242] === (type === DISCOVER ? 2 : 5));
  };
  expect([1, 2, 3, 4, 5].map((client) => asks(hostile, client))).toEqual([true, true, true, false, false]);
  expect(script.dropped("dhcp-no-address")).toBe(2);
  // Nor by asking for one outright; what it has it may bind.
  expect(asks(hostile, 6, REQUEST, "10.0.2.19")).toBe(false);
  expect(asks(hostile, 1, REQUEST, "10.0.2.15")).toBe(true);
  expect([11, 12, 13].map((client) => asks(other, client))).toEqual([true, true, true]);
  expect(script.dropped("dhcp-no-address")).toBe(2);
  script.advance(31_000);
  expect(asks(hostile, 4)).toBe(true);
  expect(script.dropped("dhcp-no-address")).toBe(2);
});

test("leases: one client more gets none, which is counted, and gets one when another's offer is over", () => {
  const script = new PacketScript({ limits: { leases: 2, leasesPerGuest: 2 }, ipv6: false });
  const discover = (client: number): boolean => {
    const mac = guestMac(client);
    const ip = { src: "0.0.0.0", dst: "255.255.255.255" };
    const payload = message({ type: DISCOVER, mac });
    script.send({ eth: { src: mac, dst: "ff:ff:ff:ff:ff:ff" }, ip, udp: { srcPort: 68, dstPort: 67 }, payload });
    // Beside an offer, those on the same cable may be asked whether they are there.
    return script.takeAll().some(({ udp }) => udp !== undefined);
  };
  expect([1, 2, 3].map(discover)).toEqual([true, true, false]);
  expect(script.dropped("dhcp-no-address")).toBe(1);
  script.advance(31_000);
  expect(discover(3)).toBe(true);
  expect(script.dropped("dhcp-no-address")).toBe(1);
});
