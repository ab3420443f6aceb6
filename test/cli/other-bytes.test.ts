/** Bytes that are no UTF-8: nothing is run, opened or set that is another than was meant. */
import { execFile } from "node:child_process";
import fs from "node:fs";
import { expect, it } from "vitest";
import { taps } from "../../src/host/tap-device.ts";
import { works } from "../support/e2e/requirements.ts";
import { PROGRAM } from "../support/program.ts";

const able =
  taps() !== null && fs.existsSync("/dev/net/tun") && works("unshare", "--user", "--keep-caps", "--net", "true");

/** Runs a line of shell in which `tslirp` is the program. */
function shell(line: string): Promise<{ readonly status: number; readonly stdout: Buffer; readonly stderr: string }> {
  const program = [process.execPath, ...PROGRAM].map((word) => `'${word}'`).join(" ");
  return new Promise((resolve) => {
    execFile(
      "sh",
      ["-c", `tslirp() { ${program} "$@"; }\n${line}`],
      { encoding: "buffer" },
      (error, stdout, stderr) => {
        resolve({ status: Number(error?.code ?? 0), stdout, stderr: stderr.toString() });
      },
    );
  });
}

it.each([
  [`run -- printf %s "$(printf '\\377\\376')"`, 5],
  [`replay "$(printf 'caf\\351')"`, 2],
  [`serve --record "$(printf 'caf\\351')"`, 3],
])("tslirp %s is refused in one line", async (line, argument) => {
  const { status, stdout, stderr } = await shell(`tslirp ${line}`);
  expect([status, stdout.length]).toEqual([2, 0]);
  expect(stderr).toMatch(
    new RegExp(`^tslirp: argument ${argument}: got "[^"]*"; expected UTF-8: other bytes cannot be passed on\\n$`),
  );
});

it("U+FFFD itself is an argument like any other", async () => {
  const { status, stderr } = await shell("tslirp replay /nowhere/\u{fffd}");
  expect(status).toBe(2);
  expect(stderr).toMatch(/cannot read .*ENOENT|no such file/);
});

it.runIf(able)(
  "a variable that is not UTF-8 is left out of a command's environment, and the others are there",
  async () => {
    const line = `X=$(printf 'caf\\351') Y=é; export X Y; tslirp run -- sh -c 'printf %s "\${X-none} $Y"'`;
    const { status, stdout, stderr } = await shell(line);
    expect([status, stdout.toString()]).toEqual([0, "none é"]);
    expect(stderr).toBe("tslirp: run: the environment variable X is not UTF-8, and is left out\n");
  },
);
