/** A guest with Debian's kernel whose card is ours by vhost-user: QEMU shares its memory with the back-end. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { sharedMemoryArguments, vhostUserArguments } from "../../src/control/qemu-args.ts";
import { KERNEL, KernelMachine } from "../support/e2e/kernel-machine.ts";
import { Qmp } from "../support/e2e/qmp.ts";
import { expectReplays, recorded } from "../support/e2e/recorded.ts";
import { describeE2e, LIBSLIRP } from "../support/e2e/requirements.ts";
import { GATEWAY, HostRig, OUTSIDE_NAME, url } from "../support/e2e/rig.ts";
import { PROGRAM } from "../support/program.ts";
import { patternSha256 } from "../support/services.ts";

const SIZE = 100_000_000;
const NEEDS = LIBSLIRP ? ["no such thing"] : [KERNEL];

describeE2e("a guest over vhost-user", NEEDS, () => {
  let rig: HostRig;
  let machine: KernelMachine;
  let path: string;
  let started = 0;
  /** QEMU 7.2 without KVM crashes when such a card uses MSI-X; `vectors=0` keeps it from that. */
  const start = (): KernelMachine =>
    new KernelMachine(rig.host, rig.folder, [
      ...sharedMemoryArguments("n0", "384M"),
      ...vhostUserArguments("n0", path),
      ...["-device", "virtio-net-pci,netdev=n0,vectors=0,mac=52:54:00:e2:e0:01"],
      ...["-qmp", `unix:${join(rig.folder, `qmp${++started}`)},server=on,wait=off`],
    ]);

  beforeAll(async () => {
    rig = await HostRig.startHost((folder) => {
      path = join(folder, "vhost.sock");
      return {
        files: { "/hello": "hello over HTTP\n" },
        host6: true,
        args: ["--listen", `vhost-user:${path}`],
      };
    });
    // The socket that the rig waits for comes first.
    await vi.waitUntil(() => existsSync(path), { timeout: 20_000 });
    machine = start();
    await machine.ready();
    await machine.online();
  }, 240_000);
  afterAll(async () => {
    await machine?.kill();
    await rig?.close();
  });

  async function hello(): Promise<string> {
    const { output } = await machine.run(`wget -q -O - ${url(GATEWAY, "/hello")}`);
    return output;
  }

  it("has a lease, resolves a name, and gets a file by it", async () => {
    const { output } = await machine.run(`wget -q -O - ${url(OUTSIDE_NAME, "/hello")}`);
    expect(output).toBe("hello over HTTP\n");
  });

  it("pings the gateway, by IPv6 too", async () => {
    const { output } = await machine.run(`ping -c 3 -W 5 ${GATEWAY}`);
    expect(output).toContain("3 packets received");
    const six = await machine.run("for i in $(seq 20); do ping6 -c 1 -W 2 fec0::2 && break; sleep 0.5; done");
    expect(six.output).toContain("1 packets received");
  });

  it("downloads 100 MB, and sends them back", async () => {
    const hash = patternSha256(5, SIZE);
    const down = await machine.run(
      `wget -q -O /tmp/big '${url(GATEWAY, `/bytes?n=${SIZE}&seed=5`)}' && sha256sum </tmp/big`,
      300_000,
    );
    expect(down.output.slice(0, 64)).toBe(hash);
    const up = await machine.run(`nc ${GATEWAY} ${rig.services.ports.digest} </tmp/big`, 300_000);
    expect(up.output.slice(0, 64)).toBe(hash);
  }, 600_000);

  it("is stopped and goes on, and cannot be saved", async () => {
    const qmp = await Qmp.open(join(rig.folder, `qmp${started}`));
    try {
      await qmp.run("stop");
      await qmp.status("query-status", (status) => status === "paused");
      await qmp.run("cont");
      expect(await hello()).toBe("hello over HTTP\n");
      await qmp.run("migrate", { uri: "exec:cat >/dev/null" }).then(
        () => expect.unreachable("a migration without a log of what we write"),
        (error: Error) => expect(error.message).toMatch(/vhost-user backend lacks|Migration disabled/),
      );
    } finally {
      qmp.close();
    }
  });

  it("reboots, and is there again", async () => {
    machine.say("reboot -f");
    await machine.ready();
    await machine.online();
    expect(await hello()).toBe("hello over HTTP\n");
  }, 240_000);

  it("is killed in the middle of a transfer, and another one comes", async () => {
    machine.say(`wget -q -O /dev/null '${url(GATEWAY, `/bytes?n=${SIZE}&seed=6`)}'`);
    await rig.services.event("a download", ({ event, subject }) => event === "request" && subject.includes("seed=6"));
    await machine.kill();
    machine = start();
    await machine.ready();
    await machine.online();
    expect(await hello()).toBe("hello over HTTP\n");
  }, 240_000);
});

describeE2e("tslirp qemu --vhost-user, recorded,", NEEDS, () => {
  it("runs a machine with a user network over shared memory that it had not asked for, and ends with it", async () => {
    const rig = await HostRig.startHost({ files: { "/hello": "hello over HTTP\n" } });
    const tslirp = [process.execPath, ...PROGRAM, "qemu", "--vhost-user"];
    const card = ["-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0"];
    const machine = new KernelMachine(rig.host, rig.folder, card, [
      ...tslirp,
      ...recorded(rig.folder),
      "--log-level",
      "info",
      "--",
    ]);
    try {
      await machine.ready();
      await machine.online();
      const { output } = await machine.run(`wget -q -O - ${url(GATEWAY, "/hello")}`);
      expect(output).toBe("hello over HTTP\n");
      expect(await machine.off()).toBe("0 null");
      await expectReplays(rig.folder, "vhost-user");
    } finally {
      await machine.kill();
      await rig.close();
    }
  }, 240_000);
});
