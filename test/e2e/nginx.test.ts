/** A guest's cable by `wss:` through a reverse proxy, as docs/browser.md describes it. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import net, { type AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { createNetwork, type Network } from "../../src/index.ts";
import { type EmbeddedGuest, embeddedGuest } from "../support/embedded-guest.ts";
import { webSocketPlug } from "../support/web-socket-plug.ts";

const NGINX = "/usr/sbin/nginx";
const PAGE = "https://page.example";

/** The lines of docs/browser.md, for another port. */
function location(port: number): string {
  return readFileSync("docs/browser.md", "utf8")
    .split("```nginx\n")[1]!
    .split("```")[0]!
    .replace("127.0.0.1:8080", `127.0.0.1:${port}`);
}

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describe.skipIf(!existsSync(NGINX) && process.env.CI === undefined)("behind nginx", () => {
  let folder: string;
  let network: Network;
  let nginx: ChildProcess;
  let url: string;
  let guest: EmbeddedGuest | null = null;

  beforeAll(async () => {
    folder = mkdtempSync(path.join(os.tmpdir(), "nginx-"));
    network = await createNetwork({ mtu: 1500 });
    const address = await network.listenAt({ ws: "ws://127.0.0.1:0", origins: [PAGE] });
    const port = await freePort();
    const key = ["-keyout", `${folder}/key`, "-out", `${folder}/cert`, "-days", "1", "-subj", "/CN=localhost"];
    execFileSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", ...key], { stdio: "ignore" });
    writeFileSync(
      `${folder}/conf`,
      `daemon off; pid ${folder}/pid; error_log ${folder}/log; worker_processes 1; events {}
      http {
        access_log off; client_body_temp_path ${folder}/a; proxy_temp_path ${folder}/b; fastcgi_temp_path ${folder}/c;
        uwsgi_temp_path ${folder}/d; scgi_temp_path ${folder}/e;
        server { listen 127.0.0.1:${port} ssl; ssl_certificate ${folder}/cert; ssl_certificate_key ${folder}/key;
          ${location((address as { port: number }).port)} }
      }`,
    );
    nginx = spawn(NGINX, ["-e", `${folder}/log`, "-c", `${folder}/conf`], { stdio: "ignore" });
    url = `wss://127.0.0.1:${port}/relay`;
    await vi.waitFor(
      () =>
        new Promise<void>((resolve, reject) => {
          const socket = net.connect(port, "127.0.0.1", () => resolve(void socket.destroy()));
          socket.on("error", reject);
        }),
      10_000,
    );
  }, 30_000);
  afterAll(async () => {
    guest?.stop();
    nginx?.kill("SIGQUIT");
    await network?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it("a guest of a listed page has its lease and the gateway, and another page has nothing", async () => {
    guest = await embeddedGuest(await webSocketPlug(url, { rejectUnauthorized: false, origin: PAGE }));
    expect(await guest.guest.ping(guest.guest.gateway)).toBeGreaterThanOrEqual(0);
    await expect(webSocketPlug(url, { rejectUnauthorized: false, origin: "https://evil.example" })).rejects.toThrow(
      "403",
    );
  });
});
