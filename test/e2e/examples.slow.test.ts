/** Every example, from a project that has installed the package: TypeScript by tsx, and as the JavaScript that tsc makes of it. */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { chromium } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { dnsQname, dnsReply } from "../../src/wire/dns.ts";
import { UdpServer } from "../support/dns-server.ts";
import { Guest } from "../support/e2e/guest.ts";
import { Installed } from "../support/e2e/installed.ts";
import { describeE2e, LIBSLIRP } from "../support/e2e/requirements.ts";
import { GATEWAY, GUEST, GUEST_MAC } from "../support/e2e/rig.ts";
import { startSshd } from "../support/e2e/sshd.ts";

const NEEDS = [
  "curl",
  "sshd",
  "ssh-keygen",
  "npm",
  "/usr/share/seabios/bios.bin",
  "/usr/lib/ipxe/ipxe.iso",
  "chromium",
];
const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find((file) => existsSync(file));
const INSIDE = "http://10.0.2.100";

/** An example that runs, and what it has printed. */
class Running {
  readonly #child: ChildProcess;
  #output = "";
  #wake = (): void => {};

  constructor(folder: string, args: readonly string[]) {
    this.#child = spawn(process.execPath, args, { cwd: folder, stdio: ["ignore", "pipe", "pipe"], env: environment() });
    for (const stream of [this.#child.stdout!, this.#child.stderr!]) {
      stream.on("data", (piece) => {
        this.#output += piece;
        this.#wake();
      });
    }
    this.#child.once("exit", () => this.#wake());
  }

  get output(): string {
    return this.#output;
  }

  /** Resolves when it has printed a match; rejects with all it has printed when it ends without. */
  said(what: RegExp): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      this.#wake = () => {
        const match = what.exec(this.#output);
        if (match !== null) resolve(match);
        else if (this.#child.exitCode !== null) reject(new Error(`it never said ${what}, but:\n${this.#output}`));
      };
      this.#wake();
    });
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }

  /** Its exit status; by SIGTERM if it does not end by itself. */
  async end(signal: boolean): Promise<number | null> {
    if (signal) this.#child.kill("SIGTERM");
    if (this.#child.exitCode === null) await once(this.#child, "exit");
    return this.#child.exitCode;
  }
}

