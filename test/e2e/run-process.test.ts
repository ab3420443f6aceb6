/** What is refused to a command names the process that asked: in the event, the log, and what `ctl` and the API tell. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { ProcessNames } from "../../src/host/process-names.ts";
import { taps } from "../../src/host/tap-device.ts";
import { Command } from "../cli/command.ts";

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "run-process-"));
afterAll(() => fs.rmSync(folder, { recursive: true }));

describe.runIf(taps() !== null && fs.existsSync("/dev/net/tun"))("a refusal behind a TAP", () => {
  test("names the process for TCP, UDP and names asked for, of both families; the log, ctl and the API tell it", async () => {
    const api = path.join(folder, "api");
    const script = `
      curl -s --max-time 5 http://192.0.2.1/; sleep 1.1; curl -s --max-time 5 http://[2001:db8::1]/
      sleep 1.1; curl -s --max-time 5 http://name.refused.test/
      sleep 1.1; python3 -c 'import socket; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b"x", ("192.0.2.1", 99)); input()'
      sleep 1.1; python3 -c '
import socket
open("/proc/self/comm", "wb").write(b"a\\x1b[31m\\n b")
socket.socket().connect_ex(("192.0.2.9", 80))'
      echo done; read _`;
    const command = new Command([
      "run",
      "--default",
      "deny",
      "--api",
      `unix:${api}`,
      "--log-level",
      "info",
      "--log-json",
      "--",
      "sh",
      "-c",
      `sleep 1000 | { ${script}; }`,
    ]);
    await command.logged(/192\.0\.2\.1:99/);
    const python = /"process":"(python3[^[]*)\[(\d+)\]"/.exec(command.stderr);
    expect(python, command.stderr).not.toBeNull();
    process.kill(Number(python![2]), "SIGKILL");
    await command.printed(/done/);
    const logged = command.stderr
      .split("\n")
      .filter((line) => line.includes('"msg":"refused"'))
      .map((line) => JSON.parse(line) as Record<string, string>);
    const of = (where: string): string[] =>
      logged
        .filter(({ remote, host }) => remote?.startsWith(where) || host === where)
        .map(({ process: by }) => by ?? "none");
    for (const where of ["192.0.2.1:80", "[2001:db8::1]:80", "name.refused.test"])
      expect(of(where)[0], command.stderr).toMatch(/^curl\[\d+\]$/);
    expect(of("192.0.2.1:80")).toHaveLength(1);
    expect(of("192.0.2.9:80")[0]).toMatch(/^a\?\[31m\?\?b\[\d+\]$/);
    const ctl = await new Command(["ctl", "--api", `unix:${api}`, "refusals"]).finished;
    expect(ctl.stdout).toMatch(/curl\[\d+\]/);
    const json = execFileSync("curl", ["-sS", "--unix-socket", api, "http://localhost/v1/refusals"], {
      encoding: "utf8",
    });
    expect(
      (JSON.parse(json) as { process?: string }[]).filter(({ process: by }) => by?.startsWith("curl[")),
    ).not.toEqual([]);
    command.child.kill("SIGTERM");
    await command.finished;
  });

  test("is told in the one line of a run without a log", async () => {
    const { stderr } = await new Command(["run", "--default", "deny", "--", "curl", "-s", "http://192.0.2.1/"])
      .finished;
    expect(stderr).toMatch(/^tslirp: refused curl\[\d+\] at 10\.0\.2\.15:\d+ tcp to 192\.0\.2\.1:80 by default deny/);
  });

  test("is not looked up more than so often, nor among the host's own processes", () => {
    const names = new ProcessNames();
    const own = fs.readlinkSync("/proc/self/ns/net");
    expect(names.find(own, "tcp", { host: "10.0.2.15", port: 1 })).toBeNull();
    const began = performance.now();
    for (let i = 0; i < 10_000; i++) names.find("net:[1]", "tcp", { host: "10.0.2.15", port: 1 });
    expect(performance.now() - began).toBeLessThan(2_500);
  });
});
