/**
 * `--learn` with programs that people run in sandboxes: apt-get, npm, git. The world has addresses of the documentation's
 * (RFC 5737) in a namespace of the test's, and names of its own.
 */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { taps } from "../../src/host/tap-device.ts";
import { aptOptions, repository } from "../support/e2e/apt.ts";
import { Namespace, REPOSITORY, type RunResult } from "../support/e2e/namespace.ts";
import { describeE2e, LIBSLIRP } from "../support/e2e/requirements.ts";
import { PROGRAM } from "../support/program.ts";

const MIRROR = "198.51.100.10";
const REGISTRY = "198.51.100.11";
const FORGE = "198.51.100.12";
const EVIL = "203.0.113.66";
const NAMES = [
  ["deb.debian.test", MIRROR],
  ["registry.npm.test", REGISTRY],
  ["git.forge.test", FORGE],
  ["evil.test", EVIL],
].flatMap(([name, address]) => ["--dns-host", `${name}=${address}`]);
/** Files by the name that they are asked of. */
const SERVER = `
  const fs = require("fs"), path = require("path");
  require("http").createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://x");
    const file = path.join(process.argv[1], request.headers.host, decodeURIComponent(pathname));
    fs.readFile(file, (error, bytes) => { response.statusCode = error ? 404 : 200; response.end(bytes); });
  }).listen(80, "0.0.0.0", () => console.log("up"));`;

