/** `tslirp ctl` against `tslirp serve --api`, both as processes. */
import fs from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Command, type Finished, temporaryFolder } from "./command.ts";

let folder: string;
let server: Command;
let env: NodeJS.ProcessEnv;

beforeAll(async () => {
  folder = temporaryFolder();
  env = { TSLIRP_API: `unix:${folder}/api.sock`, XDG_RUNTIME_DIR: folder };
  server = new Command(["serve", "--listen", `unix:${folder}/n.sock`, "--api", `unix:${folder}/api.sock`]);
  await server.printed(/Append/);
});
afterAll(async () => {
  const { status } = await server.stop();
  expect(status).toBe(0);
  expect(fs.readdirSync(folder)).toEqual(["a.pcapng"]);
  fs.rmSync(folder, { recursive: true });
});

function ctl(...args: string[]): Promise<Finished> {
  return new Command(["ctl", ...args], env).finished;
}

test("publish add, ls and rm, by id and by address", async () => {
  const added = await ctl("publish", "add", "tcp:127.0.0.1:0-:22", "--json");
  const [forward] = JSON.parse(added.stdout) as { id: string; host: string }[];
  expect((await ctl("publish", "ls")).stdout).toMatch(
    /^ID +PROTO +HOST +GUEST\nf1 +tcp +127\.0\.0\.1:\d+ +10\.0\.2\.15:22\n$/,
  );
  expect(await ctl("publish", "rm", forward!.host)).toMatchObject({ status: 0 });
  expect((await ctl("publish", "ls")).stdout).toBe("none\n");
  expect(await ctl("publish", "rm", "f1")).toMatchObject({
    status: 2,
    stderr: 'tslirp: publish rm: got "f1"; expected a forward that publish ls shows\n',
  });
});

test("capture start and stop", async () => {
  expect((await ctl("capture", "start", path.join(folder, "a.pcapng"))).stdout).toContain("a.pcapng");
  expect((await ctl("capture", "stop")).status).toBe(0);
  expect(fs.readFileSync(path.join(folder, "a.pcapng")).readUInt32BE(0)).toBe(0x0a0d0d0a);
});

test("impair: sets rules, shows what is set, clears", async () => {
  const out = async (...args: string[]): Promise<string> => (await ctl("impair", ...args)).stdout;
  expect(await out()).toBe("none\n");
  const rules = ["delay=50ms,loss=1%,direction=up,filter=udp port 53", "rate=10mbit"];
  const shown = "delay=50ms,loss=1%,direction=up,filter=udp port 53\nrate=10000000bit\n";
  expect(await out(...rules)).toBe(shown);
  expect(await out()).toBe(shown);
  expect(await out("--clear")).toBe("none\n");
  expect(await out()).toBe("none\n");
});

test("status for people and for scripts", async () => {
  expect((await ctl("status")).stdout).toMatch(/^net +10\.0\.2\.0\/24$/m);
  expect(JSON.parse((await ctl("--json", "status")).stdout)).toMatchObject({ host: "10.0.2.2" });
});

test("says in one line that nothing runs there", async () => {
  const answer = await ctl("--api", `unix:${folder}/no.sock`, "status");
  expect(answer).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/^tslirp: cannot reach the API at [^\n]*--api\?\n$/),
  });
});

test("an API anywhere but on this machine's loopback is refused", async () => {
  expect(await ctl("--api", "tcp:192.0.2.1:80", "status")).toMatchObject({ status: 2 });
});
