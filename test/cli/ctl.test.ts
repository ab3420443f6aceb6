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
  server = new Command(
    ["serve", "--listen", `unix:${folder}/n.sock`, "--api", `unix:${folder}/api.sock`].concat([
      ...["--capture", path.join(folder, "b.pcapng")],
    ]),
  );
  await server.printed(/Append/);
});
afterAll(async () => {
  const { status } = await server.stop();
  expect(status).toBe(0);
  expect(fs.readdirSync(folder)).toEqual(["a.pcapng", "b.pcapng"]);
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
  expect(await ctl("publish", "rm", forward!.host)).toMatchObject({
    status: 0,
    stdout: expect.stringMatching(/^ID +PROTO +HOST +GUEST\nf1 +tcp +127/),
  });
  expect((await ctl("publish", "ls")).stdout).toBe("none\n");
  expect(await ctl("publish", "rm", "f1")).toMatchObject({
    status: 2,
    stderr: 'tslirp: publish rm: got "f1"; expected a forward that publish ls shows\n',
  });
});

test("a socket's path is relative to the folder of whoever types it", async () => {
  const relative = path.relative(process.cwd(), path.join(folder, "ssh.sock"));
  const { stdout } = await ctl("publish", "add", `unix:${relative}-:22`);
  expect(stdout).toContain(` unix:${folder}/ssh.sock `);
  expect((await ctl("publish", "rm", `unix:${relative}`)).status).toBe(0);
});

test("capture start and stop, which leaves alone what --capture began", async () => {
  expect((await ctl("capture", "start", path.join(folder, "a.pcapng"))).stdout).toContain("a.pcapng");
  expect((await ctl("capture", "ls")).stdout).toMatch(/b\.pcapng.*a\.pcapng/s);
  const twice = await ctl("capture", "start", path.join(folder, "b.pcapng"));
  expect(twice).toMatchObject({ status: 1, stderr: expect.stringContaining("expected a file that no other capture") });
  const { status, stdout } = await ctl("capture", "stop");
  expect(status).toBe(0);
  expect(stdout).not.toContain("b.pcapng");
  expect(fs.readFileSync(path.join(folder, "a.pcapng")).readUInt32BE(0)).toBe(0x0a0d0d0a);
  expect((await ctl("capture", "ls")).stdout).toContain("b.pcapng");
});

test("record start, status and stop; what is misspelt is refused", async () => {
  const file = path.join(folder, "run.tslirp");
  expect((await ctl("record")).stdout).toBe("none\n");
  expect(await ctl("record", "stop")).toMatchObject({ status: 1, stderr: "tslirp: no recording runs\n" });
  expect(await ctl("record", "bogus")).toMatchObject({
    status: 2,
    stderr: 'tslirp: ctl record: got "bogus"; expected one of start, stop, status\n',
  });
  expect((await ctl("record", "start", file, "--payload", "none")).stderr).toBe(
    'tslirp: --payload: got "none"; expected on or off\n',
  );
  expect((await ctl("record", "start", file, "--payload", "off")).stdout).toMatch(/run\.tslirp +off /);
  expect((await ctl("record", "start", `${file}.2`)).stderr).toMatch(/^tslirp: record: [^\n]* is being written\n$/);
  expect((await ctl("record", "status")).stdout).toContain("run.tslirp");
  expect((await ctl("record", "stop")).status).toBe(0);
  expect(await new Command(["replay", file]).finished).toMatchObject({
    status: 0,
    stdout: expect.stringMatching(/^No difference\.$/m),
  });
  fs.rmSync(file);
});

test("a capture that another process writes is refused before anything has begun, and loses nothing", async () => {
  const file = path.join(folder, "b.pcapng");
  const before = fs.readFileSync(file);
  expect(before.length).toBeGreaterThan(0);
  const second = await new Command(["serve", "--listen", `unix:${folder}/m.sock`, "--capture", file]).finished;
  expect(second).toMatchObject({
    status: expect.toSatisfy((status: number) => status !== 0),
    stdout: "",
    stderr: expect.stringMatching(/^tslirp: [^\n]*b\.pcapng[^\n]*no other capture writes\n$/),
  });
  expect(fs.readFileSync(file).subarray(0, before.length)).toEqual(before);
});

