/**
 * The same scripted guest on tslirp's wire and on libslirp's. What they answer is compared field by field, and every
 * difference stands with its reason in docs/compatibility.md: one that does not, or is there no more, fails.
 * `GOLDEN_WRITE=1` writes that table.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Backend, type BackendOptions } from "../support/e2e/backend.ts";
import { Namespace } from "../support/e2e/namespace.ts";
import { describeE2e } from "../support/e2e/requirements.ts";
import { OUTSIDE, OUTSIDE_NAME } from "../support/e2e/rig.ts";
import { ServicesProcess } from "../support/e2e/services-process.ts";
import { OPTIONS, PLAIN, RESTRICTED, type Script, type World } from "../support/golden/cases.ts";
import { type Difference, differences, documented, type Fields, write } from "../support/golden/compare.ts";
import { IP, MAC, Wire } from "../support/golden/wire.ts";

const RENEW = process.env.GOLDEN_WRITE === "1";
const KINDS = ["libslirp", "tslirp"] as const;
const EVERY_OPTION = [
  ...["hostname=guest", "domainname=e2e.test", "dnssearch=a.e2e.test", "dnssearch=b.test"],
  ...["bootfile=pxe.0", "tftp-server-name=boot.e2e.test", "dhcpstart=10.0.2.20"],
];

describeE2e("the same guest on tslirp's wire and on libslirp's", ["busybox"], () => {
  let host: Namespace;
  let services: ServicesProcess;
  let folder: string;
  const found: Difference[] = [];

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "tslirp-golden-"));
    mkdirSync(join(folder, "tftp"));
    writeFileSync(join(folder, "tftp", "hello.txt"), "hello\nover TFTP\n");
    writeFileSync(join(folder, "secret"), "not for guests\n");
    host = new Namespace("host", [OUTSIDE]);
    host.ip("link", "add", "ext0", "type", "veth", "peer", "name", "ext1");
    for (const name of ["ext0", "ext1"]) host.ip("link", "set", name, "up");
    host.ip("addr", "add", `${OUTSIDE}/24`, "dev", "ext0");
    // Both may then ping without privileges.
    await host.run("sysctl", ["-qw", "net.ipv4.ping_group_range=0 2147483647"]);
    const zone = {
      [OUTSIDE_NAME]: { A: [OUTSIDE], AAAA: ["fd99:0:0:0:0:0:0:1"] },
      "boot.e2e.test": { A: ["10.99.0.7"] },
      "long.e2e.test": { TXT: ["long ".repeat(400)] },
    };
    services = await ServicesProcess.start(host, { host: "0.0.0.0", dns: { host: OUTSIDE, zone } });
  });
  afterAll(async () => {
    await host?.close();
    rmSync(folder, { recursive: true });
  });

  /** Each case's fields on one back-end. */
  async function run(script: Script, options: BackendOptions): Promise<Map<string, Fields>> {
    const own = mkdtempSync(join(folder, "n-"));
    const backend = await Backend.start(host, own, options);
    const wire = await Wire.open(backend.socketPath);
    const forwards = {
      tcp: options.kind === "tslirp" ? 18_080 : 18_081,
      udp: options.kind === "tslirp" ? 18_085 : 18_086,
    };
    const world: World = { wire, host, ports: services.ports, forwards };
    const fields = new Map<string, Fields>();
    try {
      for (const [name, one] of Object.entries(script)) {
        // The guest makes itself known, as its kernel would.
        wire.send({ arp: { senderMac: MAC, senderIp: IP, targetIp: IP } });
        fields.set(name, await one(world));
      }
    } finally {
      wire.close();
      await backend.stop();
    }
    return fields;
  }

  async function compare(script: Script, options: (kind: (typeof KINDS)[number]) => BackendOptions): Promise<void> {
    const [libslirp, tslirp] = (await Promise.all(KINDS.map((kind) => run(script, { ...options(kind), kind })))) as [
      Map<string, Fields>,
      Map<string, Fields>,
    ];
    const unlike = differences(libslirp, tslirp);
    found.push(...unlike);
    if (RENEW) return;
    // Each network's share of what is documented.
    const known = documented().flatMap(({ reason: _, ...rest }) => {
      const names = rest.names.filter((name) => name in script);
      return names.length > 0 ? [{ ...rest, names }] : [];
    });
    const sorted = (list: Difference[]): string[] => list.map((each) => JSON.stringify(each)).sort();
    expect(sorted(unlike)).toEqual(sorted(known));
  }

  const forwards = (kind: (typeof KINDS)[number]): string[] =>
    kind === "tslirp" ? ["tcp::18080-:80", "udp::18085-:85"] : ["tcp::18081-:80", "udp::18086-:85"];

  it("a plain network", async () => {
    await compare(PLAIN, (kind) => ({ hostfwd: forwards(kind) }));
  }, 120_000);

  it("one with every option", async () => {
    await compare(OPTIONS, () => ({ netdev: [...EVERY_OPTION, `tftp=${join(folder, "tftp")}`] }));
  }, 60_000);

  it("a restricted one", async () => {
    await compare(RESTRICTED, (kind) => ({ restrict: true, hostfwd: forwards(kind) }));
  }, 60_000);

  it("and each difference has its reason", () => {
    if (RENEW) write(merged(found));
    for (const { names, field, reason } of documented()) expect(reason, `${names}: ${field}`).not.toBe("?");
  });
});

/** One row for what several networks have in common. */
function merged(found: readonly Difference[]): Difference[] {
  const rows = new Map<string, Difference>();
  for (const { names, ...rest } of found) {
    const key = JSON.stringify(rest);
    rows.set(key, { names: [...(rows.get(key)?.names ?? []), ...names], ...rest });
  }
  return [...rows.values()];
}
