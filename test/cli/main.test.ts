import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import type { Duplex } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { arpRequest, Command, isGatewayReply, prefixed, temporaryFolder } from "./command.ts";

let folder: string;
const started: Command[] = [];

function tslirp(args: readonly string[], fd3 = false): Command {
  const command = new Command(args, { XDG_RUNTIME_DIR: folder }, fd3);
  started.push(command);
  return command;
}

beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(async () => {
  await Promise.all(started.splice(0).map((command) => command.stop("SIGKILL")));
  fs.rmSync(folder, { recursive: true });
});

/** Asks for the gateway over a cable and resolves with the answering frame. */
const IPV6 = 0x86dd;

function ask(cable: Duplex): Promise<Buffer> {
  cable.write(prefixed(arpRequest()));
  return new Promise((resolve) => {
    let seen = Buffer.alloc(0);
    cable.on("data", (chunk: Buffer) => {
      seen = Buffer.concat([seen, chunk]);
      while (seen.length >= 4 && seen.length >= 4 + seen.readUInt32BE(0)) {
        const frame = seen.subarray(4, 4 + seen.readUInt32BE(0));
        seen = seen.subarray(4 + frame.length);
        // The router advertises itself when it likes.
        if (frame.readUInt16BE(12) !== IPV6) resolve(frame);
      }
    });
  });
}

function connected(at: string): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ path: at }, () => resolve(socket));
    socket.once("error", reject);
  });
}

describe("a bad argument", () => {
  it.each([
    [["--net", "10.0.2.0/33"], '--net: got "10.0.2.0/33"; expected an IPv4 network'],
    [["serve", "-p", "22"], '--publish: got "22"; expected [GUEST:][HOST:]PORT'],
    [["--netdev", "user,smb=/no/such"], '--netdev smb: got "/no/such"; expected a folder that exists'],
    [["--allow", "tcp any:x", "--default", "deny"], '--allow: got "tcp any:x"; expected ports from 1 to 65535'],
    [["--deny", "any"], "--default: got nothing; expected deny or allow: what becomes of everything"],
    [["--default", "perhaps"], '--default: got "perhaps"; expected allow or deny'],
    [
      ["--rules", "/nowhere"],
      '--rules: got "/nowhere"; expected a file that can be read (there is no such file or folder)',
    ],
    [["--connect", "ws://127.0.0.1:1/"], '--connect: got "ws://127.0.0.1:1/"; expected unix:PATH'],
    [["--listen", "wss://127.0.0.1:1/"], "reverse proxy"],
    [["--ws-token", "x"], '--ws-token: got "***"; expected --listen ws://HOST:PORT beside it'],
    [
      ["--listen", "ws://127.0.0.1:0", "--ws-origin", "example.org"],
      '--ws-origin: got "example.org"; expected a web page',
    ],
    [["--listen", "ws://127.0.0.1:0", "--ws-token", "a b"], '--ws-token: got "***"; expected a token'],
    [["--listen", "ws://127.0.0.1:0", "--workers", "2"], "WebSockets are not handed on"],
    [["--per-guest", "-p", "2222:22"], '--publish: got "2222:22"; expected none with --per-guest'],
    [["--guest-bytes", "20000000"], '--guest-bytes: got "20000000"; expected --per-guest beside it'],
    [["--per-guest", "--guest-bytes", "5"], '--guest-bytes: got "5"; expected a whole number of bytes from 16777216'],
    [["--guest-idle", "5"], '--guest-idle: got "5"; expected --per-guest beside it'],
    [["--record-payload", "off"], '--record-payload: got "off"; expected --record FILE beside it'],
    [["--capture-filter", "tcp"], '--capture-filter: got "tcp"; expected --capture FILE beside it'],
    [["--capture-keep", "3"], '--capture-keep: got "3"; expected --capture FILE beside it'],
    [["--per-guest", "--guest-idle", "x"], '--guest-idle: got "x"; expected a whole number of seconds'],
    [["--mode", "bridge"], '--mode: got "bridge"; expected shared, host-only, isolated, bridged'],
    [["--mode", "bridged"], "--uplink: got nothing; expected where mode bridged leads"],
    [["--uplink", "tap0"], '--uplink: got "tap0"; expected vxlan://'],
    [["--mode", "shared", "--restrict"], '--mode: got "shared"; expected isolated with restrict on'],
    [["--listen", "nowhere"], '--listen: got "nowhere"'],
    [["--lisen", "unix:/x"], "unknown option '--lisen'"],
    [["--workers", "2", "-p", "2222:22"], '--publish: got "2222:22"; expected none with --workers'],
    [["--capture", "/nowhere/x"], '--capture: got "/nowhere/x"; expected a file in a folder that exists'],
    [["--capture", "/tmp"], '--capture: got "/tmp"; expected a file, not a folder'],
    [
      ["--capture", "-"],
      '--capture: got "-"; expected a file: what is printed would stand in it (ctl capture start - is for pipes)',
    ],
    [["--mtu"], "option '--mtu <bytes>' argument missing"],
    [["nonsense"], '"nonsense" is no command; tslirp --help lists them'],
    [["srve"], '"srve" is no command; did you mean serve?'],
    [["--listen", "/run/x.sock"], '--listen: got "/run/x.sock"; expected unix:PATH, tcp:HOST:PORT'],
    [["--api", "8080"], '--api: got "8080"; expected unix:PATH or tcp:127.0.0.1:PORT'],
    [["run"], "run: got nothing; expected -- and a command, like -- npm install"],
    [["replay"], "missing required argument 'file' (see tslirp replay --help)"],
    [["ctl", "publish", "add"], "missing required argument 'rules' (see tslirp ctl publish add --help)"],
    [["demo", "--fast"], "unknown option '--fast'"],
  ])("ends %j with status 2 and one line that names it", async (args, line) => {
    const { status, stdout, stderr } = await tslirp(args).finished;
    expect(status).toBe(2);
    expect(stdout).toBe("");
    expect(stderr).toMatch(/^tslirp: [^\n]+\n$/);
    expect(stderr).toContain(line);
  });
});

