/** The web page in a real browser, with a guest at work. */
import { existsSync, mkdirSync } from "node:fs";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Api, serveApi } from "../../src/api/server.ts";
import { createNetwork, type Network } from "../../src/index.ts";
import { type EmbeddedGuest, embeddedGuest } from "../support/embedded-guest.ts";

const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find((file) => existsSync(file));
const ARGS =
  "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update --disable-sync";
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
    network = await createNetwork({ hostname: "web" });
    api = await serveApi(network, { address: { kind: "tcp", host: "127.0.0.1", port: 0 }, version: "1.2.3" });
    guest = await embeddedGuest(network);
    browser = await chromium.launch({ executablePath: CHROMIUM!, args: ARGS.split(" ") });
    page = await browser.newPage({ viewport: { width: 1200, height: 1500 } });
    page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
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

  test("loads nothing from elsewhere and complains of nothing", async () => {
    const loaded = await page.evaluate<string[]>('performance.getEntriesByType("resource").map((entry) => entry.name)');
    expect(loaded.every((url) => url.startsWith(base()) || url.startsWith("data:") || url.startsWith("blob:"))).toBe(
      true,
    );
    expect(errors).toEqual([]);
  });
});
