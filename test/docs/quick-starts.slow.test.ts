/**
 * The README's quick starts, as somebody meets them who has the package and an empty folder: each block is copied out of the
 * README and pasted into a shell. They run in a network namespace without a way out, since none of them needs the Internet.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { taps } from "../../src/host/tap-device.ts";
import { install, pack } from "../support/e2e/installed.ts";
import { Namespace, type RunResult } from "../support/e2e/namespace.ts";
import { describeE2e, IPXE_ROM, LIBSLIRP } from "../support/e2e/requirements.ts";

/** The blocks of each section of "Quick start", by its heading. */
const sections = new Map(
  readFileSync("README.md", "utf8")
    .split("\n## Quick start\n")[1]!
    .split("\n## ")[0]!
    .split("\n### ")
    .slice(1)
    .map((section) => [
      section.slice(0, section.indexOf("\n")),
      [...section.matchAll(/^```sh\n([\s\S]*?)^```/gm)].map(([, block]) => block!).join(""),
    ]),
);

/** What each is to print; the order does not matter. */
const EXPECTED: Readonly<Record<string, readonly RegExp[]>> = {
  "With QEMU": [/tftp:\/\/10\.0\.2\.2\/start\.ipxe\.+ ok/, /online as 10\.0\.2\.15/],
  "For a command": [
    /1 received/,
    /refused curl\[\d+\] .* by default deny; --allow 'tcp 192\.0\.2\.7:80' would allow it/,
    // Both write to one standard error at the same time, and curl writes its first letter by itself.
    /url: \(7\)/,
  ],
  "As a library": [/52:54:00:12:34:56 is 10\.0\.2\.15\n10\.0\.2\.15 asks for \/\n/],
  "To measure": [/3 received/, /iperf Done/],
};

describeE2e(
  "quick starts of the README",
  LIBSLIRP || taps() === null ? ["no such thing"] : [IPXE_ROM, "iperf3", "curl", "ping", "npm"],
  () => {
    let world: Namespace;
    let folder: string;
    beforeAll(() => {
      world = new Namespace("readme");
      folder = mkdtempSync(path.join(tmpdir(), "tslirp-readme-"));
      install(folder, pack(folder));
    }, 300_000);
    afterAll(async () => {
      await world?.close();
      if (folder !== undefined) rmSync(folder, { recursive: true });
    });

    const shell = (script: string): Promise<RunResult> => world.run("bash", ["-c", `cd ${folder}\n${script}`], 90_000);

    it("has a block for each, and no more than are run", () => {
      expect([...sections.keys()]).toEqual(Object.keys(EXPECTED));
    });

    it.each(Object.entries(EXPECTED))("%s", async (heading, expected) => {
      const { stdout, stderr } = await shell(sections.get(heading)!);
      for (const each of expected) expect(stdout + stderr).toMatch(each);
    });

    it("the demo and the API work without the optional package, too", async () => {
      for (const name of ["koffi", "@koromix"]) rmSync(path.join(folder, "node_modules", name), { recursive: true });
      expect((await shell("npx tslirp demo")).code).toBe(0);
      const { stdout } = await shell(
        `PATH=node_modules/.bin:$PATH
        tslirp serve --api unix:api.sock --listen unix:net2.sock &
        until [ -e net2.sock ]; do sleep 0.1; done
        TSLIRP_API=unix:api.sock tslirp ctl flows; kill %1`,
      );
      expect(stdout).toMatch(/^none$/m);
    });
  },
);