describeE2e("examples from the installed package", NEEDS, () => {
  if (LIBSLIRP) return it.skip("are no part of libslirp", () => {});
  let installed: Installed;
  let folder: string;
  let guest: Guest;
  let socket: string;
  let key: string;
  beforeAll(() => {
    installed = Installed.create();
    installed.compile();
    folder = mkdtempSync(path.join(tmpdir(), "tslirp-examples-"));
    socket = path.join(folder, "net.sock");
    guest = new Guest(path.join(folder, "lease"), GUEST_MAC);
    key = startSshd(guest, folder);
  }, 180_000);
  afterAll(async () => {
    await guest?.close();
    installed?.remove();
    rmSync(folder, { recursive: true });
  });

  /** Whatever became of a test, the next one begins anew. */
  let latest: Running | null = null;
  afterEach(async () => {
    latest?.kill();
    await guest.unplug();
  });

  const typescript = (name: string): string[] => ["--import", "tsx", `examples/${name}.ts`];
  const javascript = (name: string): string[] => [`js/${name}.js`];

  /** Starts an example on the guest's socket and has the guest join it. */
  async function start(args: readonly string[]): Promise<Running> {
    const running = new Running(installed.folder, args);
    latest = running;
    await running.said(/QEMU: -netdev stream/);
    await guest.plug(socket);
    const { code, stderr } = await guest.dhcp();
    if (code !== 0) throw new Error(`no lease: ${stderr}\n${running.output}`);
    return running;
  }

  async function finish(running: Running, signal = true): Promise<void> {
    expect(await running.end(signal), running.output).toBe(0);
  }

  const both = [
    ["TypeScript", typescript],
    ["JavaScript", javascript],
  ] as const;

  it.each(both)("http-server in %s", async (_language, how) => {
    const running = await start([...how("http-server"), socket]);
    const { stdout } = await guest.run("curl", ["-sS", "-m", "5", `${INSIDE}/path`]);
    expect(stdout).toBe(`hello ${GUEST}, you asked for /path\n`);
    await finish(running);
  });

  it.each(both)("ssh in %s", async (_language, how) => {
    const running = await start([...how("ssh"), socket, "root", key, "ip -4 -o address show tap0"]);
    await running.said(new RegExp(`${GUEST}: .*inet ${GUEST}`));
    await finish(running, false);
  });

  it.each(both)("sandbox in %s", async (_language, how) => {
    const web = http.createServer((_request, response) => response.end("allowed\n")).listen(0, "127.0.0.1");
    await once(web, "listening");
    const { port } = web.address() as AddressInfo;
    const known = Uint8Array.from(GATEWAY.split(".").map(Number));
    const dns = await UdpServer.open((query) => [dnsReply(query, 0, query.length, 0, [known], 60)]);
    const running = await start([...how("sandbox"), socket, "allowed.test", `127.0.0.1:${dns.endpoint.port}`]);
    const curl = (url: string) => guest.run("curl", ["-sS", "-m", "3", "-4", url]);
    expect((await curl(`http://${GATEWAY}:${port}/`)).code).toBe(7);
    expect(await curl(`http://www.allowed.test:${port}/`)).toMatchObject({ code: 0, stdout: "allowed\n" });
    expect((await curl(`http://other.test:${port}/`)).code).toBe(6);
    expect((await curl("http://198.51.100.1/")).code).toBe(7);
    expect(dns.seen.every(({ query }) => dnsQname(query, 0).toLowerCase().endsWith("allowed.test"))).toBe(true);
    expect(running.output).toMatch(/deny dns other\.test 53.*deny tcp 198\.51\.100\.1 80/s);
    await finish(running);
    await dns.close();
    web.close();
    web.closeAllConnections();
  });

  it("loss in JavaScript", async () => {
    const running = await start(["examples/loss.mjs", socket, "0.03"]);
    const file = path.join(folder, "download");
    expect((await guest.run("curl", ["-sS", "-m", "30", "-o", file, `${INSIDE}/`], 40_000)).code).toBe(0);
    const expected = Buffer.alloc(2_000_000, "some bytes, again and again. ");
    expect(sha256(readFileSync(file))).toBe(sha256(expected));
    const [, again] = await running.said(/2000\d\d\d bytes, (\d+) segments sent again/);
    expect(Number(again)).toBeGreaterThan(0);
    await finish(running);
  });

  /** What the PC in the page has said, when it has done all. */
  async function inBrowser(args: readonly string[], shot: string, timeout: number): Promise<string> {
    const running = new Running(installed.folder, ["examples/browser/serve.mjs", ...args]);
    const [, address] = await running.said(/Open (http:\S+)/);
    const flags =
      "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update";
    const browser = await chromium.launch({ executablePath: CHROMIUM!, args: flags.split(" ") });
    try {
      const page = await browser.newPage({ viewport: { width: 900, height: 600 } });
      const elsewhere: string[] = [];
      page.on("request", (request) => {
        if (!/^(?:http:\/\/127\.0\.0\.1:|data:|blob:)/.test(request.url())) elsewhere.push(request.url());
      });
      await page.goto(address!);
      await page.locator("#state", { hasText: `The PC at ${GUEST} has done what the page said` }).waitFor({ timeout });
      if (process.env.SCREENSHOTS !== undefined)
        await page.screenshot({ path: `${process.env.SCREENSHOTS}/${shot}.png` });
      expect(elsewhere).toEqual([]);
    } finally {
      await browser.close();
    }
    expect(await running.end(true)).toBe(0);
    return running.output;
  }

  it("v86 in a web page, over a WebSocket", async () => {
    const output = await inBrowser([], "v86", 180_000);
    expect(output).toMatch(/lease 10\.0\.2\.15 for .*name www\.v86\.test.*page \/boot\.ipxe for iPXE/s);
  }, 240_000);

  it.skipIf(!existsSync("/usr/bin/apt-get"))(
    "Debian's Linux in v86 in a web page",
    async () => {
      const making = new Running(installed.folder, ["examples/browser/linux-image.mjs", "linux"]);
      await making.said(/^Linux \S+ is in/m);
      const output = await inBrowser(["0", "linux"], "v86-linux", 420_000);
      expect(output).toMatch(/lease 10\.0\.2\.15 for .*name www\.v86\.test.*page \/done for Wget/s);
    },
    500_000,
  );

  it("v86 in JavaScript", async () => {
    const running = new Running(installed.folder, ["examples/v86.mjs"]);
    await running.said(new RegExp(`the PC at ${GUEST} has done what the page said`));
    expect(running.output).toMatch(/lease 10\.0\.2\.15 for .*name www\.v86\.test.*page \/boot\.ipxe for iPXE/s);
    expect(await running.end(false)).toBe(0);
  }, 150_000);
});

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** The test runner's own settings must not reach the programs under test. */
function environment(): NodeJS.ProcessEnv {
  const { NODE_OPTIONS: _options, NODE_ENV: _env, VITEST: _vitest, ...rest } = process.env;
  return rest;
}
