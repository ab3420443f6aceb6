/** The control API where each guest has a network of its own. */
import { once } from "node:events";
import { afterAll, beforeAll, expect, test } from "vitest";
import { serveGuestsApi } from "../../src/api/guests.ts";
import type { Api } from "../../src/api/server.ts";
import { ApiClient } from "../../src/cli/ctl/client.ts";
import { GuestNetworks } from "../../src/guest-networks.ts";
import { apiConnect } from "../support/api-connect.ts";
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

test("CONNECT leads to the guest that is named, by its id or by an address of its network", async () => {
  guests[1]!.guest.listen(2222, (socket) => ({ onConnect: () => void socket.write(Buffer.from("guest speaks")) }));
  for (const target of ["g2:2222", "10.0.2.15.g2:2222", "vm2.g2:2222"])
    expect(await apiConnect(api, target)).toMatch(/^HTTP\/1\.1 200.*guest speaks/s);
  expect(await apiConnect(api, "g1:2222")).toMatch(/^HTTP\/1\.1 502/);
  expect(await apiConnect(api, "g9:22")).toMatch(/^HTTP\/1\.1 404.*networks lists/s);
  expect(await apiConnect(api, "10.0.2.15:22")).toMatch(/^HTTP\/1\.1 400.*expected ID:PORT/s);
  expect(await apiConnect(api, "g2:2222", "Bearer wrong")).toMatch(/^HTTP\/1\.1 401/);
});

test("tells whoever asks for one network's things where they are", async () => {
  const response = await ask("/v1/flows");
  expect(response.status).toBe(404);
  expect(await response.json()).toEqual({
    error:
      "each guest has a network of its own: ask /v1/networks/ID/flows (tslirp ctl --network ID); /v1/networks lists them (tslirp ctl networks)",
  });
});

test("ctl's client reaches the network that it is told", async () => {
  const client = (id: string | null) => new ApiClient(api.address, api.token, id);
  expect(await client(null).get("/v1/networks")).toHaveLength(2);
  expect(await client("g2").get("/v1/leases")).toMatchObject([{ hostname: "vm2" }]);
  const socket = await client("g2").dial("10.0.2.15:2222");
  expect(String((await once(socket, "data"))[0])).toBe("guest speaks");
  socket.destroy();
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
