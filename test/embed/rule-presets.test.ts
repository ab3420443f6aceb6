/** The sets of `examples/rules`, each against a world in which every name leads somewhere and every server serves. */
import { once } from "node:events";
import net from "node:net";
import path from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it, test } from "vitest";
import { resolveName } from "../../src/cli/guest/dns.ts";
import { readRulesFile } from "../../src/cli/rules-file.ts";
import { lintRules } from "../../src/control/rule-lint.ts";
import { createNetwork, type Network } from "../../src/index.ts";
import { dnsReply } from "../../src/wire/dns.ts";
import { clientHello } from "../support/client-hello.ts";
import { UdpServer } from "../support/dns-server.ts";
import { type EmbeddedGuest, embeddedGuest } from "../support/embedded-guest.ts";

const SETS = path.join(import.meta.dirname, "../../examples/rules");

/** What each world's programs dial, and what looks like it. */
const WORLDS: Readonly<Record<string, { dialled: readonly string[]; others: readonly string[] }>> = {
  debian: {
    dialled: ["deb.debian.org:80", "deb.debian.org:443", "security.debian.org:80", "debug.mirrors.debian.org:443"],
    others: ["deb.debian.org:22", "people.debian.org:443", "deb.debian.org.evil.test:80", "xdeb.debian.org:80"],
  },
  npm: {
    dialled: ["registry.npmjs.org:443", "registry.yarnpkg.com:443", "nodejs.org:443"],
    others: ["registry.npmjs.org:80", "www.npmjs.org:443", "registry.npmjs.org.evil.test:443", "npmjs.org:443"],
  },
  pypi: {
    dialled: ["pypi.org:443", "files.pythonhosted.org:443"],
    others: ["pypi.org:80", "upload.pypi.org:443", "pypi.org.evil.test:443", "evil.files.pythonhosted.org:443"],
  },
  github: {
    dialled: [
      ...["github.com:443", "github.com:22", "ssh.github.com:443", "api.github.com:443", "codeload.github.com:443"],
      ...["raw.githubusercontent.com:443", "objects.githubusercontent.com:443", "media.githubusercontent.com:443"],
      ...["release-assets.githubusercontent.com:443", "lfs.github.com:443", "github-cloud.githubusercontent.com:443"],
    ],
    others: ["github.com:80", "evil.github.com:443", "evil.githubusercontent.com:443", "github.com.evil.test:443"],
  },
};

let server: net.Server;
let dns: UdpServer;
let network: Network;
let guest: EmbeddedGuest;
beforeAll(async () => {
  server = net.createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => socket.end("served"));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  dns = await UdpServer.open((query) => [dnsReply(query, 0, query.length, 0, [Uint8Array.of(198, 51, 100, 7)], 300)]);
});
afterAll(async () => {
  server.close();
  await dns.close();
});
afterEach(async () => {
  guest?.stop();
  await network?.close();
});

async function world(...sets: string[]): Promise<void> {
  const rules = [...sets.flatMap((set) => readRulesFile("rules", path.join(SETS, set)).lines), "default deny"];
  const { port } = server.address() as net.AddressInfo;
  network = await createNetwork({
    ...{ rules, dnsUpstream: [`${dns.endpoint.host}:${dns.endpoint.port}`] },
    onFlow: ({ proto }) => (proto === "tcp" ? { redirect: { host: "127.0.0.1", port } } : "allow"),
  });
  guest = await embeddedGuest(network);
}

/** What somebody gets who resolves the name, dials it and says what one says at that port. */
async function dial(nameAndPort: string): Promise<string> {
  const [name = "", port] = nameAndPort.split(":");
  const ip = await resolveName(guest.guest, name).catch(() => null);
  if (ip === null) return "no such name";
  const first = {
    "22": Buffer.from("SSH-2.0-x\r\n"),
    "80": Buffer.from(`GET / HTTP/1.1\r\nHost: ${name}\r\n\r\n`),
    "443": clientHello({ names: [name] }),
  }[port!]!;
  return new Promise((resolve) => {
    let said = "";
    const socket = guest.guest.connect(ip, Number(port), {
      onConnect: () => void socket.write(first),
      onData: (bytes: Uint8Array) => {
        said += Buffer.from(bytes).toString("latin1");
      },
      onEnd: () => socket.end(),
      onClose: (end) => resolve(said || String(end)),
    });
  });
}

describe.each(Object.entries(WORLDS))("%s", (set, { dialled, others }) => {
  it("what its programs dial is served, and nothing that looks like it", async () => {
    await world(set);
    for (const each of dialled) expect([each, await dial(each)]).toEqual([each, "served"]);
    for (const each of others) expect([each, await dial(each)]).not.toEqual([each, "served"]);
  });
  it("has nothing odd about it", () => {
    const { lines, fields } = readRulesFile("rules", path.join(SETS, set));
    expect(lintRules([...lines, "default deny"], [...fields, "rules:1"])).toEqual([]);
  });
});

test("all of them go together", async () => {
  await world(...Object.keys(WORLDS));
  for (const { dialled } of Object.values(WORLDS)) expect(await dial(dialled[0]!)).toBe("served");
});