describe("help and version", () => {
  it("are printed, status 0", async () => {
    const [help, serveHelp, version] = await Promise.all(
      [["--help"], ["serve", "--help"], ["--version"]].map((args) => tslirp(args).finished),
    );
    const options = "listen connect fd netdev net host dns dhcpstart hostname domainname dnssearch restrict bootfile";
    const more =
      "ipv4 ipv6 ipv6-net ipv6-host ipv6-dns tftp tftp-server-name smb smbserver guestfwd hostfwd publish mtu dns-upstream host-loopback outbound-addr log-level log-json";
    for (const { status, stdout, stderr } of [help!, serveHelp!]) {
      expect(status).toBe(0);
      expect(stderr).toBe("");
      for (const option of `${options} ${more}`.split(" ")) expect(stdout).toMatch(new RegExp(` --${option}\\b`));
    }
    expect(help!.stdout).toMatch(/serve .*\n.*demo /s);
    expect(version).toMatchObject({ status: 0, stderr: "" });
    expect(version!.stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe("serve", () => {
  it.each(["SIGTERM", "SIGINT"] as const)(
    "waits at a private socket, serves a guest, and ends at %s with 0",
    async (signal) => {
      const command = tslirp([]);
      const [, at = ""] = await command.printed(
        /^ {2}-netdev stream,id=n0,server=off,addr\.type=unix,addr\.path=(\S+) -device virtio-net-pci,netdev=n0$/m,
      );
      expect(at).toBe(path.join(folder, "tslirp", "n0.sock"));
      expect(fs.statSync(at).mode & 0o777).toBe(0o600);
      expect(fs.statSync(path.dirname(at)).mode & 0o777).toBe(0o700);
      const guest = await connected(at);
      expect(isGatewayReply(await ask(guest))).toBe(true);
      const { status } = await command.stop(signal);
      expect(status).toBe(0);
      expect(fs.existsSync(at)).toBe(false);
      guest.destroy();
    },
  );

  it("ends at SIGHUP, too, where there are no rules to read again, and leaves no socket", async () => {
    const at = path.join(folder, "h.sock");
    const command = tslirp(["--listen", `unix:${at}`]);
    await command.printed(/-netdev/);
    expect((await command.stop("SIGHUP")).status).toBe(0);
    expect(fs.existsSync(at)).toBe(false);
  });

  it("ends with the npm that started it, whose shell passes no signal on", async () => {
    const at = path.join(folder, "n.sock");
    const npm = spawn("npm", ["start", "--", "--listen", `unix:${at}`], { stdio: ["ignore", "pipe", "ignore"] });
    // Closed when the last process that has it is gone.
    const closed = once(npm, "close");
    await new Promise<void>((resolve) => {
      npm.stdout.on("data", (text: Buffer) => text.includes("-netdev") && resolve());
    });
    npm.kill();
    await closed;
    expect(fs.existsSync(at)).toBe(false);
  });

  it("reads its rules again on SIGHUP, and keeps those in force when the file is wrong", async () => {
    const file = path.join(folder, "rules");
    const write = (text: string): void => fs.writeFileSync(file, text);
    write("deny any:25\ndefault allow\n");
    const command = tslirp(["--allow", "*.debian.org:80", "--rules", file]);
    await command.printed(/-netdev/);
    command.child.kill("SIGHUP");
    await command.logged(/rules read again/);
    write("deny any:25\ndefault nothing\n");
    command.child.kill("SIGHUP");
    await command.logged(/rules as before: \S+rules:2: got "default nothing"/);
    expect((await command.stop()).status).toBe(0);
  });

  it("reads included files again on SIGHUP, and tells the place of what is wrong in one", async () => {
    const file = path.join(folder, "main.rules");
    const included = path.join(folder, "more.rules");
    fs.writeFileSync(file, "include more.rules\ndefault deny\n");
    fs.writeFileSync(included, "allow tcp any:25\n");
    const command = tslirp(["--rules", file]);
    await command.printed(/-netdev/);
    command.child.kill("SIGHUP");
    await command.logged(/rules read again/);
    fs.writeFileSync(included, "allow tcp any:25\nallow tcp any:0\n");
    command.child.kill("SIGHUP");
    await command.logged(/rules as before: \S+more\.rules:2: got "allow tcp any:0"/);
    expect((await command.stop()).status).toBe(0);
  });

  it("leaves a live socket alone: one line, status 1", async () => {
    const at = path.join(folder, "a.sock");
    const first = tslirp(["--listen", `unix:${at}`]);
    await first.printed(/-netdev/);
    const second = await tslirp(["--listen", `unix:${at}`]).finished;
    expect(second.status).toBe(1);
    expect(second.stdout).toBe("");
    expect(second.stderr).toMatch(/^tslirp: cannot listen on unix:\S+a\.sock: another process serves it\n$/);
    const guest = await connected(at);
    expect(isGatewayReply(await ask(guest))).toBe(true);
    guest.destroy();
  });

  it("replaces a stale socket", async () => {
    const at = path.join(folder, "b.sock");
    const first = tslirp(["--listen", `unix:${at}`]);
    await first.printed(/-netdev/);
    await first.stop("SIGKILL");
    expect(fs.existsSync(at)).toBe(true);
    await tslirp(["--listen", `unix:${at}`]).printed(/-netdev/);
    (await connected(at)).destroy();
  });

  it("says which forward is taken, status 1, and no guest could have come", async () => {
    const server = net.createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as net.AddressInfo;
    const { status, stdout, stderr } = await tslirp(["-p", `${port}:22`]).finished;
    server.close();
    expect(status).toBe(1);
    expect(stdout).toBe("");
    expect(stderr).toMatch(/^tslirp: [^\n]*\n$/);
    expect(stderr).toMatch(/another program has this port/);
    expect(stderr).toContain(`127.0.0.1:${port}`);
    expect(fs.existsSync(path.join(folder, "tslirp"))).toBe(false);
  });

  it("has its forwards open when the socket appears, and tells the port that was taken", async () => {
    const command = tslirp(["--hostfwd", "tcp:127.0.0.1:0-:22", "--log-json"]);
    await command.printed(/-netdev/);
    const line = command.stderr.split("\n").find((each) => each.includes("forward")) ?? "{}";
    const [, port = ""] = /tcp 127\.0\.0\.1:(\d+) -> 10\.0\.2\.15:22/.exec(JSON.parse(line).msg) ?? [];
    expect(Number(port)).toBeGreaterThan(0);
    // Without a guest the client is reset, which it may hear before it is told that it is connected.
    const client = net.connect(Number(port), "127.0.0.1");
    const outcome = await new Promise((resolve) =>
      client.once("connect", () => resolve("connected")).once("error", ({ message }) => resolve(message)),
    );
    expect(outcome).toMatch(/^connected$|ECONNRESET/);
    client.destroy();
  });

  it("listens at several addresses, a port of 0 being the one taken", async () => {
    const at = path.join(folder, "c,d.sock");
    const command = tslirp(["--listen", `unix:${at}`, "--listen", "tcp:127.0.0.1:0", "--netdev", "user,id=net7"]);
    const [, port = ""] = await command.printed(
      /stream,id=net7,server=off,addr\.type=inet,addr\.host=127\.0\.0\.1,addr\.port=(\d+)/,
    );
    expect(Number(port)).toBeGreaterThan(0);
    expect(command.stdout).toContain(`addr.path=${at.replace(",", ",,")} `);
  });

  it("serves an inherited socket and ends with 0 when that does", async () => {
    const command = tslirp(["--fd", "3"], true);
    const cable = command.child.stdio[3] as unknown as Duplex;
    cable.on("error", () => {});
    expect(isGatewayReply(await command.lives(ask(cable)))).toBe(true);
    cable.end();
    expect(await command.finished).toMatchObject({ status: 0, stdout: "" });
  });

  it("ends with 1 and one line when the descriptor is none", async () => {
    const { status, stderr } = await tslirp(["--fd", "77"]).finished;
    expect(status).toBe(1);
    expect(stderr).toMatch(/^tslirp: cannot use descriptor 77[^\n]*\n$/);
  });

  it("dials a QEMU that listens", async () => {
    const at = path.join(folder, "q.sock");
    const server = net.createServer().listen(at);
    const dialled = new Promise<net.Socket>((resolve) => server.once("connection", resolve));
    const command = tslirp(["--connect", `unix:${at}`]);
    const cable = await command.lives(dialled);
    expect(isGatewayReply(await command.lives(ask(cable)))).toBe(true);
    expect(await command.stop()).toMatchObject({ status: 0, stdout: "" });
    cable.destroy();
    server.close();
  });
});
