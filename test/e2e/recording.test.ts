/** Runs with real guests, recorded: replayed without guest, servers or clock, the network does all of it again. */
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import net, { type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { taps } from "../../src/host/tap-device.ts";
import { replayFile } from "../../src/record/run.ts";
import { Command } from "../cli/command.ts";
import { agent } from "../support/e2e/agent.ts";
import { bootIpxe } from "../support/e2e/ipxe.ts";
import { expectReplays, recorded } from "../support/e2e/recorded.ts";
import { describeE2e, IPXE_ROM, LIBSLIRP } from "../support/e2e/requirements.ts";
import { GATEWAY, HostRig, IPV4_NAME, OUTSIDE, OUTSIDE_NAME, Rig, url } from "../support/e2e/rig.ts";
import { ServicesProcess } from "../support/e2e/services-process.ts";
import { patternSha256 } from "../support/services.ts";

const MB = 1_000_000;
const PORTS = { http: 80, echo: 7, udpEcho: 9 };

describeE2e("a recording of", ["curl", "sha256sum", "ping", "dig", IPXE_ROM], () => {
  let rig: Rig | undefined;
  let boot: HostRig | undefined;
  afterEach(async () => {
    await rig?.close();
    await boot?.close();
    rig = undefined;
    boot = undefined;
  });

  it.skipIf(LIBSLIRP).each(["on", "off"])(
    "a Linux guest's downloads, uploads, pings, queries and forwards replays without a difference, payload %s (libslirp: none)",
    async (payload) => {
      rig = await Rig.online((folder) => ({
        hostfwd: ["tcp::10080-:80", "udp::10009-:9"],
        args: ["--record", join(folder, "run.tslirp"), "--record-payload", payload],
      }));
      const { guest, hostRig, host, backend } = rig;
      const down = await guest.sh(`curl -sS --max-time 50 '${url(OUTSIDE, `/bytes?n=${8 * MB}&seed=1`)}' | sha256sum`);
      expect(down.stdout.slice(0, 64)).toBe(patternSha256(1, 8 * MB));
      const { echo: port } = rig.services.ports;
      expect(await agent(guest, "echoMany", { host: OUTSIDE, port, count: 50, bytes: 20_000 }, 55_000)).toEqual({
        right: 50,
        errors: [],
      });
      await guest.run("ping", ["-c", "2", "-i", "0.2", GATEWAY]);
      await guest.run("dig", ["+time=2", "+tries=1", OUTSIDE_NAME]);
      const inGuest = await ServicesProcess.start(guest, {
        host: "0.0.0.0",
        ports: PORTS,
        files: { "/hello": "hello" },
      });
      expect((await host.run("curl", ["-sS", "--max-time", "5", "http://127.0.0.1:10080/hello"])).stdout).toBe("hello");
      await agent(host, "udpEcho", { host: "127.0.0.1", port: 10_009, sizes: [100, 6000] });
      expect(inGuest).toBeDefined();
      const file = join(hostRig.folder, "run.tslirp");
      if (payload === "off") expect(await backend.stop()).toBe(0);
      else {
        // Killed, it has on the disk what is older than 200 ms, whatever the guest is doing.
        await new Promise((resolve) => setTimeout(resolve, 300));
        expect(await backend.stop("SIGKILL")).toBeNull();
      }
      const result = await replayFile(file);
      expect([result.difference?.message, result.crash]).toEqual([undefined, null]);
      expect(result.broken ?? "").toMatch(payload === "off" ? /^$/ : /^(?:block \d+ is cut off)?$/);
      expect(result.entries).toBeGreaterThan(5_000);
      if (payload === "off") expect(readFileSync(file).length).toBeLessThan(4 * MB);
    },
    120_000,
  );

  it.skipIf(LIBSLIRP)(
    "a Linux guest that comes online replays without a difference (libslirp: none)",
    async () => {
      rig = await Rig.online((folder) => ({ args: recorded(folder) }));
      const { guest, hostRig, backend } = rig;
      const fetched = await guest.sh(`curl -sS --max-time 20 '${url(OUTSIDE, "/bytes?n=20000&seed=1")}' | sha256sum`);
      expect(fetched.stdout.slice(0, 64)).toBe(patternSha256(1, 20_000));
      await guest.run("ping", ["-c", "1", GATEWAY]);
      await guest.run("dig", ["+time=2", "+tries=1", OUTSIDE_NAME]);
      expect(await backend.stop()).toBe(0);
      await expectReplays(hostRig.folder, "linux-online");
    },
    60_000,
  );

  it.skipIf(LIBSLIRP)(
    "a network boot with iPXE replays without a difference (libslirp: none)",
    async () => {
      const script = `#!ipxe\nimgfetch ${url(IPV4_NAME, "/hello")}\necho E2E: done\nshell\n`;
      boot = await HostRig.startHost((folder) => ({
        bootfile: "script.ipxe",
        files: { "/hello": "hello over HTTP\n" },
        tftp: { "script.ipxe": script },
        args: recorded(folder),
      }));
      await bootIpxe(boot.host, boot.backend.socketPath, "E2E: done\n", 90_000, []);
      expect(await boot.backend.stop()).toBe(0);
      await expectReplays(boot.folder, "ipxe-boot");
    },
    120_000,
  );
});

describe.runIf(taps() !== null && existsSync("/dev/net/tun"))("a recording of a command", () => {
  it("that sends much at once replays without a difference", async () => {
    const folder = mkdtempSync(join(tmpdir(), "run-recording-"));
    const server = net.createServer((socket) => void socket.pipe(socket)).listen(0, "127.0.0.1");
    try {
      await once(server, "listening");
      const file = join(folder, "run.tslirp");
      const script = `
import socket
s = socket.create_connection(("10.0.2.2", ${(server.address() as AddressInfo).port}))
for size in 33000, 100000:
    s.sendall(b"y" * size)
    while size: size -= len(s.recv(65536))`;
      const { status, stderr } = await new Command(["run", "--record", file, "--", "python3", "-c", script]).finished;
      expect([status, stderr]).toEqual([0, ""]);
      const said = await new Command(["replay", file]).finished;
      expect(said.stdout).toMatch(/^No difference\.$/m);
    } finally {
      server.close();
      rmSync(folder, { recursive: true });
    }
  });
});
