/** A machine's state is saved, it goes on for a while, and is restored: QEMU's `savevm` and `loadvm`, and a failed migration. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { ipxeMachine, type Machine } from "../support/e2e/ipxe.ts";
import { Qmp } from "../support/e2e/qmp.ts";
import { describeE2e, IPXE_ROM, LIBSLIRP } from "../support/e2e/requirements.ts";
import { GATEWAY, HostRig, url } from "../support/e2e/rig.ts";

const SCRIPT = `#!ipxe
echo E2E: begins
imgfetch --name slow ${url(GATEWAY, "/bytes?n=20000000&seed=1")} && echo E2E: slow came || echo E2E: slow broke off
imgfetch --name hello ${url(GATEWAY, "/hello")} && echo E2E: hello came || echo E2E: hello failed
echo E2E: done
shell
`;

/** How much of the file iPXE says that it has, in per cent. */
function percent(text: string): number {
  const all = [...text.slice(text.indexOf("E2E: begins")).matchAll(/(\d+)%/g)];
  return Number(all.at(-1)?.[1] ?? 0);
}

describeE2e("a machine set back by its snapshot", [IPXE_ROM, "qemu-img"], () => {
  let rig: HostRig | undefined;
  const machines: Machine[] = [];
  afterEach(async () => {
    for (const machine of machines.splice(0)) await machine.kill();
    await rig?.close();
  });

  /** A host behind a slow line, and what starts a machine there with a QMP socket of that name in its folder. */
  async function slowHost(): Promise<{ folder: string; start: (name: string, ...more: string[]) => Machine }> {
    rig = await HostRig.startHost({
      bootfile: "script.ipxe",
      files: { "/hello": "hello over HTTP\n" },
      tftp: { "script.ipxe": SCRIPT },
      args: ["--impair", "rate=3mbit,direction=down"],
    });
    const { host, folder, backend } = rig;
    const start = (name: string, ...more: string[]): Machine => {
      const qmp = `unix:${join(folder, name)},server=on,wait=off`;
      const machine = ipxeMachine(host, backend.socketPath, ["-qmp", qmp, ...more]);
      machines.push(machine);
      return machine;
    };
    return { folder, start };
  }

  async function resetAndOnline(machine: Machine): Promise<void> {
    const said = await machine.says((text) => text.includes("E2E: done"), "that it is done", 90_000);
    expect(said).toContain("E2E: slow broke off");
    expect(said).toContain("E2E: hello came");
  }

  it.skipIf(LIBSLIRP)(
    "has its old connection reset, and new ones are fine (libslirp: its state is in the snapshot)",
    async () => {
      const { folder, start } = await slowHost();
      const state = join(folder, "state");
      const first = start("first");
      const had = percent(await first.says((text) => percent(text) > 2, "a percentage", 90_000));
      const qmp = await Qmp.open(join(folder, "first"));
      await qmp.run("stop");
      await qmp.run("migrate", { uri: `exec:cat > ${state}` });
      await qmp.status("query-migrate", (status) => status === "completed");
      await qmp.run("cont");
      await first.says((text) => percent(text) > had + 5, "more", 90_000);
      qmp.close();
      await first.kill();

      const second = start("second", "-incoming", `exec:cat ${state}`);
      const restored = await Qmp.open(join(folder, "second"));
      await restored.status("query-status", (status) => status !== "inmigrate");
      // It was saved while it stood still.
      await restored.run("cont");
      await resetAndOnline(second);
      restored.close();
    },
    240_000,
  );

  it.skipIf(LIBSLIRP)(
    "on the same cable has its old connection reset, and new ones are fine (libslirp: its state is in the snapshot)",
    async () => {
      const { folder, start } = await slowHost();
      const disk = join(folder, "disk.qcow2");
      execFileSync("qemu-img", ["create", "-q", "-f", "qcow2", disk, "1G"]);
      const machine = start("machine", "-drive", `file=${disk},if=virtio`);
      const had = percent(await machine.says((text) => percent(text) > 2, "a percentage", 90_000));
      const qmp = await Qmp.open(join(folder, "machine"));
      await qmp.monitor("savevm before");
      await machine.says((text) => percent(text) > had + 5, "more", 90_000);
      await qmp.monitor("loadvm before");
      await resetAndOnline(machine);
      qmp.close();
    },
    240_000,
  );
});
