/** Guest forwards and SMB, used by real programs of a guest that may reach nothing else. */
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { agent } from "../support/e2e/agent.ts";
import { describeE2e, LIBSLIRP } from "../support/e2e/requirements.ts";
import { HTTP_PORT, OUTSIDE, Rig } from "../support/e2e/rig.ts";
import { pattern, patternSha256 } from "../support/services.ts";

const SERVER = "10.0.2.100";
const SMB = "10.0.2.4";
const SIZE = 3_000_000;

/** Zombies are not. */
function isAlive(pid: string): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "latin1"));
  } catch {
    return false;
  }
}

describeE2e("guest forwards, restricted", ["curl", "socat", "nc"], () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.online((folder) => ({
      restrict: true,
      guestfwd: [
        `tcp:${SERVER}:7-cmd:cat`,
        `tcp:${SERVER}:8-cmd:sh -c 'echo $0 says "hello to you"; echo to the log >&2' command`,
        `:${SERVER}:80-tcp:127.0.0.1:${HTTP_PORT}`,
        `tcp:${SERVER}:9-cmd:sh -c 'echo $$ | tee ${folder}/pid; exec sleep 1000'`,
      ],
    }));
  });
  afterAll(() => rig?.close());

  it("a command for each connection: what is sent comes back, end and all", async () => {
    const sent = { host: SERVER, port: 7, seed: 3, bytes: SIZE };
    expect(await agent(rig.guest, "sendThenRead", sent)).toMatchObject({ sha256: patternSha256(3, SIZE), error: null });
    const many = await agent(rig.guest, "echoMany", { host: SERVER, port: 7, count: 20, bytes: 100_000 });
    expect(many).toEqual({ right: 20, errors: [] });
  });

  it("its exit is the connection's end; what it says on the side goes to the log", async () => {
    const { stdout, code } = await rig.guest.sh(`nc -N -w 5 ${SERVER} 8 </dev/null`);
    expect({ stdout, code }).toEqual({ stdout: "command says hello to you\n", code: 0 });
    if (!LIBSLIRP) expect(rig.backend.log).toContain("to the log");
  });

  it.skipIf(LIBSLIRP)("it ends when its connection is reset (libslirp: it does not)", async () => {
    await agent(rig.guest, "abort", { host: SERVER, port: 9 });
    const pid = readFileSync(join(rig.hostRig.folder, "pid"), "utf8").trim();
    const until = performance.now() + 5_000;
    while (isAlive(pid) && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 50));
    expect(isAlive(pid)).toBe(false);
  });

  it("a TCP port of the host's", async () => {
    const result = await rig.guest.sh(`curl -sS --max-time 20 'http://${SERVER}/bytes?n=${SIZE}&seed=4' | sha256sum`);
    expect(result.stdout).toContain(patternSha256(4, SIZE));
  });

  it("and nothing else", async () => {
    expect((await rig.guest.sh(`curl -sS --max-time 5 http://${SERVER}:81/`)).code).toBe(7);
    expect((await rig.guest.sh(`curl -sS --max-time 5 http://${OUTSIDE}:${HTTP_PORT}/hello`)).code).not.toBe(0);
  });
});

describeE2e("UNIX sockets, both ways", ["nc", "socat"], () => {
  let rig: Rig;
  let sockets: string;
  beforeAll(async () => {
    rig = await Rig.online((folder) => {
      sockets = folder;
      return {
        guestfwd: [`tcp:${SERVER}:7-unix:${folder}/out`],
        hostfwd: [`unix:${folder}/in-:7777`],
      };
    });
  });
  afterAll(() => rig?.close());

  it.skipIf(LIBSLIRP)("a guest reaches a UNIX socket of the host's (QEMU: one connection for all)", async () => {
    const echo = rig.host.spawn("socat", [`UNIX-LISTEN:${sockets}/out,fork`, "EXEC:cat"], { stdio: "ignore" });
    const sent = { host: SERVER, port: 7, seed: 3, bytes: SIZE };
    await rig.host.sh(`for i in $(seq 100); do [ -S ${sockets}/out ] && break; sleep 0.05; done`);
    expect(await agent(rig.guest, "sendThenRead", sent)).toMatchObject({ sha256: patternSha256(3, SIZE), error: null });
    echo.kill();
  });

  it("a UNIX socket of the host's leads to a guest's port", async () => {
    const file = join(sockets, "sent");
    writeFileSync(file, Buffer.concat([...pattern(5, SIZE)]));
    rig.guest.spawn("socat", ["TCP-LISTEN:7777,fork", "EXEC:cat"], { stdio: "ignore" });
    await rig.guest.sh("for i in $(seq 100); do ss -ltn | grep -q :7777 && break; sleep 0.05; done");
    const { stdout } = await rig.host.sh(`nc -N -U ${sockets}/in <${file} | sha256sum`, 30_000);
    expect(stdout).toContain(patternSha256(5, SIZE));
  });
});

describeE2e("a folder over SMB", ["smbd", "smbclient"], () => {
  let rig: Rig;
  let shared: string;
  beforeAll(async () => {
    rig = await Rig.online((folder) => {
      shared = join(folder, "shared");
      mkdirSync(join(shared, "sub"), { recursive: true });
      writeFileSync(join(shared, "big"), Buffer.concat([...pattern(6, SIZE)]));
      writeFileSync(join(folder, "secret"), "outside");
      symlinkSync("../secret", join(shared, "link"));
      return { restrict: true, smb: shared };
    });
  });
  afterAll(() => rig?.close());

  const smb = (commands: string) =>
    rig.guest.sh(`cd ${rig.hostRig.folder} && smbclient -N -s /dev/null '//${SMB}/qemu' -c '${commands}'`, 40_000);

  it("is listed, read and written by Samba's client", async () => {
    const local = join(rig.hostRig.folder, "got");
    const { stdout, stderr } = await smb(`ls; get big ${local}; put ${local} sub/new`);
    expect(`${stdout}${stderr}`).toMatch(/big +[AN] +3000000/);
    const wanted = Buffer.concat([...pattern(6, SIZE)]);
    expect(readFileSync(local).equals(wanted)).toBe(true);
    expect(readFileSync(join(shared, "sub/new")).equals(wanted)).toBe(true);
  }, 60_000);

  it("ends where the folder ends", async () => {
    const local = join(rig.hostRig.folder, "stolen");
    const { stdout, stderr } = await smb(`get link ${local}`);
    expect(`${stdout}${stderr}`).toMatch(/NT_STATUS_(ACCESS_DENIED|OBJECT_NAME_NOT_FOUND)/);
  }, 60_000);
});
