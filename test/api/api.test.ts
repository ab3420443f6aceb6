/** The control API, spoken to as a client does. */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Api, serveApi } from "../../src/api/server.ts";
import { ipv4FromText } from "../../src/core/address.ts";
import { createNetwork, type Network } from "../../src/index.ts";
import { type EmbeddedGuest, embeddedGuest } from "../support/embedded-guest.ts";

const PROMTOOL = (process.env.PATH ?? "")
  .split(path.delimiter)
  .some((dir) => fs.existsSync(path.join(dir, "promtool")));

let folder: string;
let network: Network;
let api: Api;
let guest: EmbeddedGuest | null = null;

beforeEach(async () => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "tslirp-api-"));
  network = await createNetwork();
  api = await serveApi(network, { address: { kind: "unix", path: path.join(folder, "api.sock") }, version: "1.2.3" });
});
afterEach(async () => {
  guest?.stop();
  guest = null;
  await api.close();
  await network.close();
  fs.rmSync(folder, { recursive: true });
});

interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly text: string;
  readonly json: unknown;
}

function ask(
  method: string,
  url: string,
  body?: string | object,
  headers: http.OutgoingHttpHeaders = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { address } = api;
    const place = address.kind === "unix" ? { socketPath: address.path } : { host: address.host, port: address.port };
    const request = http.request({ ...place, method, path: url, headers, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () => {
        const text = Buffer.concat(chunks).toString();
        const isJson = /json/.test(response.headers["content-type"] ?? "");
        resolve({
          status: response.statusCode!,
          headers: response.headers,
          text,
          json: isJson ? JSON.parse(text) : null,
        });
      });
    });
    request.on("error", reject);
    if (typeof body === "object") request.setHeader("content-type", "application/json");
    request.end(typeof body === "object" ? JSON.stringify(body) : body);
  });
}

/** The response of a stream, once `pattern` has come. */
function follow(url: string, pattern: RegExp): { begun: Promise<void>; matched: Promise<string>; end(): void } {
  let response: http.IncomingMessage | null = null;
  let begin = (): void => {};
  const begun = new Promise<void>((resolve) => {
    begin = resolve;
  });
  const { path: socketPath } = api.address as { path: string };
  const matched = new Promise<string>((resolve, reject) => {
    http.get({ socketPath, path: url, agent: false }, (res) => {
      response = res;
      begin();
      let text = "";
      res.on("error", () => {});
      res.on("data", (chunk: Buffer) => {
        text += chunk.toString("latin1");
        if (pattern.test(text)) resolve(text);
      });
      res.on("close", () => reject(new Error(`ended with ${text}`)));
    });
  });
  return { begun, matched, end: () => response?.destroy() };
}

