/** The supervisor's control API, with workers' networks behind it, in one process here. */
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import net from "node:net";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Api, serveApi } from "../../src/api/server.ts";
import { labelled, serveWorkersApi, type WorkerView } from "../../src/api/workers.ts";
import { ApiClient } from "../../src/cli/ctl/client.ts";
import { createNetwork, type Network } from "../../src/index.ts";
import { temporaryFolder } from "../cli/command.ts";
import { apiConnect } from "../support/api-connect.ts";
import { type EmbeddedGuest, embeddedGuest } from "../support/embedded-guest.ts";

let folder: string;
let api: Api;
const networks: Network[] = [];
const apis: Api[] = [];
const guests: EmbeddedGuest[] = [];
const protectedPorts: number[] = [];
let workers: WorkerView[];

beforeAll(async () => {
  folder = temporaryFolder();
  for (const number of [1, 2]) {
    const network = await createNetwork();
    networks.push(network);
    apis.push(await serveApi(network, { address: { kind: "unix", path: `${folder}/api.${number}` }, version: "1" }));
    guests.push(await embeddedGuest(network, number, `vm${number}`));
  }
  workers = [1, 2].map((number) => ({
    ...{ number, pid: 100 + number, ready: true, guests: 1 },
    socket: `${folder}/api.${number}`,
  }));
  const view = {
    workers: () => workers,
    listening: () => [{ kind: "unix", path: "/run/n.sock" } as const],
    ...{ refused: 3, protectPort: (port: number) => void protectedPorts.push(port) },
  };
  api = await serveWorkersApi(view, { address: { kind: "tcp", host: "127.0.0.1", port: 0 }, version: "1" });
});
afterAll(async () => {
  for (const guest of guests) guest.stop();
  await api.close();
  for (const each of apis) await each.close();
  for (const each of networks) await each.close();
  fs.rmSync(folder, { recursive: true });
});

const port = (): number => (api.address as { port: number }).port;
const ask = (where: string, options: RequestInit = {}): Promise<Response> =>
  fetch(`http://127.0.0.1:${port()}${where}`, {
    ...options,
    headers: { ...options.headers, authorization: `Bearer ${api.token}` },
  });
const get = async (where: string): Promise<unknown> => (await ask(where)).json();

test("lists the workers, and tells of each what the API of one network tells", async () => {
  expect(await get("/v1/networks")).toMatchObject([
    { id: "w1", worker: 1, pid: 101, guests: 1, bytesIn: expect.any(Number) },
    { id: "w2", worker: 2, pid: 102, guests: 1, bytesIn: expect.any(Number) },
  ]);
  expect(await get("/v1/status")).toMatchObject({
    ...{ workers: 2, networks: 2, guests: 2, refused: 3 },
    listening: [{ address: "unix:/run/n.sock", qemu: expect.stringContaining("addr.path=/run/n.sock") }],
  });
  expect(await get("/v1/networks/w1/leases")).toMatchObject([{ hostname: "vm1" }]);
  expect(await get("/v1/networks/w2/leases")).toMatchObject([{ hostname: "vm2" }]);
  expect((await ask("/")).headers.get("content-type")).toContain("text/html");
});

test("changes one worker's rules and leaves the others', and hands refusals on as they are", async () => {
  const put = (rules: string[]): Promise<Response> =>
    ask("/v1/networks/w1/rules", {
      ...{ method: "PUT", body: JSON.stringify({ rules }) },
      headers: { "content-type": "application/json" },
    });
  expect((await put(["allow any", "default deny"])).status).toBe(200);
  expect(networks[0]!.rules()).toEqual(["allow any", "default deny"]);
  expect(networks[1]!.rules()).toEqual([]);
  const wrong = await put(["nonsense"]);
  expect(wrong.status).toBe(400);
  expect(await wrong.json()).toEqual({ error: expect.stringContaining("nonsense") });
  expect((await put([])).status).toBe(200);
  expect((await ask("/v1/networks/w1/nothing")).status).toBe(404);
});

test("tells whoever asks for one network's things, or for a worker that is not there, where they are", async () => {
  expect(await get("/v1/flows")).toEqual({
    error: expect.stringMatching(/^each worker has a network of its own: ask \/v1\/networks\/ID\/flows/),
  });
  for (const where of ["/v1/networks/w3/status", "/v1/networks/g1/status", "/v1/networks/w1"])
    expect((await ask(where)).status, where).toBe(404);
});

test("asks for the token before anything is handed on", async () => {
  for (const where of ["/v1/networks", "/v1/networks/w1/status", "/v1/networks/w9/status", "/metrics"])
    expect((await fetch(`http://127.0.0.1:${port()}${where}`)).status, where).toBe(401);
  const rebound = http.get({
    port: port(),
    path: `/v1/networks/w1/status?token=${api.token}`,
    headers: { host: "evil.example" },
  });
  const [{ statusCode }] = (await once(rebound, "response")) as [http.IncomingMessage];
  expect(statusCode).toBe(403);
});

