/** The web page in a real browser, with a guest at work. */
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import net from "node:net";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { serveGuestsApi } from "../../src/api/guests.ts";
import { type Api, serveApi } from "../../src/api/server.ts";
import { serveWorkersApi } from "../../src/api/workers.ts";
import { resolveName } from "../../src/cli/guest/dns.ts";
import { ipv4FromText } from "../../src/core/address.ts";
import { GuestNetworks } from "../../src/guest-networks.ts";
import { createNetwork, type Network } from "../../src/index.ts";
import { temporaryFolder } from "../cli/command.ts";
import { type EmbeddedGuest, embeddedGuest } from "../support/embedded-guest.ts";
import { webSocketPlug } from "../support/web-socket-plug.ts";

const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find((file) => existsSync(file));
const ARGS =
  "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update --disable-sync";
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** Where screenshots go when somebody wants to look. */
const SHOTS = process.env.SCREENSHOTS;

// In CI nothing may be missing.
describe.skipIf(CHROMIUM === undefined && process.env.CI === undefined)("the page", () => {
  let network: Network;
  let api: Api;
  let guest: EmbeddedGuest;
  let browser: Browser;
  let page: Page;
  const errors: string[] = [];

  beforeAll(async () => {
    network = await createNetwork({ hostname: "web", ask: true, rules: ["allow 10.0.2.2", "default deny"] });
    api = await serveApi(network, { address: { kind: "tcp", host: "127.0.0.1", port: 0 }, version: "1.2.3" });
    guest = await embeddedGuest(network);
    browser = await chromium.launch({ executablePath: CHROMIUM!, args: ARGS.split(" ") });
    page = await browser.newPage({ viewport: { width: 1200, height: 1500 } });
    page.on("console", (message) => {
      if (message.type() === "error") errors.push(message.text());
    });
    page.on("pageerror", (error) => errors.push(error.message));
    await page.goto(`${base()}/?token=${api.token}`);
  });
  afterAll(async () => {
    await browser.close();
    guest.stop();
    await api.close();
    await network.close();
  });

  const base = (): string => `http://127.0.0.1:${(api.address as { port: number }).port}`;
  /** What axe-core finds wrong, in words. */
  async function violations(): Promise<string[]> {
    await page.evaluate(AXE);
    return page.evaluate<string[]>(
      "axe.run().then(({ violations }) => violations.map(({ id, nodes }) => id + ': ' + nodes.map(({ html }) => html).join(' ')))",
    );
  }
  async function shot(name: string): Promise<void> {
    if (SHOTS === undefined) return;
    mkdirSync(SHOTS, { recursive: true });
    await page.screenshot({ path: `${SHOTS}/${name}.png` });
  }

  test("shows what runs and forgets the token in the address", async () => {
    await page.locator("#status", { hasText: "10.0.2.0/24" }).waitFor();
    expect(page.url()).toBe(`${base()}/`);
    await page.locator("#leases td", { hasText: "10.0.2.15" }).waitFor();
  });

  test("adds a forward and removes it again, by keyboard", async () => {
    await page.locator("#rule").fill("tcp:127.0.0.1:0-:80");
    await page.keyboard.press("Enter");
    const remove = page.locator("#forwards button");
    await remove.waitFor();
    expect(network.forwards()).toHaveLength(1);
    await remove.focus();
    await page.keyboard.press("Enter");
    await remove.waitFor({ state: "detached" });
    expect(network.forwards()).toEqual([]);
  });

  test("asks for a verdict while a flow waits: always makes a rule, deny refuses, and both are listed", async () => {
    const dial = (last: number): Promise<string> => guest.dial(ipv4FromText(`192.0.2.${last}`), 443);
    const always = "allow tcp 192.0.2.7:443";
    const dialled = dial(7);
    const row = page.locator("#asks tbody tr", { hasText: "192.0.2.7:443" });
    await row.waitFor();
    expect(await row.locator("code").textContent()).toBe(always);
    await row.getByRole("button", { name: `Always: ${always}` }).click();
    await page.locator("#asks-section").waitFor({ state: "hidden" });
    expect(network.rules()).toEqual(["allow 10.0.2.2", "default deny", always]);
    void dialled.catch(() => {});
    const refused = dial(8);
    const name = resolveName(guest.guest, "xn--pple-43d.test").catch(String);
    const deny = page.locator("#asks button", { hasText: "Deny" });
    await expect.poll(() => deny.count()).toBe(2);
    expect(await page.locator("#asks").textContent()).toContain("allow dns xn--pple-43d.test");
    await shot("asks");
    await deny.first().click();
    await deny.nth(0).waitFor();
    await deny.first().click();
    expect(await refused).toBe("refused");
    expect(await name).toContain("REFUSED");
    const refusal = page.locator("#refusals tbody tr", { hasText: "192.0.2.8:443" });
    await refusal.waitFor();
    expect(await refusal.locator("code").textContent()).toBe("allow tcp 192.0.2.8:443");
    await shot("refusals");
    await refusal.getByRole("button", { name: "Allow: allow tcp 192.0.2.8:443" }).click();
    await expect.poll(() => network.rules()[0]).toBe("allow tcp 192.0.2.8:443");
  });

  test("shows forwards and a bad line that others have set, and does not pass off as its own what its sliders cannot say", async () => {
    const [forward] = await network.publish("tcp:127.0.0.1:0-:81");
    network.impair([{ delay: 40, direction: "up" }]);
    await page.locator("#forwards td", { hasText: ":81" }).waitFor();
    await page.locator("#impair-state", { hasText: "1 rule that sliders cannot show" }).waitFor();
    network.impair([{ delay: 40 }]);
    network.unpublish(forward!);
    await page.locator("#impair label", { hasText: "40 ms" }).waitFor();
    network.impair([]);
    await page.locator("#impair label", { hasText: "40 ms" }).waitFor({ state: "detached" });
    await page.locator("#forwards-empty").waitFor();
  });

  test("explains its words without a pointer to hold over them", async () => {
    const words = page.locator("#flow-words");
    await words.locator("summary").focus();
    await page.keyboard.press("Enter");
    await words.locator("dt", { hasText: "half closed" }).waitFor();
    expect(await words.locator("dd").allTextContents()).toEqual(
      expect.arrayContaining([expect.stringContaining("may serve others, too")]),
    );
  });

  test("leaves alone what somebody is about to copy", async () => {
    await page.evaluate(`getSelection().selectAllChildren(document.querySelector("#leases td:nth-child(2)"))`);
    await page.evaluate(`window.kept = document.querySelector("#leases td:nth-child(2)")`);
    await page.waitForResponse((response) => response.url().endsWith("/v1/leases"));
    await page.waitForResponse((response) => response.url().endsWith("/v1/status"));
    expect(await page.evaluate<string>("getSelection().toString()")).toBe("10.0.2.15");
    expect(await page.evaluate("kept.isConnected")).toBe(true);
    await page.evaluate("getSelection().removeAllRanges()");
  });

  test("says in one line what is wrong with a rule", async () => {
    await page.locator("#rule").fill("nonsense");
    await page.keyboard.press("Enter");
    await page.locator("#publish-error", { hasText: "expected" }).waitFor();
    // The browser itself notes an answer of 400.
    errors.length = 0;
  });

  test("impairs lines by its sliders", async () => {
    const delay = page.locator('#impair input[name="delay"]');
    await delay.focus();
    for (let i = 0; i < 4; i++) await page.keyboard.press("ArrowRight");
    await expect.poll(() => network.impairment()).toMatchObject([{ delay: 20 }]);
    for (let i = 0; i < 4; i++) await page.keyboard.press("ArrowLeft");
    await expect.poll(() => network.impairment()).toEqual([]);
  });

  test("lists packets in words, each with its headers, by a filter", async () => {
    await page.locator("#packet-filter").fill("icmp");
    await page.locator("#watch-button").click();
    await expect
      .poll(async () => {
        await guest.guest.ping(guest.guest.gateway);
        return page.locator("#packets li").count();
      })
      .toBeGreaterThan(1);
    const first = page.locator("#packets li").first();
    expect(await first.locator("summary").textContent()).toMatch(/IP 10\.0\.2\.2 > 10\.0\.2\.15: ICMP echo reply/);
    await first.locator("summary").click();
    expect(await first.locator("dl").allTextContents()).toEqual(
      expect.arrayContaining([expect.stringContaining("TTL"), expect.stringContaining("echo reply")]),
    );
    await shot("light");
    await page.locator("#watch-button").click();
  });

  test("asks for nothing while nobody sees it, and goes on where it was when somebody does", async () => {
    const see = (seen: boolean) =>
      page.evaluate(`Object.defineProperty(document, "hidden", { value: ${!seen}, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"))`);
    const asked: string[] = [];
    await page.locator("#watch-button").click();
    await page.locator('#watch-button[aria-pressed="true"]').waitFor();
    await see(false);
    await page.locator('#watch-button[aria-pressed="false"]').waitFor();
    // What was under way may end; the next turn of the page's clock finds nobody.
    await page.waitForTimeout(1100);
    page.on("request", (request) => asked.push(request.url()));
    await page.waitForTimeout(1500);
    expect(asked).toEqual([]);
    await see(true);
    await page.locator('#watch-button[aria-pressed="true"]').waitFor();
    await expect.poll(() => asked.some((url) => url.endsWith("/v1/status")), { timeout: 10_000 }).toBe(true);
    await page.locator("#watch-button").click();
    // What passed meanwhile is known to the API.
    const history = await page.evaluate<{ samples: object[] }>(
      `fetch("v1/history", { headers: { authorization: "Bearer ${api.token}" } }).then((answer) => answer.json())`,
    );
    expect(history.samples.length).toBeGreaterThan(3);
  });

  test("tells why packets cannot be listed", async () => {
    await page.locator("#packet-filter").fill("nonsense");
    await page.locator("#watch-button").click();
    await page.locator("#packet-note", { hasText: 'got "nonsense"' }).waitFor();
    expect(await page.locator("#watch-button").getAttribute("aria-pressed")).toBe("false");
    errors.length = 0;
  });

  test("records what passes and offers it as pcapng", async () => {
    await page.locator("#packet-filter").fill("");
    await page.locator("#record-button").click();
    await expect.poll(() => network.captures().length).toBe(1);
    await guest.guest.ping(guest.guest.gateway);
    await page.locator("#packet-note", { hasText: "recorded" }).waitFor();
    await page.locator("#record-button").click();
    const waiting = page.waitForEvent("download");
    await page.locator("#download").click();
    const stream = await (await waiting).createReadStream();
    const chunks: Buffer[] = [];
    for await (const chunk of stream) chunks.push(chunk as Buffer);
    expect(Buffer.concat(chunks).readUInt32BE(0)).toBe(0x0a0d0d0a);
    await expect.poll(() => network.captures().length).toBe(0);
  });

  test("is as readable in the dark", async () => {
    await page.emulateMedia({ colorScheme: "dark" });
    const luminance = async (property: "color" | "backgroundColor"): Promise<number> => {
      const text = await page.evaluate<string>(`getComputedStyle(document.documentElement).${property}`);
      const [r = 0, g = 0, b = 0] = text.match(/[0-9.]+/g)!.map(Number);
      return (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255;
    };
    expect((await luminance("color")) - (await luminance("backgroundColor"))).toBeGreaterThan(0.7);
    await shot("dark");
  });

  let port: number | null = null;
  const sinks: net.Server[] = [];
  afterAll(() => {
    for (const sink of sinks) sink.close();
  });
  async function connection(): Promise<number> {
    const sink = net.createServer((socket) => socket.on("error", () => {})).listen(0, "127.0.0.1");
    sinks.push(sink);
    await new Promise((resolve) => sink.once("listening", resolve));
    const { port: to } = sink.address() as net.AddressInfo;
    guest.guest.connect(guest.guest.gateway, to, {});
    return to;
  }

  for (const colorScheme of ["light", "dark"] as const) {
    for (const width of [1200, 400]) {
      test(`everybody can use it: ${colorScheme}, ${width} pixels wide`, async () => {
        await page.emulateMedia({ colorScheme });
        await page.setViewportSize({ width, height: 1500 });
        // One connection is there for all four.
        port ??= await connection();
        await page
          .locator("#flows td", { hasText: String(port) })
          .first()
          .waitFor();
        await shot(`${colorScheme}-${width}`);
        expect(await violations()).toEqual([]);
        // Nothing sticks out: what does not fit is in something that scrolls.
        expect(await page.evaluate("document.documentElement.scrollWidth")).toBeLessThanOrEqual(width);
      });
    }
  }

  test("takes a forward back that was removed by mistake", async () => {
    await page.locator("#rule").fill("tcp:127.0.0.1:0-:80");
    await page.keyboard.press("Enter");
    await page.locator("#forwards button").click();
    await expect.poll(() => network.forwards()).toEqual([]);
    await page.locator("#undo").click();
    await expect.poll(() => network.forwards()).toHaveLength(1);
    await page.locator("#forwards button").click();
  });

  test("without a token asks for it, says when it is wrong, and begins with the right one", async () => {
    const stranger = await (await browser.newContext()).newPage();
    await stranger.goto(base());
    await stranger.locator("#sign-in").waitFor();
    expect(await stranger.locator("#main").isVisible()).toBe(false);
    await stranger.locator("#token").fill("wrong");
    await stranger.keyboard.press("Enter");
    await stranger.locator("#token-error", { hasText: "not the token" }).waitFor();
    await stranger.locator("#token").fill(api.token!);
    await stranger.keyboard.press("Enter");
    await stranger.locator("#status", { hasText: "10.0.2.0/24" }).waitFor();
    await stranger.context().close();
  });

  test("where each guest has a network says what to do while there is none, lets one choose, and tells who has left", async () => {
    const networks = new GuestNetworks();
    const address = { kind: "tcp", host: "127.0.0.1", port: 0 } as const;
    const each = await serveGuestsApi(networks, { address, version: "1" });
    const ws = (await networks.listenAt("ws://127.0.0.1:0")) as { port: number };
    const come = async (last: number) =>
      embeddedGuest(await webSocketPlug(`ws://127.0.0.1:${ws.port}/`), last, `vm${last}`);
    const looking = await (await browser.newContext()).newPage();
    await looking.goto(`http://127.0.0.1:${(each.address as { port: number }).port}/?token=${each.token}`);
    await looking.locator("#nobody", { hasText: `ws://127.0.0.1:${ws.port}/` }).waitFor();
    expect(await looking.locator("#choice").isVisible()).toBe(false);
    const guests = [await come(1), await come(2)];
    await looking.locator("#leases td", { hasText: "vm1" }).waitFor();
    await looking.evaluate(`window.kept = document.querySelector('#network option[value="g1"]')`);
    await looking.locator("#network").selectOption("g2");
    await looking.locator("#leases td", { hasText: "vm2" }).waitFor();
    // A list that is open stays open.
    expect(await looking.evaluate("kept.isConnected")).toBe(true);
    guests.pop()!.stop();
    await looking.locator("#left", { hasText: /vm2 .*has left; this is vm1/ }).waitFor();
    await looking.locator("#leases td", { hasText: "vm1" }).waitFor();
    guests.pop()!.stop();
    await looking.locator("#nobody").waitFor();
    await looking.context().close();
    await each.close();
    await networks.close();
  });

  test("where workers have networks lets one choose, and says when one is being started again", async () => {
    const folder = temporaryFolder();
    const networks = [await createNetwork(), await createNetwork()];
    const own = await Promise.all(
      networks.map((each, i) =>
        serveApi(each, { address: { kind: "unix", path: `${folder}/${i + 1}` }, version: "1" }),
      ),
    );
    const workers = own.map((_, i) => ({
      number: i + 1,
      pid: 1,
      ready: true,
      guests: i,
      socket: `${folder}/${i + 1}`,
    }));
    const view = { workers: () => workers, listening: () => [], refused: 0, protectPort: () => {} };
    const all = await serveWorkersApi(view, { address: { kind: "tcp", host: "127.0.0.1", port: 0 }, version: "1" });
    const second = await embeddedGuest(networks[1]!, 2, "vm2");
    const looking = await (await browser.newContext()).newPage();
    await looking.goto(`http://127.0.0.1:${(all.address as { port: number }).port}/?token=${all.token}`);
    await looking.locator("#leases-empty", { hasText: "No guest yet" }).waitFor();
    await looking.getByLabel("Worker").selectOption({ label: "worker 2 (1 guest)" });
    await looking.locator("#leases td", { hasText: "vm2" }).waitFor();
    workers[1] = { ...workers[1]!, ready: false };
    await own[1]!.close();
    await looking.locator("#gone", { hasText: "worker 2 is being started again" }).waitFor();
    await looking.locator("#network").selectOption("w1");
    await looking.locator("#gone").waitFor({ state: "hidden" });
    await looking.context().close();
    second.stop();
    await all.close();
    await own[0]!.close();
    for (const each of networks) await each.close();
    rmSync(folder, { recursive: true });
  });

  test("loads nothing from elsewhere and complains of nothing", async () => {
    const loaded = await page.evaluate<string[]>('performance.getEntriesByType("resource").map((entry) => entry.name)');
    expect(loaded.every((url) => url.startsWith(base()) || url.startsWith("data:") || url.startsWith("blob:"))).toBe(
      true,
    );
    expect(errors).toEqual([]);
  });

  test("says since when nobody answers, and dims what is from then", async () => {
    await api.close();
    await page.locator("#gone", { hasText: "has not answered since" }).waitFor();
    await page.locator("main.stale").waitFor();
    await shot("gone");
    // The same one again: what was added meanwhile is there without anybody's doing.
    const { port: before } = api.address as { port: number };
    const address = { kind: "tcp", host: "127.0.0.1", port: before } as const;
    api = await serveApi(network, { address, version: "1.2.3", token: api.token! });
    await network.publish("tcp:127.0.0.1:0-:82");
    await page.locator("#gone").waitFor({ state: "hidden" });
    await page.locator("#forwards td", { hasText: ":82" }).waitFor();
    // Another one, with a token of its own.
    await api.close();
    await page.locator("#gone", { hasText: "has not answered since" }).waitFor();
    api = await serveApi(network, { address, version: "1.2.3" });
    await page.locator("#token-error", { hasText: "not the token" }).waitFor();
    errors.length = 0;
  });
});
