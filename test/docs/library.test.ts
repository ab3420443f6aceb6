/** The code on docs/library.md is the recipes beside this file, and each recipe does what the page says, with a guest on its network. */
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, vi } from "vitest";
import { httpGet } from "../../src/cli/guest/http.ts";
import { ConfigError, type Network } from "../../src/index.ts";
import { type EmbeddedGuest, embeddedGuest } from "../support/embedded-guest.ts";

const PAGE = path.resolve("docs/library.md");
const RECIPES = path.resolve("test/docs/recipes");
const names = readdirSync(RECIPES).map((name) => name.replace(".ts", ""));

const code = (name: string): string =>
  readFileSync(path.join(RECIPES, `${name}.ts`), "utf8")
    .split("\n// Below is the test's.\n")[0]!
    .replace(/, type \w+(?= })/, "");

it("the page has each recipe, as `npm run options` writes it", () => {
  const page = readFileSync(PAGE, "utf8");
  const written = page.replace(
    /<!-- recipe: (\w+) -->\n[\s\S]*?<!-- \/recipe -->/g,
    (_all, name: string) => `<!-- recipe: ${name} -->\n\`\`\`ts\n${code(name)}\`\`\`\n<!-- /recipe -->`,
  );
  if (process.env.UPDATE_OPTIONS === "1") writeFileSync(PAGE, written);
  else expect(page).toBe(written);
  expect([...page.matchAll(/<!-- recipe: (\w+)/g)].map(([, name]) => name).toSorted()).toEqual(names.toSorted());
  expect(page.match(/```ts/g)).toHaveLength(names.length);
});

const home = process.cwd();
let folder: string;
let said: string[];
const open: { close(): Promise<void> }[] = [];
const guests: EmbeddedGuest[] = [];
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), "tslirp-recipes-"));
  process.chdir(folder);
});
afterAll(() => {
  process.chdir(home);
  rmSync(folder, { recursive: true });
});
beforeEach(() => {
  said = [];
  for (const way of ["log", "table"] as const)
    vi.spyOn(console, way).mockImplementation((...words: unknown[]) => void said.push(words.map(String).join(" ")));
});
afterEach(async () => {
  for (const { stop } of guests.splice(0)) stop();
  for (const each of open.splice(0)) await each.close();
  vi.restoreAllMocks();
});

const ipv4 = (text: string): number => text.split(".").reduce((ip, byte) => (ip << 8) | Number(byte), 0);

/** A guest with a lease on the recipe's network, which ends with the test. */
async function plug(network: Network): Promise<EmbeddedGuest> {
  open.push(network);
  const guest = await embeddedGuest(network, guests.length + 1, "vm");
  guests.push(guest);
  return guest;
}

it("start: QEMU's arguments, and a line for a lease and for a connection's end", async () => {
  const { network } = await import("./recipes/start.ts");
  expect(said.join()).toContain("addr.path=net.sock");
  const { guest } = await plug(network);
  await vi.waitFor(() => expect(said.join()).toContain("vm has 10.0.2.15"));
  guest.listen(22, (socket) => ({ onConnect: () => socket.end() }));
  (await network.connect({ port: 22 })).resume().end();
  await vi.waitFor(() => expect(said.join()).toMatch(/10\.0\.2\.15:22: 0 up, 0 down/));
});

it("serve: a page, and a clock by UDP", async () => {
  const { network } = await import("./recipes/serve.ts");
  const { guest } = await plug(network);
  const { body } = await httpGet(guest, "http://10.0.2.100/");
  expect(Buffer.from(body).toString()).toBe("hello 10.0.2.15\n");
  const udp = guest.udp();
  const answer = new Promise<string>((resolve) => {
    udp.onDatagram = (bytes) => resolve(Buffer.from(bytes).toString());
  });
  udp.send(new Uint8Array(1), ipv4("10.0.2.100"), 37);
  expect(await answer).toMatch(/^\d{4}-\d\d-\d\dT/);
});

it("reach: a page of the guest's", async () => {
  const { network, fetched } = await import("./recipes/reach.ts");
  const { guest } = await plug(network);
  const answer = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nfrom the guest";
  guest.listen(80, (socket) => ({
    onData: () => {
      socket.write(Buffer.from(answer));
      socket.end();
    },
  }));
  expect(await text(await fetched("/"))).toBe("from the guest");
});

it("judge: silence, a redirection, a taker", async () => {
  const { network } = await import("./recipes/judge.ts");
  const { guest } = await plug(network);
  const server = await network.listenGuest({ host: "10.0.2.100", port: 80 }, (socket) =>
    socket.on("error", () => {}).end("redirected"),
  );
  const bytes = (port: number, question: string): Promise<string> =>
    new Promise((resolve) => {
      const socket = guest.connect(ipv4("198.51.100.7"), port, {
        onConnect: () => void socket.write(Buffer.from(question)),
        onData: (data) => {
          resolve(Buffer.from(data).toString());
          socket.abort();
        },
      });
    });
  expect(await bytes(8080, "x")).toBe("redirected");
  expect(await bytes(7, "echo")).toBe("echo");
  const silent = guest.connect(ipv4("198.51.100.7"), 25, {});
  await vi.waitFor(() => expect(network.stats().drops.denied).toBeGreaterThan(0));
  silent.abort();
  await server.close();
});

it("rules: what was refused is told with what would allow it", async () => {
  const { network } = await import("./recipes/rules.ts");
  expect(network.rules()).toContain("allow tcp example.org:443");
  const { dial } = await plug(network);
  expect(await dial(ipv4("198.51.100.7"), 80)).toBe("refused");
  await vi.waitFor(() =>
    expect(said.join()).toContain("198.51.100.7:80 refused by default deny; allow tcp 198.51.100.7:80 would allow it"),
  );
});

it("errors: nobody listens, and a call that is wrong", async () => {
  const { network, asked } = await import("./recipes/errors.ts");
  const { guest } = await plug(network);
  guest.listen(22, () => ({}));
  expect(await asked(22)).toBe(true);
  expect(await asked(23)).toBe(false);
  await expect(asked(70_000)).rejects.toThrow(ConfigError);
});

it("watch: a capture is written, a line is bad", async () => {
  const { network } = await import("./recipes/watch.ts");
  await plug(network);
  expect(said.join()).toContain("0 connections");
  expect(statSync("run.pcapng").size).toBeGreaterThan(20);
  expect(network.impairment()).toMatchObject([{ delay: 20, loss: 0.01 }]);
});

it("cable: the gateway answers ARP", async () => {
  const { network } = await import("./recipes/cable.ts");
  open.push(network);
  await vi.waitFor(() => expect(said.join()).toMatch(/\d+ bytes for the guest/));
});

it("each: two guests come, and leave", async () => {
  const { all } = await import("./recipes/each.ts");
  open.push(all);
  const net = await import("node:net");
  const first = net.connect("guests.sock");
  const second = net.connect("guests.sock");
  await vi.waitFor(() => expect(said.filter((line) => line.endsWith("is here"))).toHaveLength(2));
  for (const socket of [first, second]) socket.destroy();
  await Promise.all([once(first, "close"), once(second, "close")]);
  await vi.waitFor(() => expect(said.filter((line) => line.includes("has left"))).toHaveLength(2));
});
