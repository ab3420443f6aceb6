/** Guests come and go, several at once; the network stops as asked. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Guest } from "../support/e2e/guest.ts";
import { describeE2e, LIBSLIRP } from "../support/e2e/requirements.ts";
import { GATEWAY, GUEST, GUEST_MAC, HostRig, Rig, url } from "../support/e2e/rig.ts";

describeE2e("guests come and go", ["curl", "ping", "nc", "ss"], () => {
  describe.skipIf(LIBSLIRP)(
    "one after the other and side by side (libslirp: one guest for the life of its QEMU)",
    () => {
      let rig: Rig;
      let second: Guest;
      beforeAll(async () => {
        rig = await Rig.online({ files: { "/hello": "hello\n" } });
        second = new Guest(join(rig.hostRig.folder, "lease-2"), "52:54:00:e2:e0:03");
      });
      afterAll(async () => {
        await second?.close();
        await rig?.close();
      });

      const hello = (guest: Guest): Promise<string> =>
        guest.run("curl", ["-sS", "--max-time", "5", url(GATEWAY, "/hello")]).then((result) => result.stdout);

      it("a second guest gets an address of its own, and each reaches the host and the other", async () => {
        await second.plug(rig.backend.socketPath);
        expect((await second.dhcp()).code).toBe(0);
        const other = second.lease().ip!;
        expect(other).not.toBe(GUEST);
        for (const guest of [rig.guest, second]) expect(await hello(guest)).toBe("hello\n");
        const ping = await rig.guest.run("ping", ["-n", "-c", "3", "-i", "0.05", "-W", "2", other]);
        expect(ping.stdout).toContain("3 received");
      });

      it("a guest that vanishes leaves the other undisturbed", async () => {
        await second.unplug();
        expect(await hello(rig.guest)).toBe("hello\n");
      });

      it("a guest that vanished comes back on a new cable and has its old lease", async () => {
        await rig.guest.unplug();
        await rig.guest.plug(rig.backend.socketPath);
        expect((await rig.guest.dhcp()).code).toBe(0);
        expect(rig.guest.lease().ip).toBe(GUEST);
        expect(await hello(rig.guest)).toBe("hello\n");
      });

      it("a connection outlives its cable: the guest's kernel never saw it go", async () => {
        const { ports } = rig.services;
        const client = rig.guest.spawn("nc", [GATEWAY, String(ports.echo)], { stdio: ["pipe", "pipe", "ignore"] });
        const echoed = (line: string): Promise<string> =>
          new Promise((resolve) => {
            client.stdout?.once("data", (piece) => resolve(String(piece)));
            client.stdin?.write(line);
          });
        expect(await echoed("before\n")).toBe("before\n");
        await rig.guest.unplug();
        await rig.guest.plug(rig.backend.socketPath);
        expect(await echoed("after\n")).toBe("after\n");
        client.kill();
      });
    },
  );

  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    it.skipIf(LIBSLIRP)(
      `${signal} ends it with status 0 and without its socket (libslirp: QEMU's own ways)`,
      async () => {
        const rig = await HostRig.startHost();
        const guest = new Guest(join(rig.folder, "lease"), GUEST_MAC);
        try {
          await guest.plug(rig.backend.socketPath);
          expect((await guest.dhcp()).code).toBe(0);
          expect(await rig.backend.stop(signal), rig.backend.log).toBe(0);
          expect(existsSync(rig.backend.socketPath)).toBe(false);
        } finally {
          await guest.close();
          await rig.close();
        }
      },
    );
  }
});
