/** The control API where each guest has a network of its own. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { serveGuestsApi } from "../../src/api/guests.ts";
import type { Api } from "../../src/api/server.ts";
import { GuestNetworks } from "../../src/guest-networks.ts";
import { type EmbeddedGuest, embeddedGuest } from "../support/embedded-guest.ts";
import { webSocketPlug } from "../support/web-socket-plug.ts";

let networks: GuestNetworks;
let api: Api;
const guests: EmbeddedGuest[] = [];
beforeAll(async () => {
  networks = new GuestNetworks();
  api = await serveGuestsApi(networks, { address: { kind: "tcp", host: "127.0.0.1", port: 0 }, version: "1" });
  const { port } = (await networks.listenAt("ws://127.0.0.1:0")) as { port: number };
  for (const last of [1, 2])
    guests.push(await embeddedGuest(await webSocketPlug(`ws://127.0.0.1:${port}/`), last, `vm${last}`));
});
afterAll(async () => {
  for (const guest of guests) guest.stop();
  await api.close();
  await networks.close();
});

const at = (path: string): string => `http://127.0.0.1:${(api.address as { port: number }).port}${path}`;
const ask = (path: string, options: RequestInit = {}): Promise<Response> =>
  fetch(at(path), { ...options, headers: { ...options.headers, authorization: `Bearer ${api.token}` } });
const get = async (path: string): Promise<unknown> => (await ask(path)).json();

test("lists the guests, and tells of each what the API of one network tells", async () => {
  expect(await get("/v1/networks")).toMatchObject([
    { id: "g1", ip: "10.0.2.15", hostname: "vm1" },
    { id: "g2", ip: "10.0.2.15", hostname: "vm2" },
  ]);
  expect(await get("/v1/status")).toMatchObject({ perGuest: true, networks: 2, guests: 2 });
  expect(await get("/v1/networks/g1/leases")).toMatchObject([{ hostname: "vm1" }]);
  expect(await get("/v1/networks/g2/leases")).toMatchObject([{ hostname: "vm2" }]);
  expect(await get("/v1/networks/g2/status")).toMatchObject({ cables: [expect.stringContaining("#2")] });
});

test("changes one guest's rules and leaves the others'", async () => {
  const rules = ["default deny"];
  const headers = { "content-type": "application/json" };
  await ask("/v1/networks/g1/rules", { method: "PUT", body: JSON.stringify({ rules }), headers });
  expect(await get("/v1/networks/g1/rules")).toEqual({ rules });
  expect(await get("/v1/networks/g2/rules")).toEqual({ rules: [] });
});

test("of a guest that is not there is nothing to tell, and to nobody without the token", async () => {
  expect((await ask("/v1/networks/g9/status")).status).toBe(404);
  for (const path of ["/v1/networks", "/v1/networks/g1/status", "/v1/networks/g9/status"])
    expect((await fetch(at(path))).status).toBe(401);
  expect((await fetch(at("/"))).status).toBe(200);
});

test("its metrics have sums, and what each guest has", async () => {
  const text = await (await ask("/metrics")).text();
  expect(text).toMatch(/^tslirp_guests 2$/m);
  expect(text).toMatch(/^tslirp_guest_bytes_total\{guest="g1",direction="in"\} [1-9]/m);
});

test("its port is closed to guests", async () => {
  const { guest, dial } = guests[1]!;
  expect(await dial(guest.gateway, (api.address as { port: number }).port)).toBe("refused");
});

test("forgets a guest that has left", async () => {
  guests.pop()!.stop();
  await expect.poll(() => get("/v1/networks")).toHaveLength(1);
  expect((await ask("/v1/networks/g2/status")).status).toBe(404);
  expect(await (await ask("/metrics")).text()).not.toContain('guest="g2"');
});
