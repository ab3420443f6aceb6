/** What the library says to a program that calls it wrongly: which argument, what was given, what would be right. */
import { PassThrough } from "node:stream";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createNetwork, GuestNetworks, type Network } from "../../src/index.ts";

let network: Network;
beforeAll(async () => {
  network = await createNetwork();
});
afterAll(() => network.close());

const twice = new PassThrough();

/** As from JavaScript, where nobody checks. */
const any = (value?: unknown): never => value as never;

it.each<[string, () => unknown, string]>([
  ["createNetwork(null)", () => createNetwork(any(null)), "options: got null; expected an object of network options"],
  ["createNetwork of a text", () => createNetwork(any("x")), "options: got"],
  [
    "no family",
    () => createNetwork({ ipv4: false, ipv6: false }),
    "expected one of ipv4 and ipv6 to be on, not both off",
  ],
  [
    "an empty command",
    () => createNetwork({ guestfwd: ["tcp:10.0.2.100:80-cmd:"] }),
    "expected a command behind -cmd:",
  ],
  [
    "guestfwd at the gateway",
    () => createNetwork({ guestfwd: ["tcp:10.0.2.2:80-cmd:cat"] }),
    "expected an address of the guests' net that nobody has, not the gateway's",
  ],
  ["listen()", () => network.listen(any()), "listen: got nothing; expected { path }, { host, port }"],
  ["listen({})", () => network.listen(any({})), "expected { path }, { host, port }"],
  ["listen({ port })", () => network.listen(any({ port: 1 })), "expected { path }, { host, port }"],
  ["listen({ path: 3 })", () => network.listen(any({ path: 3 })), "expected { path }, { host, port }"],
  ["publish()", () => network.publish(any()), "publish: got nothing; expected a rule like 2222:22"],
  ["capture()", async () => network.capture(any()), "capture: got nothing; expected a file's path or a stream"],
  ["setRules()", async () => network.setRules(any()), "rules: got nothing; expected a list of texts"],
  ["setRules of a text", async () => network.setRules(any("default deny")), "rules: got"],
  ["setDnsHosts of a text", async () => network.setDnsHosts(any("a=1.2.3.4")), "dnsHosts: got"],
  ["setDnsZones()", async () => network.setDnsZones(any()), "dnsZones: got nothing"],
  ["attach()", async () => network.attach(any()), "attach: got nothing; expected a Duplex"],
  ["attachTap({})", async () => network.attachTap(any({})), "attachTap: got {}; expected a descriptor"],
  ["attachTap()", async () => network.attachTap(any()), "attachTap: got nothing; expected a descriptor"],
  ["attachFd of a text", async () => network.attachFd(any("0")), 'attachFd: got "0"; expected a descriptor'],
  ["attachFd(-1)", async () => network.attachFd(-1), "attachFd: got -1; expected a descriptor"],
  ["attachAccepted({})", async () => network.attachAccepted(any({})), "attachAccepted: got {}; expected a net.Socket"],
  [
    "attachWebSocket({})",
    async () => network.attachWebSocket(any({})),
    "attachWebSocket: got {}; expected a WebSocket, of ws or a standard one",
  ],
  [
    "attach of what is destroyed",
    async () => network.attach(new PassThrough().destroy()),
    "expected a Duplex that is not destroyed",
  ],
  [
    "attach of one socket twice",
    async () => [0, 1].map(() => network.attach(twice)),
    "expected one that is no guest's cable yet",
  ],
  [
    "attachAccepted of a cable",
    async () => network.attachAccepted(any(twice)),
    "expected one that is no guest's cable yet",
  ],
  ["explain()", async () => network.explain(any()), "flow: got nothing; expected a text like tcp"],
  ["explain(5)", async () => network.explain(any(5)), "flow: got 5; expected a text like tcp"],
  [
    "udp.send of nothing else",
    async () => (await network.bindGuestUdp({ port: 9_001 })).send("x", any(), any()),
    "address: got nothing; expected a guest's address",
  ],
  [
    "udp.send without a port",
    async () => (await network.bindGuestUdp({ port: 9_002 })).send("x", any(), "10.0.2.15"),
    "port: got nothing; expected a whole number",
  ],
  [
    "udp.send of no bytes",
    async () => (await network.bindGuestUdp({ port: 9_003 })).send(any(), 1, "10.0.2.15"),
    "bytes: got nothing; expected a Uint8Array or a text",
  ],
  ["cable.send(undefined)", async () => network.cable().send(any()), "send: got nothing; expected frames"],
  ["cable.send of a text", async () => network.cable().send(any("x")), 'send: got "x"; expected frames'],
  ["cable of no function", async () => network.cable(any(5)), "cable: got 5; expected a function"],
  ["GuestNetworks(5)", async () => new GuestNetworks(any(5)), "options: got 5; expected an object of network options"],
  ["GuestNetworks(null)", async () => new GuestNetworks(any(null)), "options: got null; expected an object"],
  ["GuestNetworks({}, 5)", async () => new GuestNetworks({}, any(5)), "options: got 5; expected an object like"],
  [
    "GuestNetworks' listenAt({})",
    async () => new GuestNetworks().listenAt(any({})),
    "listen: got {}; expected { path }, { host, port }",
  ],
  [
    "listen at two places",
    () => network.listen(any({ path: "/tmp/x", host: "127.0.0.1", port: 1 })),
    "expected { path }, { host, port }",
  ],
  ["publish of a port alone", () => network.publish(":80"), 'publish: got ":80"; expected [GUEST:][HOST:]PORT'],
  [
    "publish of IPv6 without brackets",
    () => network.publish("::1:8080:80"),
    'publish: got "::1:8080:80"; expected [GUEST:][HOST:]PORT[-PORT]:GUESTPORT[-PORT][/tcp|/udp] (IPv6 in brackets)',
  ],
  ["impair()", async () => network.impair(any()), "impair: got nothing; expected a list of rules"],
  ["impair with a text as seed", async () => network.impair([], any("x")), 'seed: got "x"; expected a whole number'],
  ...[undefined, null, 5, {}, { frame: 5 }].map((given): [string, () => unknown, string] => [
    `watch of ${JSON.stringify(given)}`,
    async () => network.watch(any(given)),
    "expected an object like { frame(link, direction, bytes, at, len) {} }",
  ]),
  ...["18777", "http", -1, 0, 65_536, 1.5, Number.NaN, {}, null].map((given): [string, () => unknown, string] => [
    `protectPort of ${typeof given} ${given}`,
    async () => network.protectPort(any(given)),
    "expected a whole number from 1 to 65535",
  ]),
  ["protectPort(NaN)", async () => network.protectPort(Number.NaN), "protectPort: got NaN;"],
  [
    "GuestNetworks' protectPort of a text",
    async () => new GuestNetworks().protectPort(any("http")),
    'protectPort: got "http"; expected a whole number from 1 to 65535',
  ],
  ...[
    undefined,
    null,
    Number.NaN,
    0,
    () => {},
    ["a"],
    new Uint8Array(3),
    Symbol("x"),
    "tap%d",
    "a:b",
    "a\0b",
    "ééééééééé",
  ].map((given): [string, () => unknown, string] => [
    `makeTap of ${typeof given} ${String(given)}`,
    () => network.makeTap(any(given)),
    "expected NAME, NAME@PID or NAME@PATH",
  ]),
  ...[undefined, null, {}, 0, { remotes: "192.0.2.7", vni: 1 }].map((given): [string, () => unknown, string] => [
    `uplink of ${JSON.stringify(given)}`,
    () => network.uplink(any(given)),
    "expected a text like vxlan://192.0.2.7?vni=42 or { remotes, vni }",
  ]),
  ["an uplink to a number", () => network.uplink(any({ remotes: [5], vni: 1 })), "uplink: got 5; expected the address"],
  [
    "an uplink from a number",
    () => network.uplink(any({ remotes: ["192.0.2.7"], vni: 1, local: 5 })),
    "uplink: got 5; expected an address of this host",
  ],
  ...[undefined, null, {}, { rule: 5 }].map((given): [string, () => unknown, string] => [
    `unpublish of ${JSON.stringify(given)}`,
    async () => network.unpublish(any(given)),
    "expected a forward that publish or forwards() has given",
  ]),
  ...[5, { guest: {} }, { proto: "tcp", host: { host: "127.0.0.1", port: "x" }, guest: { host: null, port: 1 } }].map(
    (given): [string, () => unknown, string] => [
      `publish of ${JSON.stringify(given)}`,
      () => network.publish(any(given)),
      "expected a rule like 2222:22, or { proto, host, guest }",
    ],
  ),
  ["capture of a zero", async () => network.capture("\0"), 'capture: got "\\u0000"; expected a file'],
  [
    "capture with a text as length",
    async () => network.capture(new PassThrough(), any({ snapLength: "x" })),
    'snapLength: got "x"; expected a number from 1',
  ],
  [
    "capture with null",
    async () => network.capture(new PassThrough(), any(null)),
    "options: got null; expected an object",
  ],
  ["record of a zero", () => network.record("\0"), "expected a new file's name"],
  ["record with null", () => network.record("/no/folder/x", any(null)), "options: got null; expected an object"],
  ["cableOf()", async () => network.cableOf(any()), "cableOf: got nothing; expected an address"],
  ["cableOf of a name", async () => network.cableOf("web"), 'cableOf: got "web"; expected an address'],
  ["guestNamed(5)", async () => network.guestNamed(any(5)), "guestNamed: got 5; expected a guest's name"],
  [
    "onFrame of a text",
    async () => {
      network.cable().onFrame = any("x");
    },
    'onFrame: got "x"; expected a function',
  ],
])("%s: one line", async (_what, call, line) => {
  const error = await Promise.resolve()
    .then(call)
    .then(
      () => null,
      (thrown: Error) => thrown,
    );
  expect(error).toMatchObject({ name: "ConfigError", message: expect.stringContaining(line) });
});

it("a range of ports lets packets by while it opens and closes again", async () => {
  let turns = 0;
  let over = false;
  const count = (): void => {
    turns++;
    if (!over) setImmediate(count);
  };
  setImmediate(count);
  // Below the ports that the system gives to whoever asks for any. Somebody else may still have one of a range, which
  // is then refused as a whole: the next range is tried.
  let opened = 0;
  for (let first = 10_000; opened === 0 && first < 30_000; first += 500) {
    const range = `${first}-${first + 499}`;
    turns = 0;
    opened = (await network.publish(`${range}:${range}`).catch(() => [])).length;
  }
  over = true;
  expect(opened).toBeGreaterThan(0);
  expect(turns).toBeGreaterThan(10);
});
