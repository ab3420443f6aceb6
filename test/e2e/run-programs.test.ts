/** What users run behind `tslirp run`: package managers, git, TLS by name, a shell on a terminal; against servers of this test's. */
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import https from "node:https";
import type { AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { taps } from "../../src/host/tap-device.ts";
import { Command, type Finished } from "../cli/command.ts";
import { works } from "../support/e2e/requirements.ts";
import { PROGRAM } from "../support/program.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "run-programs-"));
const served = path.join(folder, "served");
const work = path.join(folder, "work");
let port = 0;
let tlsPort = 0;

const server = http.createServer((request, response) => {
  const { pathname } = new URL(request.url!, "http://x");
  if (pathname === "/npm/proof") return void response.end(JSON.stringify(packument()));
  const file = path.join(served, path.normalize(decodeURIComponent(pathname)));
  if (!fs.existsSync(file) || !fs.statSync(file).isFile()) return void response.writeHead(404).end();
  fs.createReadStream(file).pipe(response);
});
let tls: https.Server;

function packument(): object {
  const tarball = fs.readFileSync(path.join(served, "proof-1.0.0.tgz"));
  const integrity = `sha512-${createHash("sha512").update(tarball).digest("base64")}`;
  const dist = { tarball: `http://world.test:${port}/proof-1.0.0.tgz`, integrity };
  return {
    name: "proof",
    "dist-tags": { latest: "1.0.0" },
    versions: { "1.0.0": { name: "proof", version: "1.0.0", dist } },
  };
}

const sh = (script: string): string =>
  execFileSync("sh", ["-ec", script], { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

beforeAll(async () => {
  fs.mkdirSync(served);
  fs.mkdirSync(work);
  fs.mkdirSync(path.join(folder, "package"));
  fs.writeFileSync(path.join(folder, "package/package.json"), JSON.stringify({ name: "proof", version: "1.0.0" }));
  sh(`
    tar czf served/proof-1.0.0.tgz package
    git init -q repo; cd repo; echo cloned >file; git add file
    git -c user.name=n -c user.email=e@x.test commit -qm first; cd ..
    git clone -q --bare repo served/repo.git; git -C served/repo.git update-server-info
    mkdir served/debian; cd served/debian; : >Packages
    printf 'Date: %s\\nSHA256:\\n %s 0 Packages\\n' "$(LC_ALL=C date -Ru)" "$(sha256sum Packages | cut -d' ' -f1)" >Release
    cd ../..; openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out cert -days 2 -subj /CN=good.test \\
      -addext subjectAltName=DNS:good.test,DNS:bad.test 2>/dev/null`);
  tls = https.createServer(
    { key: fs.readFileSync(path.join(folder, "key")), cert: fs.readFileSync(path.join(folder, "cert")) },
    (_request, response) => response.end("secret"),
  );
  server.listen(0, "0.0.0.0");
  tls.listen(0, "0.0.0.0");
  await Promise.all([once(server, "listening"), once(tls, "listening")]);
  port = (server.address() as AddressInfo).port;
  tlsPort = (tls.address() as AddressInfo).port;
});
afterAll(() => {
  server.close();
  tls.close();
  fs.rmSync(folder, { recursive: true, force: true });
});

/** Rules about names do not lead to the gateway, so the names lead to this machine's own address: packets to it stay here. */
const OWN = Object.values(os.networkInterfaces())
  .flatMap((each) => each ?? [])
  .find(({ family, internal }) => family === "IPv4" && !internal)?.address;

const names = ["world.test", "good.test", "bad.test"].flatMap((name) => ["--dns-host", `${name}=${OWN}`]);

function run(args: readonly string[], script: string, env: NodeJS.ProcessEnv = {}): Promise<Finished> {
  return new Command(["run", ...names, ...args, "--", "sh", "-ec", `cd ${work}; ${script}`], { HOME: work, ...env })
    .finished;
}

const able = OWN !== undefined && taps() !== null && fs.existsSync("/dev/net/tun");

describe.runIf(able)("behind tslirp run", () => {
  test("npm installs from a registry by name, where only that name is allowed", async () => {
    const { status, stdout, stderr } = await run(
      ["--allow", `tcp world.test:${port} private=allow`, "--default", "deny"],
      `npm install --no-audit --no-fund --no-update-notifier --registry http://world.test:${port}/npm/ --prefix ${work}/npm proof >&2; cat npm/node_modules/proof/package.json`,
    );
    expect([status, stdout], stderr).toEqual([0, '{"name":"proof","version":"1.0.0"}']);
  });

  test("git clones, Python's urllib fetches, by the resolver that is set up", async () => {
    const url = `http://world.test:${port}`;
    const { status, stdout, stderr } = await run(
      [],
      `git clone -q ${url}/repo.git; cat repo/file
       python3 -c 'import urllib.request as u; print(len(u.urlopen("${url}/proof-1.0.0.tgz").read()))'`,
    );
    const size = fs.statSync(path.join(served, "proof-1.0.0.tgz")).size;
    expect([status, stdout], stderr).toEqual([0, `cloned\n${size}\n`]);
  });

  const nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"];
  test.runIf(works("setpriv", ...nobody, process.execPath, ...PROGRAM, "--version"))(
    "both serve an ordinary user, whose files they stay",
    async () => {
      fs.chmodSync(folder, 0o755);
      const home = path.join(folder, "home");
      fs.mkdirSync(home, { recursive: true });
      fs.chownSync(home, 65_534, 65_534);
      const url = `http://world.test:${port}`;
      // Without a package.json npm looks for a project in the folders above.
      const script = `cd ${home}; id -u; git clone -q ${url}/repo.git; cat repo/file; echo {} >package.json
        npm install --cache ${home}/.npm --no-audit --no-fund --no-update-notifier --registry ${url}/npm/ proof >&2; stat -c %u repo node_modules/proof`;
      const words = [process.execPath, ...PROGRAM, "run", ...names, "--", "sh", "-ec", script];
      const program = [
        "-e",
        `require("child_process").spawn(process.argv[1], process.argv.slice(2), { stdio: "inherit" })`,
      ];
      const { stdout, stderr } = await new Command(
        ["--", "setpriv", ...nobody, ...words],
        { HOME: home, TMPDIR: home },
        false,
        program,
      ).finished;
      expect(stdout, stderr).toBe("65534\ncloned\n65534\n65534\n");
    },
  );

  test("apt-get updates from a mirror", async () => {
    fs.writeFileSync(path.join(work, "sources.list"), `deb [trusted=yes] http://world.test:${port}/debian ./\n`);
    for (const each of ["lists/partial", "cache/archives/partial"])
      fs.mkdirSync(path.join(work, each), { recursive: true });
    const options = Object.entries({
      "Dir::Etc::SourceList": `${work}/sources.list`,
      "Dir::Etc::SourceParts": "/dev/null",
      "Dir::State::Lists": `${work}/lists`,
      "Dir::Cache": `${work}/cache`,
      "APT::Sandbox::User": "root",
    }).map(([key, value]) => `-o ${key}=${value}`);
    const { status, stdout, stderr } = await run([], `apt-get ${options.join(" ")} update; ls lists | grep -c Release`);
    expect([status, stdout.trim().split("\n").at(-1)], stdout + stderr).toEqual([0, "1"]);
  });

  test("TLS passes by the name that is allowed, and is refused by another at the same address", async () => {
    const curl = (name: string): string => `curl -sS --max-time 10 --cacert ${folder}/cert https://${name}:${tlsPort}/`;
    const { stdout, stderr } = await run(
      ["--allow", `tcp good.test:${tlsPort} private=allow`, "--default", "deny"],
      `${curl("good.test")}; echo; ${curl("bad.test")} 2>/dev/null || echo "refused $?"
       ${curl("bad.test")} --connect-to bad.test::good.test: 2>/dev/null || echo "refused $?"`,
    );
    const [good, byName, byTls] = stdout.trim().split("\n");
    expect([good, byName], stderr).toEqual(["secret", "refused 6"]);
    expect(byTls).toMatch(/^refused (35|56)$/);
  });

  test("a shell on a terminal has job control, is told of a new window size, and gets what is typed", async () => {
    const script = `
import os, pty, sys, time, fcntl, termios, struct, signal, select
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
shown = b""
def until(text):
    global shown
    end = time.time() + 30
    while text not in shown:
        if time.time() > end or not select.select([fd], [], [], 30)[0]: sys.exit("missing %r in %r" % (text, shown))
        shown += os.read(fd, 4096)
    shown = shown[shown.index(text) + len(text):]
os.write(fd, b"PS1=; echo be''gun\\n"); until(b"begun")
os.write(fd, b"sleep 500\\n"); time.sleep(1); os.write(fd, b"\\x1a"); until(b"Stopped")
os.write(fd, b"kill %1; wait; echo aft''er\\n"); until(b"after")
os.write(fd, b"sleep 500; echo intr''upted\\n"); time.sleep(1); os.write(fd, b"\\x03")
os.write(fd, b"trap 'stty size' WINCH; echo re''ady\\n"); until(b"ready")
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 41, 91, 0, 0))
os.write(fd, b"sleep 0.1\\n"); until(b"41 91")
os.write(fd, b"exit 7\\n")
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))`;
    const child = spawn("python3", ["-c", script, process.execPath, ...PROGRAM, "run", "--", "bash", "--norc", "-i"], {
      cwd: ROOT,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let [out, err] = ["", ""];
    child.stdout.on("data", (text: Buffer) => (out += text.toString()));
    child.stderr.on("data", (text: Buffer) => (err += text.toString()));
    await once(child, "close");
    expect([out.trim(), err]).toEqual(["7", ""]);
  });
});

describe.runIf(able && process.getuid!() === 0)("what keeps tslirp run from starting", () => {
  /** In namespaces where something is forbidden, by the same Node. */
  function within(script: string, ...flags: string[]): Promise<Finished> {
    const words = ["unshare", ...flags, "--", "sh", "-ec", script];
    const program = [
      "-e",
      `process.exit(require("child_process").spawnSync(process.argv[1], process.argv.slice(2), { stdio: "inherit" }).status)`,
      "--",
    ];
    return new Command(
      words,
      { TMPDIR: folder, RUN: `${[process.execPath, ...PROGRAM].join(" ")} run` },
      false,
      program,
    ).finished;
  }
  const left = (): string[] => fs.readdirSync(folder).filter((name) => name.startsWith("tslirp"));

  test("is told in one line, and nothing is left: no user namespaces, no /dev/net/tun", async () => {
    const none = await within(
      `echo 0 >/proc/sys/user/max_user_namespaces; $RUN -- echo started`,
      "--user",
      "--map-root-user",
    );
    expect(none.stderr).toMatch(
      /^tslirp: cannot run a command in namespaces of its own: .*\(sysctl user\.max_user_namespaces is 0\)\n$/,
    );
    expect([none.status, none.stdout]).toEqual([1, ""]);
    const tun = await within("mount -t tmpfs none /dev/net; $RUN -- echo started", "--mount");
    expect(tun.stderr).toMatch(/^tslirp: .*\/dev\/net\/tun cannot be opened.*\n$/);
    expect([tun.status, tun.stdout]).toEqual([1, ""]);
    expect(left()).toEqual([]);
  });
});