describeE2e(
  "what a run has needed",
  LIBSLIRP || taps() === null ? ["no such thing"] : ["curl", "apt-get", "dpkg-deb", "npm", "git"],
  () => {
    let world: Namespace;
    let folder: string;
    beforeAll(async () => {
      folder = mkdtempSync("/tmp/learn-test-");
      world = new Namespace("learn");
      for (const address of [MIRROR, REGISTRY, FORGE, EVIL]) world.ip("addr", "add", `${address}/32`, "dev", "lo");
      const files = join(folder, "world");
      debian(join(files, "deb.debian.test"));
      npm(join(files, "registry.npm.test"));
      git(join(files, "git.forge.test"));
      mkdirSync(join(files, "evil.test"));
      writeFileSync(join(files, "evil.test", "secret"), "got out\n");
      const server = world.spawn(process.execPath, ["-e", SERVER, files], { stdio: ["ignore", "pipe", "inherit"] });
      await once(server.stdout!, "data");
    }, 60_000);
    afterAll(async () => {
      await world?.close();
      rmSync(folder, { recursive: true, force: true });
    });

    const tslirp = (options: readonly string[], script: string): Promise<RunResult> =>
      world.run(process.execPath, [...PROGRAM, "run", ...NAMES, ...options, "--", "sh", "-c", script], 200_000);

    /** The repository's own programs make it; apt, npm and git are told to look there and nowhere else. */
    function debian(place: string): void {
      mkdirSync(join(folder, "built"));
      for (const [url, { file }] of Object.entries(repository(join(folder, "built")))) {
        mkdirSync(join(place, url, ".."), { recursive: true });
        writeFileSync(join(place, url), readFileSync(file));
      }
    }

    function npm(place: string): void {
      const source = join(folder, "proof");
      mkdirSync(source);
      writeFileSync(join(source, "package.json"), JSON.stringify({ name: "proof", version: "1.0.0" }));
      mkdirSync(join(place, "files"), { recursive: true });
      execFileSync("npm", ["pack", "--silent", "--pack-destination", join(place, "files")], { cwd: source });
      const dist = { tarball: "http://registry.npm.test/files/proof-1.0.0.tgz" };
      const versions = { "1.0.0": { name: "proof", version: "1.0.0", dist } };
      writeFileSync(
        join(place, "proof"),
        JSON.stringify({ name: "proof", "dist-tags": { latest: "1.0.0" }, versions }),
      );
    }

    function git(place: string): void {
      const source = join(folder, "source");
      const author = ["-c", "user.name=nobody", "-c", "user.email=nobody@forge.test"];
      execFileSync("git", ["init", "--quiet", source]);
      writeFileSync(join(source, "README"), "cloned\n");
      execFileSync("git", ["-C", source, "add", "README"]);
      execFileSync("git", ["-C", source, ...author, "commit", "--quiet", "-m", "first"]);
      mkdirSync(place, { recursive: true });
      execFileSync("git", ["clone", "--quiet", "--bare", source, join(place, "proof.git")]);
      execFileSync("git", ["-C", join(place, "proof.git"), "update-server-info"]);
    }

    const programs = [
      [
        "apt-get update, and a package",
        () => `cd ${folder} && apt-get ${aptOptions(join(folder, "apt"), "deb.debian.test").join(" ")} update 2>&1 &&
        apt-get ${aptOptions(join(folder, "apt"), "deb.debian.test").join(" ")} download proof 2>&1`,
        "allow tcp deb.debian.test:80",
      ],
      [
        "npm install",
        // With a package.json of its own: without one npm looks for a project in the folders above.
        () => `rm -rf ${folder}/app && mkdir ${folder}/app && cd ${folder}/app && echo {} >package.json && npm_config_update_notifier=false npm install --registry http://registry.npm.test \
        --cache ${folder}/app/cache --no-audit --no-fund proof`,
        "allow tcp registry.npm.test:80",
      ],
      [
        "git clone",
        () =>
          `rm -rf ${folder}/clone && git clone http://git.forge.test/proof.git ${folder}/clone && cat ${folder}/clone/README`,
        "allow tcp git.forge.test:80",
      ],
    ] as const;

    describe.each(programs)("%s", (_name, script, rule) => {
      it("is learned by name, and a second run under what was learned passes without a refusal", async () => {
        const file = join(folder, "learned.rules");
        rmSync(file, { force: true });
        const first = await tslirp(["--learn", file], script());
        expect([first.code, first.stderr], first.stdout + first.stderr).toMatchObject([
          0,
          expect.not.stringContaining("tslirp:"),
        ]);
        const text = readFileSync(file, "utf8");
        expect(text).toContain(`\n${rule}  # `);
        expect(text).not.toMatch(/^allow (?:\w+ )?any/m);
        expect(statSync(file).mode & 0o777).toBe(0o600);
        const second = await tslirp(["--rules", file, "--default", "deny"], script());
        expect([second.code, second.stderr], `${text}${second.stdout}`).toMatchObject([
          0,
          expect.not.stringContaining("refused"),
        ]);
        const evil = await tslirp(
          ["--rules", file, "--default", "deny"],
          "curl -sS --noproxy '*' --max-time 20 http://evil.test/secret",
        );
        expect([evil.code, evil.stdout]).toEqual([6, ""]);
        expect(evil.stderr).toContain("refused");
      }, 300_000);
    });

    it("the README's lines do what they say", async () => {
      const readme = readFileSync(join(REPOSITORY, "README.md"), "utf8");
      const block = /```sh\n(tslirp run --learn [\s\S]*?)```/.exec(readme)![1]!;
      const lines = block
        .trim()
        .replaceAll("evil.example", "evil.test")
        .replaceAll("apt-get update", `apt-get ${aptOptions(join(folder, "apt"), "deb.debian.test").join(" ")} update`)
        .replaceAll("tslirp run", `tslirp run ${NAMES.join(" ")}`)
        .replaceAll("curl", "curl -sS --noproxy '*'")
        .split("\n");
      expect(lines).toHaveLength(6);
      const main = `${process.execPath} --import ${REPOSITORY}node_modules/tsx/dist/loader.mjs ${REPOSITORY}src/cli/main.ts`;
      mkdirSync(join(folder, "readme"));
      const script = [
        `cd ${folder}/readme`,
        `tslirp() { ${main} "$@"; }`,
        ...lines.map((line) => `${line}\necho "=$?"`),
      ];
      const { stdout, stderr } = await world.sh(script.join("\n"), 280_000);
      const parts = stdout.split(/^=(\d+)\n/m);
      const [statuses, said] = [1, 0].map((at) => parts.filter((_, i) => i % 2 === at)) as [string[], string[]];
      expect(statuses, stdout + stderr).toEqual(["0", "0", "0", "0", "6", "0"]);
      expect(said[1]).toContain("\nallow tcp deb.debian.test:80  # ");
      expect(said[2]).toBe("fine\n");
      expect(stderr).toMatch(/tslirp: refused .* the name evil\.test by default deny/);
    }, 300_000);

    it("denies what a rule denies while it learns, and kill -9 loses little", async () => {
      const file = join(folder, "killed.rules");
      const curl = "curl -sS --noproxy '*' --max-time 20";
      const command = `${curl} http://evil.test/secret; ${curl} http://deb.debian.test/debian/Packages >/dev/null && sleep 2; kill -9 $PPID; sleep 60`;
      // The command's parent is within the namespace: the one to be killed is ours.
      const child = world.spawn(
        process.execPath,
        [...PROGRAM, "run", ...NAMES, "--deny", "tcp evil.test", "--default", "deny", "--learn", file].concat(
          "--",
          "sh",
          "-c",
          command.replace("kill -9 $PPID; ", "echo now; "),
        ),
        { stdio: ["ignore", "pipe", "pipe"] },
      );
      let out = "";
      for await (const text of child.stdout!.setEncoding("utf8")) {
        out += text as string;
        if (out.includes("now")) child.kill("SIGKILL");
      }
      expect(out).toBe("now\n");
      const lines = readFileSync(file, "utf8").split("\n");
      expect(lines).toContain("deny tcp evil.test");
      expect(lines.some((line) => line.startsWith("allow tcp deb.debian.test:80  # 1x, 10.0.2.15"))).toBe(true);
      expect(lines.some((line) => line.startsWith("allow tcp evil"))).toBe(false);
    }, 60_000);
  },
);