test("a stream of events goes on as it comes, and ends at the worker when its reader goes", async () => {
  const leaving = new AbortController();
  const opened = async (where: string): Promise<(pattern: RegExp) => Promise<void>> => {
    const response = await ask(where, { signal: leaving.signal });
    const reader = response.body!.getReader();
    let text = "";
    return async (pattern) => {
      while (!pattern.test(text)) text += Buffer.from((await reader.read()).value!).toString("latin1");
    };
  };
  const events = await opened("/v1/networks/w2/events");
  await events(/: tslirp/);
  void guests[1]!.dial(guests[1]!.guest.gateway, 1);
  await events(/event: flow/);
  await (await opened("/v1/networks/w2/capture"))(/./s);
  expect(networks[1]!.captures()).toHaveLength(1);
  leaving.abort();
  await expect.poll(() => networks[1]!.captures()).toEqual([]);
});

test("CONNECT leads to a guest of the worker that is named", async () => {
  guests[1]!.guest.listen(2222, (socket) => ({ onConnect: () => void socket.write(Buffer.from("guest speaks")) }));
  for (const target of ["10.0.2.15.w2:2222", "vm2.w2:2222"])
    expect(await apiConnect(api, target)).toMatch(/^HTTP\/1\.1 200.*guest speaks/s);
  expect(await apiConnect(api, "10.0.2.15.w1:2222")).toMatch(/^HTTP\/1\.1 502/);
  expect(await apiConnect(api, "10.0.2.15.w9:22")).toMatch(/^HTTP\/1\.1 404.*networks lists/s);
  for (const target of ["w2:2222", "10.0.2.15:22"])
    expect(await apiConnect(api, target)).toMatch(/^HTTP\/1\.1 400.*expected HOST\.ID:PORT/s);
  expect(await apiConnect(api, "10.0.2.15.w2:2222", "Bearer wrong")).toMatch(/^HTTP\/1\.1 401/);
});

test("ctl's client reaches the worker that it is told", async () => {
  const client = new ApiClient(api.address, api.token, "w2");
  expect(await client.get("/v1/leases")).toMatchObject([{ hostname: "vm2" }]);
  const socket = await client.dial("10.0.2.15:2222");
  expect(String((await once(socket, "data"))[0])).toBe("guest speaks");
  socket.destroy();
});

test("its metrics are all workers', each sample with the worker's number", async () => {
  const text = await (await ask("/metrics")).text();
  for (const number of [1, 2]) {
    expect(text).toMatch(new RegExp(`^tslirp_received_bytes_total\\{worker="${number}"\\} [1-9]`, "m"));
    expect(text).toMatch(new RegExp(`^tslirp_flows\\{worker="${number}",proto="tcp"\\} `, "m"));
  }
  expect(text.match(/^# TYPE tslirp_flows /gm)).toHaveLength(1);
  expect(
    labelled([
      [1, "# TYPE a counter\na 1\n"],
      [2, '# TYPE a counter\na{b="c"} 2\n# TYPE d gauge\nd 3 4\n'],
    ]),
  ).toBe('# TYPE a counter\na{worker="1"} 1\na{worker="2",b="c"} 2\n\n# TYPE d gauge\nd{worker="2"} 3 4\n');
});

test("its port is closed to all workers' guests", () => {
  expect(protectedPorts).toEqual([port()]);
});

test("a worker that is stuck, or is not there, holds up nothing of the others'", async () => {
  const before = workers;
  const stuck = net.createServer(() => {}).listen(path.join(folder, "stuck"));
  await once(stuck, "listening");
  workers = [
    before[0]!,
    { ...before[1]!, socket: path.join(folder, "stuck") },
    { ...{ number: 3, pid: null, ready: false, guests: 0 }, socket: path.join(folder, "none") },
  ];
  try {
    const listed = get("/v1/networks");
    expect(await Promise.race([get("/v1/networks/w1/status"), delay(900)])).toMatchObject({ version: "1" });
    expect(await listed).toMatchObject([
      { bytesIn: expect.any(Number) },
      { bytesIn: null },
      { pid: null, bytesIn: null },
    ]);
    const missing = await ask("/v1/networks/w3/status");
    expect(missing.status).toBe(503);
    expect(await missing.json()).toEqual({ error: "worker 3 is being started again" });
    expect(await apiConnect(api, "10.0.2.15.w3:22")).toMatch(/^HTTP\/1\.1 502.*worker 3 is being started again/s);
  } finally {
    workers = before;
    stuck.close();
  }
});
