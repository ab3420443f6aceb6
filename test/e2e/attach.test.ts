/** Every kind of cable that QEMU has for a network of another process, each with a Linux guest behind it. */
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { appears, hub } from "../support/e2e/backend.ts";
import { Guest } from "../support/e2e/guest.ts";
import { describeE2e, LIBSLIRP } from "../support/e2e/requirements.ts";
import { GATEWAY, HostRig, url } from "../support/e2e/rig.ts";

const SIZE = 3_000_000;
const INET = "addr.type=inet,addr.host=127.0.0.1";
/** QEMU's netdev, and how tslirp meets it. */
const CABLES: readonly [netdev: string, ours: readonly string[]][] = [
  [
    "dgram,local.type=inet,local.host=127.0.0.1,local.port=9101,remote.type=inet,remote.host=127.0.0.1,remote.port=9001",
    ["--listen", "udp:127.0.0.1:9001"],
  ],
  ["socket,udp=127.0.0.1:9002,localaddr=127.0.0.1:9102", ["--listen", "udp:127.0.0.1:9002"]],
  ["socket,connect=127.0.0.1:9004", ["--listen", "tcp:127.0.0.1:9004"]],
  ["socket,listen=127.0.0.1:9005", ["--connect", "tcp:127.0.0.1:9005"]],
  [`stream,server=on,${INET},addr.port=9006`, ["--connect", "tcp:127.0.0.1:9006"]],
  [`stream,server=off,${INET},addr.port=9007`, ["--listen", "tcp:127.0.0.1:9007"]],
];

describeE2e("QEMU's cables", ["curl", "ping"], () => {
  let rig: HostRig;
  beforeAll(async () => {
    const args = CABLES.flatMap(([, ours]) => ours);
    rig = await HostRig.startHost({ args });
  });
  afterAll(() => rig?.close());

  it.skipIf(LIBSLIRP).each(CABLES)(
    "%s carries a lease and 3 MB each way (libslirp: is inside QEMU)",
    async (netdev) => {
      // The guest's TAP is in another namespace: a second hub carries its frames to the cable under test.
      const path = join(rig.folder, `${netdev.replaceAll(/\W+/g, "-").slice(0, 40)}.sock`);
      const bridge = rig.host.spawn(
        "qemu-system-x86_64",
        hub(`${netdev},id=t0`, "t0", `server=on,addr.type=unix,addr.path=${path}`),
        { stdio: "ignore" },
      );
      // A UDP cable never ends, and an address belongs to one cable: each has a guest of its own.
      const mac = `52:54:00:e2:e1:${String(CABLES.findIndex(([each]) => each === netdev)).padStart(2, "0")}`;
      const guest = new Guest(join(rig.folder, `lease-${mac.slice(-2)}`), mac);
      try {
        // QEMU tries a socket once: it has to be there when the guest's end dials it.
        await appears(path, bridge, []);
        await guest.plug(path);
        // A dialler may be waiting for up to 5 s by now.
        expect((await guest.dhcp("-t", "18")).code).toBe(0);
        const down = await guest.sh(`curl -sS --max-time 30 '${url(GATEWAY, `/bytes?n=${SIZE}&seed=9`)}' | wc -c`);
        expect(down.stdout.trim(), down.stderr).toBe(String(SIZE));
        const up = await guest.sh(
          `head -c ${SIZE} /dev/zero | curl -sS --max-time 30 -T - '${url(GATEWAY, "/sink")}' | head -c 64`,
        );
        expect(up.stdout, up.stderr).toMatch(/^[0-9a-f]{64}$/);
      } finally {
        await guest.close();
        bridge.kill("SIGKILL");
      }
    },
    120_000,
  );
});
