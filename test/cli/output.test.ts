/** Standard output that a slow reader takes piece by piece. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import { expect, it } from "vitest";
import { PROGRAM } from "../support/program.ts";

it("a pipe gets a long answer whole, whose reader begins late", async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "out-"));
  const socket = path.join(folder, "api.sock");
  const flows = Array.from({ length: 5_000 }, (_, id) => ({
    id,
    proto: "tcp",
    state: "established",
    note: "x".repeat(60),
  }));
  const api = http.createServer((_request, response) => {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(flows));
  });
  api.listen(socket);
  await once(api, "listening");
  const ctl = spawn(process.execPath, [...PROGRAM, "ctl", "--api", `unix:${socket}`, "flows", "--json"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  // The answer has been asked for and the pipe is full before anything is read.
  await once(ctl.stdout, "readable");
  let text = "";
  for await (const part of ctl.stdout.setEncoding("utf8")) {
    text += part;
    if (text.length < 200_000) await new Promise((resolve) => setTimeout(resolve, 20));
  }
  expect(JSON.parse(text)).toHaveLength(flows.length);
  if (ctl.exitCode === null) await once(ctl, "exit");
  expect(ctl.exitCode).toBe(0);
  api.close();
  fs.rmSync(folder, { recursive: true });
});

it.runIf(fs.existsSync("/dev/full"))("output that a full disk does not take is an error, in one line", () => {
  const full = fs.openSync("/dev/full", "w");
  const { status, stderr } = spawnSync(process.execPath, [...PROGRAM, "--version"], {
    stdio: ["ignore", full, "pipe"],
    encoding: "utf8",
  });
  fs.closeSync(full);
  expect(stderr).toBe("tslirp: cannot write to standard output: no space left on device\n");
  expect(status).toBe(1);
});