test("dns-hosts and dns-zones: set, shown, refused in one line with what was there kept, and cleared", async () => {
  const out = async (...args: string[]): Promise<string> => (await ctl(...args)).stdout;
  expect(await out("dns-hosts")).toBe("none\n");
  expect(await out("dns-hosts", "db.example.com=10.1.2.3")).toBe("db.example.com=10.1.2.3\n");
  expect(await ctl("dns-hosts", "db.example.com=nowhere")).toMatchObject({
    status: expect.toSatisfy((status: number) => status !== 0),
    stderr: expect.stringMatching(/^tslirp: [^\n]*nowhere[^\n]*\n$/),
  });
  expect(await out("dns-hosts")).toBe("db.example.com=10.1.2.3\n");
  expect(await out("dns-zones", "corp.example.com=127.0.0.1:5353")).toBe("corp.example.com=127.0.0.1:5353\n");
  expect(await out("dns-zones", "--clear")).toBe("none\n");
  expect(await out("dns-hosts", "--clear")).toBe("none\n");
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

test("why: says which rule decides, in words", async () => {
  await ctl("rules", "allow tcp *.good.test:443", "default deny");
  expect((await ctl("why", "tcp", "www.good.test:80")).stdout).toBe(
    "the name: allowed by allow tcp *.good.test:443\n" +
      "tcp www.good.test:80: refused by default deny; allow tcp www.good.test:80 would allow it\n",
  );
  expect((await ctl("refusals")).stdout).toBe("none\n");
  expect((await ctl("why", "nonsense")).stderr).toMatch(/expected tcp\|udp NAME/);
  await ctl("rules", "--clear");
});

test("rules check: what is odd about a file, a line each, and the status says so", async () => {
  const file = path.join(temporaryFolder(), "rules");
  fs.writeFileSync(file, "# a comment\nallow tcp any\ndeny tcp 192.0.2.7:443\ndefault deny\n");
  const found = await ctl("rules", "check", file);
  expect(found.stdout).toBe(
    `${file}:2: allow tcp any: means every address there is: name the far end\n${file}:3: deny tcp 192.0.2.7:443: never decides: what it is about, "allow tcp any" decides before it\n`,
  );
  expect(found.status).toBe(1);
  fs.writeFileSync(file, "allow tcp *.debian.org:80,443\ndefault deny\n");
  expect(await ctl("rules", "check", file)).toMatchObject({ status: 0, stdout: "fine\n" });
  fs.writeFileSync(file, "allow nonsense=1\ndefault deny\n");
  expect(await ctl("rules", "check", file)).toMatchObject({ status: 2, stderr: expect.stringContaining(`${file}:1`) });
  fs.rmSync(path.dirname(file), { recursive: true });
});

test("status for people and for scripts", async () => {
  expect((await ctl("status")).stdout).toMatch(/^net +10\.0\.2\.0\/24$/m);
  expect(JSON.parse((await ctl("--json", "status")).stdout)).toMatchObject({ host: "10.0.2.2" });
});

test("says in one line that nothing runs there", async () => {
  const answer = await ctl("--api", `unix:${folder}/no.sock`, "status");
  expect(answer).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/^tslirp: cannot reach the API at [^\n]*; start tslirp with --api [^\n]*\n$/),
  });
});

test("an API anywhere but on this machine's loopback is refused", async () => {
  expect(await ctl("--api", "tcp:192.0.2.1:80", "status")).toMatchObject({ status: 2 });
});

test("an API on TCP is found by the token that serve has left", async () => {
  const own = temporaryFolder();
  const where = { XDG_RUNTIME_DIR: own };
  const other = new Command(["serve", "--api", "tcp:127.0.0.1:0"], where);
  await other.printed(/Append/);
  const found = await new Command(["ctl", "status"], where).finished;
  expect(found).toMatchObject({ status: 0, stderr: "" });
  // Those whose tslirp is gone do not count.
  await other.stop("SIGKILL");
  const gone = await new Command(["ctl", "status"], where).finished;
  expect(gone).toMatchObject({
    status: 1,
    stderr: expect.stringContaining("there is no such socket; start tslirp with --api ADDRESS"),
  });
  fs.rmSync(own, { recursive: true });
});
