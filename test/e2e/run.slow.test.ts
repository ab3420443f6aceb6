/** A gigabyte each way behind `tslirp run`, by its hash. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { pipeline } from "node:stream/promises";
import { describe, expect, test } from "vitest";
import { taps } from "../../src/host/tap-device.ts";
import { Command } from "../cli/command.ts";

const BYTES = 1_000_000_000;

/** No two pieces are alike. */
function* pieces(): Generator<Buffer> {
  const piece = Buffer.alloc(1_000_000, "a gigabyte, piece by piece ");
  for (let i = 0; i < BYTES / piece.length; i++) {
    piece.writeUInt32BE(i);
    yield Buffer.from(piece);
  }
}

describe.runIf(taps() !== null && fs.existsSync("/dev/net/tun"))("tslirp run", () => {
  test.each(["1500", "65520"])("carries a gigabyte each way at MTU %s", { timeout: 300_000 }, async (mtu) => {
    const all = createHash("sha256");
    for (const piece of pieces()) all.update(piece);
    const hash = all.digest("hex");
    const server = http.createServer(async (request, response) => {
      if (request.method === "GET") return void pipeline(pieces(), response).catch(() => {});
      const got = createHash("sha256");
      for await (const part of request) got.update(part as Buffer);
      response.end(got.digest("hex"));
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const url = `http://10.0.2.2:${(server.address() as AddressInfo).port}/`;
    const script = `curl -sS ${url} | sha256sum | cut -c 1-64`;
    const down = await new Command(["run", "--mtu", mtu, "--", "sh", "-c", script]).finished;
    expect(down.stdout.trim(), down.stderr).toBe(hash);
    const up = `python3 -c '
import sys
piece = bytearray((b"a gigabyte, piece by piece " * 40000)[:1000000])
for i in range(${BYTES / 1_000_000}):
    piece[0:4] = i.to_bytes(4, "big")
    sys.stdout.buffer.write(piece)' | curl -sS -T - ${url}`;
    const sent = await new Command(["run", "--mtu", mtu, "--", "sh", "-c", up]).finished;
    expect(sent.stdout.trim(), sent.stderr).toBe(hash);
    server.close();
  });
});
