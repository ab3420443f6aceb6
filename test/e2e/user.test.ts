/** `--user`: what root opened goes on to work, and root is gone. */
import { chownSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { ApiClient } from "../../src/cli/ctl/client.ts";
import { findUser } from "../../src/cli/rights.ts";
import { Command, temporaryFolder } from "../cli/command.ts";
import { agent } from "../support/e2e/agent.ts";
import { describeE2e, LIBSLIRP } from "../support/e2e/requirements.ts";
import { GATEWAY, Rig, url } from "../support/e2e/rig.ts";
import { patternSha256 } from "../support/services.ts";

/** A user who has nothing, on every Debian. Not nobody: that is who Samba takes guests for, and lets write nothing. */
const DAEMON = 1;
const SMB = "10.0.2.4";

const status = (pid: number, thread: number | string): Record<string, string> =>
  Object.fromEntries(
    readFileSync(`/proc/${pid}/task/${thread}/status`, "latin1")
      .split("\n")
      .map((line) => line.split(":\t") as [string, string]),
  );

describeE2e("rights given up", ["curl", "smbd", "smbclient", "socat", "nc"], () => {
  describe.skipIf(LIBSLIRP)("(libslirp: QEMU's own -run-with)", () => {
    let rig: Rig;
    let shared: string;
    beforeAll(async () => {
      rig = await Rig.online((folder) => {
        shared = join(folder, "shared");
        mkdirSync(shared);
        // The rig's folder is root's alone; what the user is to write in is the user's.
        chownSync(folder, DAEMON, DAEMON);
        chownSync(shared, DAEMON, DAEMON);
        const args = ["--user", "daemon:daemon", "--api", `unix:${folder}/api`, "--capture", `${folder}/capture`];
        const hostfwd = ["tcp:127.0.0.1:80-:7777", `unix:${folder}/in-:7777`];
        return { files: { "/hello": "hello\n" }, hostfwd, smb: shared, args };
      });
    });
    afterAll(() => rig?.close());

    it("every thread is that user's, of its groups only, and without capabilities", () => {
      const { pid } = rig.backend;
      for (const thread of readdirSync(`/proc/${pid}/task`)) {
        const { Uid, Gid, Groups, CapEff, CapPrm } = status(pid, thread);
        const four = Array(4).fill(DAEMON).join("\t");
        expect({ Uid, Gid, CapEff, CapPrm }).toEqual({
          ...{ Uid: four, Gid: four, CapEff: "0000000000000000", CapPrm: "0000000000000000" },
        });
        expect(Groups!.trim()).toBe(String(DAEMON));
      }
      expect(rig.backend.log).toContain("root's rights are given up: now daemon");
    });

    it("the guest is online, and a forward of port 80 leads to it, as does one of a UNIX socket", async () => {
      const hello = await rig.guest.run("curl", ["-sS", "--max-time", "20", url(GATEWAY, "/hello")]);
      expect(hello.stdout).toBe("hello\n");
      rig.guest.spawn("socat", ["TCP-LISTEN:7777,fork", "EXEC:cat"], { stdio: "ignore" });
      await rig.guest.sh("for i in $(seq 100); do ss -ltn | grep -q :7777 && break; sleep 0.05; done");
      const sent = { host: "127.0.0.1", port: 80, seed: 3, bytes: 500_000 };
      const { sha256, error } = await agent(rig.host, "sendThenRead", sent);
      expect({ sha256, error }).toEqual({ sha256: patternSha256(3, 500_000), error: null });
      const { stdout } = await rig.host.sh(`echo hello | nc -N -w 10 -U ${rig.hostRig.folder}/in`);
      expect(stdout).toBe("hello\n");
    });

    it("its sockets and files are the user's, and nobody else's to open", async () => {
      for (const name of ["net.sock", "api", "in", "capture"]) {
        const { uid, mode } = lstatSync(join(rig.hostRig.folder, name));
        expect({ name, uid, mode: mode & 0o777 }).toEqual({ name, uid: DAEMON, mode: 0o600 });
      }
      const api = new ApiClient({ kind: "unix", path: join(rig.hostRig.folder, "api") }, null);
      await expect(api.post("/v1/forwards", { rule: "81:81" })).rejects.toThrow(
        /permission denied; a port below 1024 is for root/,
      );
    });

    it("Samba serves as that user", async () => {
      const line = `cd ${rig.hostRig.folder} && echo hello >sent && smbclient -N -s /dev/null '//${SMB}/qemu' -c 'put sent new'`;
      const { stdout, stderr } = await rig.guest.sh(line, 40_000);
      expect(`${stdout}${stderr}`).toContain("putting file");
      expect(statSync(join(shared, "new")).uid).toBe(DAEMON);
    }, 60_000);

    it("it ends in order, and takes its sockets along where the user may", async () => {
      expect(await rig.backend.stop()).toBe(0);
      expect(readdirSync(rig.hostRig.folder)).not.toContain("net.sock");
      expect(readdirSync(rig.hostRig.folder)).not.toContain("api");
    });
  });

  it.skipIf(LIBSLIRP)("workers give them up, too, before a guest can come", async () => {
    const folder = temporaryFolder();
    chownSync(folder, DAEMON, DAEMON);
    const where = ["--listen", `unix:${folder}/n`, "--api", `unix:${folder}/api`, "--capture", `${folder}/capture`];
    const command = new Command(["--workers", "2", "--user", "daemon:daemon", "--log-json", ...where]);
    onTestFinished(async () => {
      await command.stop("SIGKILL");
      rmSync(folder, { recursive: true });
    });
    await command.printed(/-netdev/);
    const workers = [...command.stderr.matchAll(/"pid":(\d+),"msg":"worker ready"/g)].map(([, pid]) => Number(pid));
    expect(workers).toHaveLength(2);
    for (const pid of [command.child.pid!, ...workers]) {
      const { Uid, Gid, CapEff } = status(pid, pid);
      expect({ Uid, Gid, CapEff }).toMatchObject({ Uid: "1\t1\t1\t1", Gid: "1\t1\t1\t1", CapEff: "0000000000000000" });
    }
    expect(readdirSync(folder).sort()).toEqual(["api", "api.1", "api.2", "capture.1", "capture.2", "n"]);
    for (const name of readdirSync(folder)) expect(lstatSync(join(folder, name)).uid, name).toBe(DAEMON);
    expect((await command.stop()).status).toBe(0);
    expect(readdirSync(folder).sort()).toEqual(["capture.1", "capture.2"]);
  });

  it.skipIf(LIBSLIRP).each([
    ["nobodyx", "expected a user of this machine"],
    ["nobody:nogroupx", "expected a group of this machine"],
    ["nobody:", "expected USER or USER:GROUP, names or numbers"],
    ["root", "expected another user than root"],
    ["4242424", "expected USER:GROUP, as this number is no user of this machine"],
  ])("--user %s is refused in a line", (user, line) => {
    expect(() => findUser(user)).toThrow(`--user: got "${user}"; ${line}`);
    expect([process.getuid?.(), process.geteuid?.(), process.getegid?.()]).toEqual([0, 0, 0]);
  });
});
