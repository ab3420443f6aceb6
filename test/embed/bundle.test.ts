/** The library in one ESM file, as programs that embed it ship it: esbuild makes it, and it runs where nothing is installed. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";

import os from "node:os";
import path from "node:path";
import { buildSync } from "esbuild";
import { afterAll, beforeAll, expect, it } from "vitest";

const PROGRAM = `
import net from "node:net";
import { createNetwork } from ${JSON.stringify(path.resolve("src/index.ts"))};
// A proxy's client, too, is not needed before there is a proxy to speak to.
const network = await createNetwork({ proxy: "socks5://127.0.0.1:1", rules: ["default allow"], onFlow: () => "allow" });
const path = process.argv[2];
const args = await network.listen({ path });
const answer = await new Promise((resolve) => {
  const guest = net.connect(path, () => {
    // ARP: who has 10.0.2.2?
    const frame = Buffer.from("ffffffffffff525400123456080600010800060400015254001234560a00020f0000000000000a000202", "hex");
    guest.write(Buffer.concat([Buffer.from([0, 0, 0, frame.length]), frame]));
  });
  let seen = "";
  guest.on("data", (bytes) => {
    seen += bytes.toString("hex");
    if (seen.includes("08060001080006040002")) { guest.destroy(); resolve("answered"); }
  });
});
await network.close();
console.log(answer, args.length);
`;

let folder: string;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "tslirp-bundle-"));
});
afterAll(() => fs.rmSync(folder, { recursive: true }));

it("bundles, runs, and has nothing in it that only the command line or the API needs", () => {
  const outfile = path.join(folder, "program.mjs");
  const { metafile } = buildSync({
    ...{ stdin: { contents: PROGRAM, resolveDir: process.cwd() }, outfile, metafile: true, logLevel: "error" },
    ...{ bundle: true, platform: "node", format: "esm", target: "node20" },
  });
  const inputs = Object.values(metafile.outputs as Record<string, { inputs: object }>).flatMap(({ inputs }) =>
    Object.keys(inputs),
  );
  for (const name of ["pino", "commander", "fastify", "prom-client", "@fastify/swagger"])
    expect(inputs.filter((input) => input.startsWith(`node_modules/${name}/`))).toEqual([]);
  expect(inputs.filter((input) => /^src\/(cli|api)\//.test(input))).toEqual([]);
  const said = execFileSync(process.execPath, [outfile, path.join(folder, "n.sock")], {
    cwd: folder,
    encoding: "utf8",
  });
  expect(said).toMatch(/^answered \d+\n$/);
});