describe("the API", () => {
  test("reads and changes what the DNS server knows by itself and whom it asks", async () => {
    expect((await ask("PUT", "/v1/dns/hosts", { hosts: ["db.test=10.1.2.3"] })).json).toEqual({
      hosts: ["db.test=10.1.2.3"],
    });
    expect((await ask("PUT", "/v1/dns/zones", { zones: ["corp.test=10.1.0.53"] })).status).toBe(200);
    expect((await ask("GET", "/v1/dns/zones")).json).toEqual({ zones: ["corp.test=10.1.0.53"] });
    const wrong = await ask("PUT", "/v1/dns/hosts", { hosts: ["db.test"] });
    expect(wrong).toMatchObject({ status: 400, json: { error: expect.stringContaining("NAME=IP") } });
    expect(network.dnsHosts()).toEqual(["db.test=10.1.2.3"]);
  });

  test("gives leases' ends as the time of day, ISO 8601", async () => {
    guest = await embeddedGuest(network);
    const [lease] = (await ask("GET", "/v1/leases")).json as { expires: string }[];
    expect(lease!.expires).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    const left = Date.parse(lease!.expires) - Date.now();
    expect(left).toBeGreaterThan(80_000_000);
    expect(left).toBeLessThanOrEqual(86_400_000);
    expect(network.leases()[0]!.expires).toBeInstanceOf(Date);
  });

  test.each(["/v1/events", "/v1/packets", "/v1/capture"])("ends %s in order when it closes", async (url) => {
    const { path: socketPath } = api.address as { path: string };
    const [response] = (await once(http.get({ socketPath, path: url, agent: false }), "response")) as [
      http.IncomingMessage,
    ];
    const broken = vi.fn();
    response.on("error", broken).resume();
    const ended = once(response, "close");
    await api.close();
    await ended;
    expect(response.complete).toBe(true);
    expect(broken).not.toHaveBeenCalled();
  });

  test("tells what runs, its leases and its flows", async () => {
    guest = await embeddedGuest(network);
    const status = await ask("GET", "/v1/status");
    expect(status).toMatchObject({ status: 200, json: { version: "1.2.3", net: "10.0.2.0/24", cables: ["memory#1"] } });
    expect((await ask("GET", "/v1/leases")).json).toMatchObject([{ ip: "10.0.2.15", mac: "52:54:00:00:00:01" }]);
    expect((await ask("GET", "/v1/flows")).json).toEqual([]);
  });

  test("adds, lists and removes forwards while the network runs", async () => {
    const added = await ask("POST", "/v1/forwards", { rule: "tcp:127.0.0.1:0-:22" });
    expect(added.status).toBe(201);
    const [forward] = added.json as { id: string; host: string; guest: string }[];
    expect(forward).toMatchObject({ proto: "tcp", guest: "10.0.2.15:22" });
    expect((await ask("GET", "/v1/forwards")).json).toEqual(added.json);
    expect((await ask("DELETE", `/v1/forwards/${forward!.id}`)).status).toBe(204);
    expect((await ask("GET", "/v1/forwards")).json).toEqual([]);
    expect(await ask("DELETE", "/v1/forwards/f99")).toMatchObject({
      status: 404,
      json: { error: "there is no forward f99" },
    });
  });

  test.each([
    ["UDP", "udp:127.0.0.1:0-:53", "udp"],
    ["QEMU's grammar", "tcp:127.0.0.1:0-10.0.2.20:80", "tcp"],
    ["IPv6", "tcp:[::1]:0-[fec0::15]:22", "tcp"],
  ])("a forward: %s", async (_name, rule, proto) => {
    expect((await ask("POST", "/v1/forwards", { rule })).json).toMatchObject([{ proto }]);
  });

  test("a range of ports is as many forwards, or none", async () => {
    const taken = net.createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const last = (taken.address() as net.AddressInfo).port;
    const range = async (first: number) => ask("POST", "/v1/forwards", { rule: `${first}-${first + 1}:80-81` });
    expect(await range(last - 1)).toMatchObject({ status: 409 });
    expect((await ask("GET", "/v1/forwards")).json).toEqual([]);
    // Which ports are free nobody can promise: so some places are tried.
    const tries = [3, 7, 11, 15, 19].map((off) => (last - off > 1024 ? last - off : last + off));
    let opened = await range(tries[0]!);
    for (const first of tries.slice(1)) if (opened.status !== 201) opened = await range(first);
    expect(opened.json).toMatchObject([{ guest: "10.0.2.15:80" }, { guest: "10.0.2.15:81" }]);
    taken.close();
  });

  test("a forward from a UNIX socket", async () => {
    const rule = `unix:${folder}/f.sock-:80`;
    expect((await ask("POST", "/v1/forwards", { rule })).json).toMatchObject([{ host: `unix:${folder}/f.sock` }]);
  });

  test("a port in use is a conflict, a bad rule a bad request, each told in one line", async () => {
    const server = net.createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as net.AddressInfo;
    const taken = await ask("POST", "/v1/forwards", { rule: `${port}:22` });
    expect(taken).toMatchObject({
      status: 409,
      json: {
        error: expect.stringMatching(/^cannot open a forward at 127\.0\.0\.1:\d+: another program has this port$/),
      },
    });
    server.close();
    const nowhere = await ask("POST", "/v1/forwards", { rule: `unix:${folder}/none/f.sock-:80` });
    expect(nowhere).toMatchObject({ status: 409, json: { error: expect.stringMatching(/its folder is not there/) } });
    for (const host of ["[fe80::1]", "[::ffff:127.0.0.1]"])
      expect(await ask("POST", "/v1/forwards", { rule: `${host}:8080:80` })).toMatchObject({
        status: 400,
        json: { error: expect.stringMatching(/^publish: got .*; expected /) },
      });
    const bad = await ask("POST", "/v1/forwards", { rule: "x:22" });
    expect(bad).toMatchObject({
      status: 400,
      json: { error: expect.stringMatching(/^publish: got "x:22"; expected/) },
    });
  });

  test("records into a file from now on, one at a time, and says when it cannot", async () => {
    expect((await ask("GET", "/v1/recording")).json).toEqual({ recording: null });
    expect((await ask("DELETE", "/v1/recording")).status).toBe(404);
    const file = path.join(folder, "a.tslirp");
    const started = await ask("POST", "/v1/recording", { file, payload: false, endFlows: true });
    expect(started).toMatchObject({ status: 201, json: { file, payload: false } });
    expect((await ask("GET", "/v1/recording")).json).toMatchObject({ recording: { file } });
    const second = await ask("POST", "/v1/recording", { file: `${file}.2`, endFlows: true });
    expect(second).toMatchObject({ status: 400, json: { error: expect.stringContaining("is being written") } });
    const ended = await ask("DELETE", "/v1/recording");
    expect(ended).toMatchObject({ status: 200, json: { file, bytes: fs.statSync(file).size } });
    expect((await ask("POST", "/v1/recording", { file, endFlows: true })).json).toMatchObject({
      error: expect.stringContaining("the file exists"),
    });
    expect((await ask("POST", "/v1/recording", { file, payload: "no" })).status).toBe(400);
  });

  test("captures into a file, and says when it cannot", async () => {
    const file = path.join(folder, "a.pcapng");
    const started = await ask("POST", "/v1/captures", { file, filter: "arp or udp" });
    expect(started).toMatchObject({ status: 201, json: { file, packets: 0 } });
    guest = await embeddedGuest(network);
    const { id } = started.json as { id: string };
    const stopped = await ask("DELETE", `/v1/captures/${id}`);
    expect((stopped.json as { packets: number }).packets).toBeGreaterThan(3);
    expect(fs.readFileSync(file).readUInt32BE(0)).toBe(0x0a0d0d0a);
    const failed = await ask("POST", "/v1/captures", { file: path.join(folder, "no", "a.pcapng") });
    expect(failed).toMatchObject({
      status: 400,
      json: { error: expect.stringContaining("there is no such file or folder") },
    });
    expect((await ask("POST", "/v1/captures", { file, filter: "nonsense" })).status).toBe(400);
    expect((await ask("GET", "/v1/captures")).json).toEqual([]);
  });

  test("streams a capture until its reader goes, and then forgets it", async () => {
    const stream = follow("/v1/capture?filter=udp", /memory#1/);
    await expect.poll(() => network.captures().length).toBe(1);
    guest = await embeddedGuest(network);
    expect(await stream.matched).toContain("\x0a\x0d\x0d\x0a");
    stream.end();
    await expect.poll(() => network.captures().length).toBe(0);
  });

  test("streams events as they happen", async () => {
    const stream = follow("/v1/events", /event: lease\ndata: .*10\.0\.2\.15/);
    await stream.begun;
    guest = await embeddedGuest(network);
    await stream.matched;
    stream.end();
  });

  test("shows a hundred packets a second, looks at no more, and counts what it has left out", async () => {
    const stream = follow("/v1/packets", /event: skipped\ndata: \{"count":15[0-9]\}/);
    await stream.begun;
    const cable = network.cable();
    for (let i = 0; i < 250; i++) cable.send(new Uint8Array(60));
    const text = await stream.matched;
    expect(text.match(/^event: packet$/gm)).toHaveLength(100);
    stream.end();
  });

  test("streams what was dropped, and why", async () => {
    const stream = follow("/v1/events", /event: drop\ndata: .*"reason":"eth-short","count":2,"total":2/);
    await stream.begun;
    const cable = network.cable();
    for (let i = 0; i < 2; i++) cable.send(new Uint8Array(9));
    await stream.matched;
    stream.end();
  });

  test("impairs lines, shows the rules and makes them good again", async () => {
    const rules = [{ delay: 20, direction: "down" }];
    expect((await ask("PUT", "/v1/impairment", { rules, seed: 1 })).json).toEqual({ rules });
    guest = await embeddedGuest(network);
    const before = performance.now();
    await guest.guest.ping(guest.guest.gateway);
    expect(performance.now() - before).toBeGreaterThan(15);
    expect((await ask("PUT", "/v1/impairment", { rules: [] })).json).toEqual({ rules: [] });
    const bad = await ask("PUT", "/v1/impairment", { rules: [{ jitter: 5 }] });
    expect(bad).toMatchObject({ status: 400, json: { error: "impair.0.jitter: got 5; expected at most the delay" } });
  });

  test("impairs one guest's line, and one service's, by rules of their own", async () => {
    guest = await embeddedGuest(network);
    const other = await embeddedGuest(network, 2);
    const rules = [
      { filter: "ether host 52:54:00:00:00:02", loss: 1 },
      { filter: "udp port 53", rate: 1000 },
    ];
    expect((await ask("PUT", "/v1/impairment", { rules })).json).toEqual({ rules });
    expect(await guest.guest.ping(guest.guest.gateway)).toBeGreaterThan(0);
    await expect(other.guest.ping(other.guest.gateway, 56, 300)).rejects.toThrow("no echo reply");
    expect(network.stats().drops.impaired).toBeGreaterThan(0);
    other.stop();
  });

  test("replaces the rules of what guests may begin, and keeps them when the new ones are wrong", async () => {
    const server = net.createServer((socket) => socket.destroy()).listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as net.AddressInfo;
    guest = await embeddedGuest(network);
    expect(await guest.dial(guest.guest.gateway, port)).toBe("connected");
    const rules = ["deny tcp 10.0.2.2", "default allow"];
    expect((await ask("PUT", "/v1/rules", { rules })).json).toEqual({ rules });
    expect(await guest.dial(guest.guest.gateway, port)).toBe("refused");
    await ask("PUT", "/v1/rules", { rules: ["limit any conns=1"] });
    expect((await ask("GET", "/v1/limits")).json).toEqual([]);
    expect(await guest.dial(ipv4FromText("10.0.2.2"), port)).toBe("connected");
    expect((await ask("GET", "/v1/limits")).json).toEqual([
      { cable: expect.any(String), rule: "limit any conns=1", conns: expect.any(Number), refused: 0, dropped: 0 },
    ]);
    await ask("PUT", "/v1/rules", { rules });
    const bad = await ask("PUT", "/v1/rules", { rules: ["nonsense"] });
    expect(bad).toMatchObject({
      status: 400,
      json: { error: expect.stringMatching(/^rules: got "nonsense"; expected/) },
    });
    expect((await ask("GET", "/v1/rules")).json).toEqual({ rules });
    server.close();
  });

  test("refusals are kept with the rule that refused and the one that would allow, counted, and in metrics", async () => {
    guest = await embeddedGuest(network);
    await ask("PUT", "/v1/rules", { rules: ["allow tcp *.good.test:443", "default deny"] });
    for (let i = 0; i < 3; i++) expect(await guest.dial(ipv4FromText("198.51.100.7"), 443)).toBe("refused");
    expect(await guest.dial(ipv4FromText("198.51.100.7"), 80)).toBe("refused");
    const refusal = { proto: "tcp", direction: "out", host: null, reason: "default deny", time: expect.any(Number) };
    expect((await ask("GET", "/v1/refusals")).json).toMatchObject([
      { ...refusal, remote: "198.51.100.7:443", count: 3, remedy: "allow tcp 198.51.100.7:443" },
      { ...refusal, remote: "198.51.100.7:80", count: 1, remedy: "allow tcp 198.51.100.7:80" },
    ]);
    expect((await ask("GET", "/v1/refusals?last=1")).json).toHaveLength(1);
    expect((await ask("GET", "/metrics")).text).toMatch(/^tslirp_refused_total\{rule="default deny"\} 4$/m);
  });

  test("refusals are bounded, whatever guests try", async () => {
    guest = await embeddedGuest(network);
    await ask("PUT", "/v1/rules", { rules: ["default deny"] });
    for (let i = 0; i < 600; i++)
      network.emit("flowRefused", {
        ...{ proto: "dns", guest: "10.0.2.15:1", remote: "10.0.2.3:53", direction: "out", remedy: null },
        ...{ host: `n${i}.test`, rule: `deny n${i}.test`, reason: `deny n${i}.test`, cable: null },
      });
    const kept = (await ask("GET", "/v1/refusals?last=500")).json as { host: string }[];
    expect([kept.length, kept.at(-1)!.host]).toEqual([500, "n599.test"]);
    expect((await ask("GET", "/metrics")).text.match(/^tslirp_refused_total/gm)!.length).toBe(101);
  });

  test("why says what rules would do, which decides, and what would allow it, without traffic", async () => {
    const why = async (flow: string): Promise<Answer> => ask("GET", `/v1/why?flow=${encodeURIComponent(flow)}`);
    await ask("PUT", "/v1/rules", { rules: ["allow tcp *.good.test:443", "deny icmp any", "default deny"] });
    expect((await why("tcp www.good.test:443")).json).toMatchObject({
      ...{ allow: true, rule: "allow tcp *.good.test:443", remedy: null },
      dns: { allow: true, rule: "allow tcp *.good.test:443" },
    });
    expect((await why("tcp www.good.test:80")).json).toMatchObject({
      ...{ allow: false, rule: "default deny", remedy: "allow tcp www.good.test:80" },
      dns: { allow: true },
    });
    expect((await why("udp www.good.test:443")).json).toMatchObject({
      remedy: "allow udp www.good.test:443 quic=allow",
    });
    expect((await why("tcp evil.test:443")).json).toMatchObject({
      allow: false,
      dns: { remedy: "allow dns evil.test" },
    });
    expect((await why("icmp 192.0.2.1 guest 10.0.2.15")).json).toMatchObject({ rule: "deny icmp any", dns: null });
    expect((await why("dns WWW.good.test.")).json).toMatchObject({ allow: true, dns: null });
    for (const wrong of [
      "",
      "tcp",
      "tcp x.test",
      "tcp x.test:0",
      "sctp x.test:1",
      "dns 1.2.3.4",
      "tcp a b",
      "icmp x guest",
    ])
      expect((await why(wrong)).status, wrong).toBe(400);
  });

  test("metrics are Prometheus' and count what happens", async () => {
    guest = await embeddedGuest(network);
    await guest.dial(guest.guest.gateway, 1);
    await expect
      .poll(async () => (await ask("GET", "/metrics")).text)
      .toMatch(/tslirp_flows_closed_total\{proto="tcp"\} 1/);
    const { text, headers } = await ask("GET", "/metrics");
    expect(headers["content-type"]).toMatch(/^text\/plain/);
    expect(text).toMatch(/^# TYPE tslirp_drops_total counter$/m);
    expect(text).toMatch(/^tslirp_leases 1$/m);
    expect(text).toMatch(/^nodejs_eventloop_lag_seconds /m);
  });

  test("metrics keep Prometheus' conventions, as promtool has them", async ({ skip }) => {
    skip(!PROMTOOL && process.env.CI === undefined, "promtool is missing: it comes with Debian's prometheus");
    const { text } = await ask("GET", "/metrics");
    expect(() => execFileSync("promtool", ["check", "metrics"], { input: text, stdio: "pipe" })).not.toThrow();
  });

  test("its OpenAPI document names every route and its schemas", async () => {
    const { json } = await ask("GET", "/openapi.json");
    const { openapi, info, paths } = json as { openapi: string; info: object; paths: Record<string, object> };
    expect(openapi).toMatch(/^3\./);
    expect(info).toMatchObject({ version: "1.2.3" });
    expect(Object.keys(paths).sort()).toEqual(
      [
        "/metrics",
        "/v1/asks",
        "/v1/asks/{id}",
        "/v1/capture",
        "/v1/captures",
        "/v1/captures/{id}",
        "/v1/dns",
        "/v1/dns/hosts",
        "/v1/dns/zones",
        "/v1/events",
        "/v1/flows",
      ].concat([
        "/v1/forwards",
        "/v1/forwards/{id}",
        "/v1/history",
        "/v1/impairment",
        "/v1/leases",
        "/v1/limits",
        "/v1/packets",
        "/v1/recording",
        "/v1/refusals",
        "/v1/rules",
        "/v1/status",
        "/v1/why",
      ]),
    );
  });

  test.each([
    ["POST", "/v1/forwards", "{", { "content-type": "application/json" }, 400],
    ["POST", "/v1/forwards", "{}", { "content-type": "application/json" }, 400],
    ["POST", "/v1/forwards", '{"rule":"2222:22","extra":1}', { "content-type": "application/json" }, 400],
    ["POST", "/v1/forwards", '{"rule":5}', { "content-type": "application/json" }, 400],
    ["POST", "/v1/forwards", "rule=1", { "content-type": "text/csv" }, 415],
    ["POST", "/v1/forwards", `{"rule":"${"x".repeat(70_000)}"}`, { "content-type": "application/json" }, 413],
    ["PUT", "/v1/forwards", "{}", { "content-type": "application/json" }, 405],
    ["GET", "/v1/nothing", "", {}, 404],
    ["GET", "/v1/dns?last=x", "", {}, 400],
  ])("%s %s with %s is answered properly, and the network goes on", async (method, url, body, headers, status) => {
    const answer = await ask(method, url, body, headers);
    expect(answer.status).toBe(status);
    expect((answer.json as { error: string }).error).toMatch(/^[^\n]+$/);
    expect((await ask("GET", "/v1/status")).status).toBe(200);
    expect(network.forwards()).toEqual([]);
  });

  test("a wrong method names the right ones", async () => {
    expect((await ask("DELETE", "/v1/forwards")).headers.allow).toBe("GET, POST");
  });

  test("its socket is this user's alone, and gone afterwards", async () => {
    const { path: file } = api.address as { path: string };
    expect(fs.statSync(file).mode & 0o777).toBe(0o600);
    await api.close();
    expect(fs.existsSync(file)).toBe(false);
  });
});

describe("the API on TCP", () => {
  beforeEach(async () => {
    await api.close();
    api = await serveApi(network, { address: { kind: "tcp", host: "127.0.0.1", port: 0 }, version: "1.2.3" });
  });

  test("takes 256 connections, closes one more, and serves when they have gone", async () => {
    const { port } = api.address as { port: number };
    const dial = (): net.Socket => net.connect(port, "127.0.0.1").on("error", () => {});
    const idle = Array.from({ length: 256 }, dial);
    await Promise.all(idle.map((socket) => once(socket, "connect")));
    await once(dial().resume(), "close");
    for (const socket of idle) socket.destroy();
    const served = () =>
      ask("GET", `/v1/status?token=${api.token}`).then(
        ({ status }) => status,
        () => 0,
      );
    await expect.poll(served, { timeout: 20_000 }).toBe(200);
  });

  test("wants the token, in the header or the query", async () => {
    expect((await ask("GET", "/v1/status")).status).toBe(401);
    expect((await ask("GET", "/v1/status", "", { authorization: "Bearer wrong" })).status).toBe(401);
    expect((await ask("GET", "/v1/status", "", { authorization: `Bearer ${api.token}` })).status).toBe(200);
    expect((await ask("GET", `/v1/status?token=${api.token}`)).status).toBe(200);
  });

  test("listens no more once it is closed, and leaves nothing that keeps the process", async () => {
    await api.close();
    await expect(ask("GET", "/v1/status")).rejects.toThrow("ECONNREFUSED");
  });

  test("answers under loopback names only, so that a rebound name reads nothing", async () => {
    const headers = { authorization: `Bearer ${api.token}`, host: "evil.example" };
    expect((await ask("GET", "/v1/status", "", headers)).status).toBe(403);
  });

  test("is out of a guest's reach by every address of the host, though the gateway leads to the host's loopback", async () => {
    const { port } = api.address as { port: number };
    guest = await embeddedGuest(network);
    const other = net.createServer((socket) => socket.destroy()).listen(0, "127.0.0.1");
    await new Promise((resolve) => other.once("listening", resolve));
    expect(await guest.dial(guest.guest.gateway, (other.address() as net.AddressInfo).port)).toBe("connected");
    other.close();
    expect(await guest.dial(guest.guest.gateway, port)).toBe("refused");
    const own = Object.values(os.networkInterfaces()).flatMap((list) => list ?? []);
    for (const { address, family, internal } of own) {
      if (family === "IPv4" && !internal) expect(await guest.dial(ipv4FromText(address), port)).toBe("refused");
    }
    await api.close();
  });
});
