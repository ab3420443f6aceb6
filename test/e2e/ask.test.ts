/** `--ask` with real programs: each waits while somebody looks at the question in another process and answers it. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { taps } from "../../src/host/tap-device.ts";
import { Namespace } from "../support/e2e/namespace.ts";
import { describeE2e, LIBSLIRP } from "../support/e2e/requirements.ts";
import { PROGRAM } from "../support/program.ts";

const FAR = "198.51.100.20";
/** Answers HTTP on port 80 and sends each datagram to port 7 back. */
const SERVER = `
  require("http").createServer((request, response) => response.end("page of " + request.headers.host + "\\n")).listen(80, "0.0.0.0", () => {
    const udp = require("dgram").createSocket("udp4").bind(7, "0.0.0.0", () => console.log("up"));
    udp.on("message", (bytes, from) => udp.send(bytes, from.port, from.address));
  });`;
const ECHO = `
  const udp = require("dgram").createSocket("udp4");
  udp.on("message", (bytes) => { console.log(String(bytes)); process.exit(0); });
  udp.send("echoed", 7, "${FAR}");`;

interface Question {
  readonly id: string;
  readonly rule: string;
}

describeE2e(
  "a flow that only the default would refuse",
  LIBSLIRP || taps() === null ? ["no such thing"] : ["curl", "ping"],
  () => {
    let world: Namespace;
    let folder: string;
    let child: ChildProcess;
    let said = "";
    let told = "";
    const api = (): string => `unix:${join(folder, "api.sock")}`;

    beforeAll(async () => {
      world = new Namespace("ask");
      world.ip("addr", "add", `${FAR}/32`, "dev", "lo");
      await world.sh("sysctl -qw net.ipv4.ping_group_range='0 2147483647'");
      const server = world.spawn(process.execPath, ["-e", SERVER], { stdio: ["ignore", "pipe", "inherit"] });
      await once(server.stdout!, "data");
    }, 60_000);
    afterAll(() => world?.close());

    /** Commands are given to a shell that lives in the sandbox, one by one. */
    beforeEach(async () => {
      folder = mkdtempSync("/tmp/ask-test-");
      writeFileSync(join(folder, "rules"), "allow tcp 192.0.2.1:1\ndefault deny\n");
      const names = ["--dns-host", `one.test=${FAR}`, "--dns-host", `two.test=${FAR}`];
      const options = ["run", "--ask", "--api", api(), "--rules", join(folder, "rules"), ...names];
      [said, told] = ["", ""];
      child = world.spawn(process.execPath, [...PROGRAM, ...options, "--", "sh"], { stdio: "pipe" });
      child.stdout!.on("data", (text) => (said += String(text)));
      child.stderr!.on("data", (text) => (told += String(text)));
      expect(await shell("echo here")).toBe("here\n");
    }, 60_000);
    afterEach(async () => {
      const over = once(child, "close");
      child.stdin!.end();
      await over;
      rmSync(folder, { recursive: true, force: true });
    });

    /** What a command says on both outputs. */
    async function shell(command: string): Promise<string> {
      said = "";
      child.stdin!.write(`${command} 2>&1; echo =END\n`);
      while (!said.endsWith("=END\n")) await once(child.stdout!, "data");
      return said.slice(0, -5);
    }

    async function ctl(...args: string[]): Promise<string> {
      const { code, stdout, stderr } = await world.run(process.execPath, [...PROGRAM, "ctl", "--api", api(), ...args]);
      expect([code, stderr]).toEqual([0, ""]);
      return stdout;
    }

    /** Answers each question that comes, until the command has ended: the rules that were asked about. */
    async function answering(command: Promise<string>, ...answer: string[]): Promise<[said: string, rules: string[]]> {
      const rules: string[] = [];
      let over: string | null = null;
      void command.then((text) => {
        over = text;
      });
      while (over === null) {
        for (const { id, rule } of JSON.parse(await ctl("--json", "asks")) as Question[]) {
          rules.push(rule);
          const [verb = "", ...more] = answer;
          await ctl(verb, id, ...more);
        }
      }
      return [over, rules];
    }

    const CURL = "curl -sS --noproxy '*' --max-time 40";

    it("waits as curl's query and connection, as a datagram and as a ping, and goes on when it is approved", async () => {
      const [page, rules] = await answering(shell(`${CURL} http://one.test/`), "approve");
      expect(page).toBe("page of one.test\n");
      expect(rules.some((rule) => rule.includes("one.test"))).toBe(true);
      expect((await answering(shell(`'${process.execPath}' -e '${ECHO}'`), "approve"))[0]).toBe("echoed\n");
      const [ping] = await answering(shell(`ping -c 1 -W 20 ${FAR}`), "approve");
      expect(ping).toContain("1 received");
      expect(told).toMatch(/one\.test/);
    }, 120_000);

    it("ends at once when it is denied, and is asked about no more when that is for always", async () => {
      const [refused] = await answering(shell(`${CURL} http://${FAR}/`), "deny", "--always");
      expect(refused).toMatch(/curl: \(7\)/);
      expect(await shell(`${CURL} http://${FAR}/`)).toMatch(/curl: \(7\)/);
      expect(JSON.parse(await ctl("--json", "asks"))).toEqual([]);
    }, 120_000);

    it("that was allowed for always stays allowed when the rules are read again, and can be saved", async () => {
      expect((await answering(shell(`${CURL} http://two.test/`), "approve", "--always"))[0]).toBe("page of two.test\n");
      writeFileSync(join(folder, "rules"), "allow tcp 192.0.2.1:2\ndefault deny\n");
      child.kill("SIGHUP");
      while (!(await ctl("rules")).includes("192.0.2.1:2")) await new Promise(setImmediate);
      expect(await shell(`${CURL} http://two.test/`)).toBe("page of two.test\n");
      // Half a rule, and one that clashes with nothing but sense: the rules in force stay.
      writeFileSync(join(folder, "rules"), "allow tcp 192.0.2.1:3\nallow tcp two.te");
      writeFileSync(join(folder, "rules"), "allow tcp 192.0.2.1:3\nallow tcp [::1\ndefault deny\n");
      child.kill("SIGHUP");
      while (!/rules:2/.test(told)) await once(child.stderr!, "data");
      expect(await ctl("rules")).toContain("192.0.2.1:2");
      expect(await shell(`${CURL} http://two.test/`)).toBe("page of two.test\n");
      await ctl("rules", "save", join(folder, "saved"));
      expect(readFileSync(join(folder, "saved"), "utf8")).toMatch(/allow .*two\.test/);
    }, 120_000);
  },
);
