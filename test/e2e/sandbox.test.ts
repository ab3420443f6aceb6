/**
 * A sandbox: one domain and nothing else, by the command line that docs/rules.md shows. The guest is Linux, and hostile. The
 * world has addresses of the documentation's (RFC 5737) on the host's namespace, as private ones are no domain's.
 */

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { agent } from "../support/e2e/agent.ts";
import { aptOptions, repository } from "../support/e2e/apt.ts";
import { describeE2e, LIBSLIRP } from "../support/e2e/requirements.ts";
import { GATEWAY, GUEST_MAC, HTTP_PORT, OUTSIDE, RESOLVER, Rig } from "../support/e2e/rig.ts";

const MIRROR = "198.51.100.7";
const EVIL = "203.0.113.66";
const NAME = "deb.debian.test";
const TLS_PORT = 8443;
const CURL = ["-sS", "--noproxy", "*", "--max-time", "20"];
/** curl's words for an end that is a reset: while it waits for an answer, or in the middle of TLS's handshake. */
const RESET = [35, 52, 56];
const REFUSED = 7;

function hashOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

describeE2e(
  "a sandbox: --allow '*.debian.test' --default deny",
  LIBSLIRP ? ["no such thing"] : ["curl", "dig", "openssl", "apt-get", "dpkg-deb"],
  () => {
    let rig: Rig;
    beforeAll(async () => {
      rig = await Rig.online((folder) => ({
        args: ["--allow", "*.debian.test", "--default", "deny"],
        files: { ...repository(folder), "/secret": "not for guests\n" },
        zone: { [NAME]: { A: [MIRROR] }, "evil.test": { A: [EVIL] }, "rebind.debian.test": { A: [OUTSIDE] } },
        prepare: (host) => {
          for (const address of [MIRROR, EVIL]) host.ip("addr", "add", `${address}/32`, "dev", "ext0");
        },
      }));
      const { folder } = rig.hostRig;
      const cert = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
      execFileSync("openssl", [...cert, "-subj", `/CN=${NAME}`, "-keyout", `${folder}/key`, "-out", `${folder}/cert`], {
        stdio: "ignore",
      });
      for (const port of [TLS_PORT, 853]) {
        const server = rig.host.spawn(
          "openssl",
          ["s_server", "-accept", `${port}`, "-cert", `${folder}/cert`, "-key", `${folder}/key`, "-www"],
          { stdio: ["ignore", "pipe", "ignore"] },
        );
        await new Promise((resolve) => server.stdout!.once("data", resolve));
      }
    }, 120_000);
    afterAll(() => rig?.close());

    const curl = (...args: string[]) => rig.guest.run("curl", [...CURL, ...args]);
    const dig = async (...args: string[]) => {
      const { stdout, stderr, code } = await rig.guest.run("dig", ["+tries=1", "+timeout=3", ...args]);
      return `${code} ${stdout}${stderr}`;
    };
    /** The log's line about a refusal. */
    const logged = (...words: string[]) =>
      expect
        .poll(() => rig.backend.log.split("\n").filter((line) => words.every((word) => line.includes(word))), {
          timeout: 20_000,
        })
        .not.toEqual([]);
    /** What the host's HTTP server has been asked by whoever said `subject`, before a request of the host's own. */
    const requested = async (subject: string): Promise<number> => {
      const mark = `/mark-${performance.now()}`;
      await rig.host.run("curl", [...CURL, `http://${OUTSIDE}:${HTTP_PORT}${mark}`]);
      await rig.services.event("the mark", (event) => event.subject === mark);
      return rig.services.drain((event) => event.event === "request" && event.subject === subject);
    };

    it("apt-get updates its lists and downloads a package", async () => {
      const folder = join(rig.hostRig.folder, "apt");
      mkdirSync(folder);
      const apt = (...args: string[]) =>
        rig.guest.sh(
          `cd ${folder} && apt-get ${[...aptOptions(folder, `${NAME}:${HTTP_PORT}`), ...args].join(" ")}`,
          60_000,
        );
      const update = await apt("update");
      expect(update, update.stderr).toMatchObject({ code: 0 });
      const download = await apt("download", "proof");
      expect(download, download.stderr).toMatchObject({ code: 0 });
      const deb = readFileSync(join(folder, "proof_1.0_all.deb"));
      expect(hashOf(deb)).toBe(hashOf(readFileSync(join(rig.hostRig.folder, "proof_1.0_all.deb"))));
    });
    it("and HTTPS works", async () => {
      const { code, stdout } = await curl("-k", `https://${NAME}:${TLS_PORT}/`);
      expect(code).toBe(0);
      expect(stdout).toContain("s_server");
    });

    it("a false SNI is reset, and the log says which name and rule", async () => {
      const { code } = await curl(
        "-k",
        "--resolve",
        `evil.test:${TLS_PORT}:${MIRROR}`,
        `https://evil.test:${TLS_PORT}/`,
      );
      expect(RESET).toContain(code);
      await logged("refused", "default deny: TLS name evil.test");
    });
    it("so is TLS without a name", async () => {
      const { code } = await curl("-k", `https://${MIRROR}:${TLS_PORT}/`);
      expect(RESET).toContain(code);
      await logged("refused", "allow *.debian.test: TLS without a name");
    });
    it("a wrong Host is answered by 403 with name and rule, and the server sees no request", async () => {
      const { code, stdout } = await curl("-H", "Host: evil.test", `http://${NAME}:${HTTP_PORT}/secret`);
      expect([code, stdout]).toEqual([0, 'tslirp: evil.test is refused by the rule "default deny"\n']);
      expect(await requested("/secret")).toBe(0);
      await logged("refused", "default deny: HTTP name evil.test");
    });
    it.each([EVIL, OUTSIDE, GATEWAY])("a bare address is refused: %s", async (address) => {
      const { code } = await curl(`http://${address}:${HTTP_PORT}/secret`);
      expect(code).toBe(REFUSED);
      expect(await requested("/secret")).toBe(0);
    });
    it("a name of the domain that leads to a private address is no way there", async () => {
      const { code } = await curl(`http://rebind.debian.test:${HTTP_PORT}/secret`);
      expect(code).toBe(REFUSED);
      await logged("a private address is not meant by");
    });
    it("with a source address that is not its own a guest reaches nobody", async () => {
      rig.guest.ip("addr", "add", "203.0.113.9/32", "dev", "tap0");
      const { code } = await curl(
        "--max-time",
        "3",
        "--interface",
        "203.0.113.9",
        "--resolve",
        `${NAME}:${HTTP_PORT}:${MIRROR}`,
        `http://${NAME}:${HTTP_PORT}/secret`,
      );
      rig.guest.ip("addr", "del", "203.0.113.9/32", "dev", "tap0");
      expect(code).toBe(28);
      expect(await requested("/secret")).toBe(0);
    });
    it("a query for another name carries nothing out: REFUSED, where the host's resolver says NXDOMAIN", async () => {
      const secret = `${"ab".repeat(30)}.tunnel.evil.test`;
      expect((await rig.host.run("dig", [`@${OUTSIDE}`, secret])).stdout).toContain("NXDOMAIN");
      for (const way of ["+notcp", "+tcp"]) expect(await dig(way, `@${RESOLVER}`, secret, "TXT")).toContain("REFUSED");
      await logged("refused", "default deny", "tunnel.evil.test");
    });
    it.each([OUTSIDE, MIRROR])("another DNS server is out of reach, by UDP and TCP: %s", async (server) => {
      for (const way of ["+notcp", "+tcp"]) expect(await dig(way, `@${server}`, NAME)).not.toContain("NOERROR");
    });
    it("records that hold keys for encrypted names are answered as not there", async () => {
      const answer = await dig(`@${RESOLVER}`, NAME, "TYPE65");
      expect(answer).toContain("NOERROR");
      expect(answer).toContain("ANSWER: 0");
    });
    it("DNS over TLS is refused at an address that an allowed name leads to, where a server listens", async () => {
      const ask = `openssl s_client -connect ${MIRROR}:853 -servername ${NAME} </dev/null`;
      expect((await rig.host.sh(ask)).code).toBe(0);
      const tried = await rig.guest.sh(ask);
      expect(tried.code).not.toBe(0);
      expect(tried.stderr).toContain("refused");
      await logged("another name server's port", `${MIRROR}:853`);
    });
    it("DNS over HTTPS finds no server: neither its name, nor by its address", async () => {
      expect((await curl("-k", `https://evil.test:${TLS_PORT}/dns-query?name=x`)).code).toBe(6);
      expect(
        (await curl("-k", "--resolve", `evil.test:${TLS_PORT}:${EVIL}`, `https://evil.test:${TLS_PORT}/dns-query`))
          .code,
      ).toBe(REFUSED);
    });
    it("QUIC is told at once that it may not, so that clients take TCP", async () => {
      expect(await agent(rig.guest, "udpRefused", { host: MIRROR, port: 443 })).toEqual({ error: "EHOSTUNREACH" });
      await logged("QUIC is not meant by", `${MIRROR}:443`);
    });
    it("with another card's address it knows no names, and what they led to is closed", async () => {
      const become = (mac: string): void => rig.guest.ip("link", "set", "tap0", "address", mac);
      become("52:54:00:66:66:66");
      rig.guest.ip("addr", "add", "10.0.2.77/24", "dev", "tap0");
      const { code } = await curl(
        "--max-time",
        "5",
        "--interface",
        "10.0.2.77",
        "--resolve",
        `${NAME}:${HTTP_PORT}:${MIRROR}`,
        `http://${NAME}:${HTTP_PORT}/secret`,
      );
      rig.guest.ip("addr", "del", "10.0.2.77/24", "dev", "tap0");
      become(GUEST_MAC);
      expect([REFUSED, 28]).toContain(code);
      expect(await requested("/secret")).toBe(0);
    });
  },
);
