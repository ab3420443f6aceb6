/**
 * Records fixtures/captures/*.pcap anew: `E2E_BACKEND=libslirp npx tsx test/support/e2e/record-captures.ts`, as root.
 * Real clients on the rig of the end-to-end tests; nothing of the machine it runs on is in the frames.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { bootIpxe } from "./ipxe.ts";
import { REPOSITORY } from "./namespace.ts";
import { GATEWAY, HostRig, OUTSIDE, OUTSIDE_NAME, Rig, url } from "./rig.ts";

const FOLDER: string = join(REPOSITORY, "fixtures/captures");

/** Everything on the guest's TAP while `exchange` runs. */
async function record(rig: Rig, name: string, exchange: () => Promise<unknown>): Promise<void> {
  const args = ["-i", "tap0", "-U", "-s", "0", "-Z", "root", "-w", join(FOLDER, `${name}.pcap`), "not ip6"];
  const tcpdump = rig.guest.spawn("tcpdump", args, { stdio: ["ignore", "ignore", "pipe"] });
  await new Promise<void>((resolve) =>
    tcpdump.stderr?.on("data", (piece) => {
      if (String(piece).includes("listening on")) resolve();
    }),
  );
  await exchange();
  const ended = new Promise((resolve) => tcpdump.once("exit", resolve));
  // The capture buffer is handed over at most a second after the last frame.
  setTimeout(() => tcpdump.kill("SIGINT"), 1500);
  await ended;
}

mkdirSync(FOLDER, { recursive: true });
const files = { "/hello": "hello over HTTP\n" };
const rig = await Rig.start({ files });
try {
  const { guest } = rig;
  await record(rig, "udhcpc-lease-renew-release", async () => {
    const client = rig.guest.dhcpDaemon();
    await client.said(/lease of/);
    client.kill("SIGUSR1");
    await client.said(/lease of/);
    client.kill("SIGUSR2");
    await client.said(/entering released state/);
    client.kill("SIGTERM");
  });
  await rig.guest.dhcp();
  await record(rig, "udhcpc-requested-address", () => rig.guest.dhcp("-r", "10.0.2.20"));
  await rig.guest.dhcp();
  await record(rig, "dig-udp-and-tcp", async () => {
    for (const type of ["A", "AAAA", "TXT"]) await guest.run("dig", ["+short", OUTSIDE_NAME, type]);
    await guest.run("dig", ["nowhere.e2e.test"]);
    await guest.run("dig", ["+short", "long.e2e.test", "TXT"]);
  });
  await record(rig, "curl-by-name", () => guest.run("curl", ["-sS", url(OUTSIDE_NAME, "/hello")]));
  await record(rig, "curl-20-kB", () =>
    guest.run("curl", ["-sS", "-o", "/dev/null", url(OUTSIDE, "/bytes?n=20000&seed=1")]),
  );
  await record(rig, "curl-refused", () => guest.run("curl", ["-sS", `http://${OUTSIDE}:1/`]));
  await record(rig, "nc-half-close", () => guest.sh(`echo over | nc -N ${OUTSIDE} ${rig.services.ports.digest}`));
  await record(rig, "ping-fragmented", () => guest.run("ping", ["-c", "1", "-s", "4000", GATEWAY]));
} finally {
  await rig.close();
}

const script = `#!ipxe\nimgfetch --name small ${url(OUTSIDE_NAME, "/hello")}\necho E2E: done\nshell\n`;
const boot = await HostRig.startHost({
  bootfile: url(GATEWAY, "/script.ipxe"),
  files: { ...files, "/script.ipxe": script },
});
try {
  const dump = `filter-dump,id=d0,netdev=n0,file=${join(FOLDER, "ipxe-boot.pcap")}`;
  await bootIpxe(boot.host, boot.backend.socketPath, "E2E: done\n", 60_000, ["-object", dump]);
} finally {
  await boot.close();
}
