/** Programs of the host that reach a guest: through HTTP's CONNECT on the API, and through SOCKS5. */
import { execFile } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import type { Duplex } from "node:stream";
import { text } from "node:stream/consumers";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Api, serveApi } from "../../src/api/server.ts";
import { type Socks, serveSocks } from "../../src/api/socks.ts";
import { createNetwork, type Network } from "../../src/index.ts";
import { type EmbeddedGuest, embeddedGuest } from "../support/embedded-guest.ts";

let folder: string;
let network: Network;
let guest: EmbeddedGuest;
let api: Api;
let socks: Socks;

beforeEach(async () => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "tslirp-dial-"));
  network = await createNetwork({ hostname: "web" });
  guest = await embeddedGuest(network);
  // Says back what it hears, and ends when it has heard the end.
  guest.guest.listen(7, (socket) => ({ onData: (bytes) => void socket.write(bytes), onEnd: () => socket.end() }));
  guest.guest.listen(80, (socket) => ({
    onData: () => {
      socket.write(new TextEncoder().encode("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nguest"));
      socket.end();
    },
  }));
  api = await serveApi(network, { address: { kind: "unix", path: `${folder}/api.sock` }, version: "0" });
  socks = await serveSocks(network, { kind: "tcp", host: "127.0.0.1", port: 0 });
});
afterEach(async () => {
  await socks.close();
  await api.close();
  guest.stop();
  await network.close();
  fs.rmSync(folder, { recursive: true });
});

function connect(target: string): Promise<{ status: number; socket: Duplex }> {
  return new Promise((resolve, reject) => {
    const request = http.request({ socketPath: `${folder}/api.sock`, method: "CONNECT", path: target });
    request.on("connect", (response, socket: Duplex, head: Buffer) => {
      if (head.length > 0) socket.unshift(head);
      resolve({ status: response.statusCode!, socket });
    });
    request.on("error", reject);
    request.end();
  });
}

describe("CONNECT on the API", () => {
  test("is a stream to a guest's port, with its end and all its bytes", async () => {
    const { status, socket } = await connect("10.0.2.15:7");
    expect(status).toBe(200);
    const bytes = "0123456789".repeat(20_000);
    socket.end(bytes);
    expect(await text(socket)).toBe(bytes);
  });

  test.each([
    ["10.0.2.15:9", 502],
    ["10.0.2.15", 400],
    ["10.0.2.15:0", 400],
    ["nobody:7", 400],
  ])("to %s is refused with %i", async (target, status) => {
    const answer = await connect(target);
    expect(answer.status).toBe(status);
    expect(await text(answer.socket)).toMatch(/^[^\n]+\n$/);
  });
});

describe("SOCKS5", () => {
  const port = (): number => (socks.address as { port: number }).port;

  async function speak(...messages: readonly (readonly number[])[]): Promise<{ socket: net.Socket; said: Buffer }> {
    const socket = net.connect(port(), "127.0.0.1");
    await once(socket, "connect");
    let said = Buffer.alloc(0);
    for (const message of messages) {
      socket.write(Uint8Array.from(message));
      const chunk = (await Promise.race([once(socket, "data"), once(socket, "close")]))[0] as Buffer | boolean;
      if (Buffer.isBuffer(chunk)) said = Buffer.concat([said, chunk]);
    }
    return { socket, said };
  }

  test("curl fetches from a guest by its address", async () => {
    const args = ["-s", "--max-time", "10", "--socks5", `127.0.0.1:${port()}`, "http://10.0.2.15/"];
    expect((await promisify(execFile)("curl", args)).stdout).toBe("guest");
  });

  test("RFC 1928 section 6: success, then the stream, with what was said before it", async () => {
    const { socket, said } = await speak([5, 1, 0], [5, 1, 0, 1, 10, 0, 2, 15, 0, 7]);
    expect([...said]).toEqual([5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    socket.end("hello");
    expect(await text(socket)).toBe("hello");
  });

  test.each([
    ["a closed port is refused", [5, 1, 0, 1, 10, 0, 2, 15, 0, 9], 5],
    ["a name that no guest has is unreachable", [5, 1, 0, 3, 2, 110, 111, 0, 7], 4],
    ["BIND is not supported", [5, 2, 0, 1, 10, 0, 2, 15, 0, 7], 7],
    ["an unknown address type", [5, 1, 0, 9, 0, 0], 8],
  ])("%s", async (_name, request, code) => {
    const { said } = await speak([5, 1, 0], request);
    expect([...said.subarray(2, 4)]).toEqual([5, code]);
  });

  test("section 3: without a method that it knows, no", async () => {
    expect([...(await speak([5, 1, 2])).said]).toEqual([5, 0xff]);
  });

  test("another protocol is let go", async () => {
    expect((await speak([4, 1])).said.length).toBe(0);
  });

  test("its port is closed to guests", async () => {
    expect(await guest.dial(guest.guest.gateway, port())).toBe("refused");
  });
});
