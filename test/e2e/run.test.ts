/** `tslirp run`: real commands in namespaces of their own, started by root and by an ordinary user. */
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import net, { type AddressInfo } from "node:net";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { taps } from "../../src/host/tap-device.ts";
import { Command, type Finished } from "../cli/command.ts";
import { expectReplays, recorded } from "../support/e2e/recorded.ts";
import { works } from "../support/e2e/requirements.ts";
import { freePort } from "../support/free-port.ts";
import { PROGRAM } from "../support/program.ts";

const NOBODY = 65_534;
const able =
  taps() !== null && fs.existsSync("/dev/net/tun") && works("unshare", "--user", "--keep-caps", "--net", "true");
const root = process.getuid?.() === 0;
const drop = ["--reuid", String(NOBODY), "--regid", String(NOBODY), "--clear-groups", "--"];
const both = able && root && works("setpriv", ...drop, process.execPath, ...PROGRAM, "--version");

/** Folders for temporary files of their own, which show what is left behind. */
const folder = fs.mkdtempSync("/tmp/run-test-");
fs.chmodSync(folder, 0o777);
const left = (): string[] => fs.readdirSync(folder);

function start(args: readonly string[]): Command {
  return new Command(["run", ...args], { TMPDIR: folder });
}

function run(args: readonly string[], script: string): Promise<Finished> {
  return start([...args, "--", "sh", "-c", script]).finished;
}

/** The same by another user. */
function runAs(user: "root" | "nobody", args: readonly string[], script: string): Promise<Finished> {
  if (user === "root") return run(args, script);
  const main = [...PROGRAM, "run", ...args, "--", "sh", "-c", script];
  const words = ["setpriv", ...drop, process.execPath, ...main].map((word) => `'${word.replaceAll("'", "'\\''")}'`);
  // Through Node, which is what `Command` starts.
  const program = [
    "-e",
    `process.exit(require("child_process").spawnSync("sh", ["-c", process.argv[1]], { stdio: "inherit" }).status)`,
  ];
  return new Command([`exec ${words.join(" ")}`], { TMPDIR: folder, HOME: folder }, false, program).finished;
}

const body = Buffer.alloc(5_000_000, "0123456789abcdef");
const sha = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
const server = http.createServer(async (request, response) => {
  if (request.url === "/body") return void response.end(body);
  const hash = createHash("sha256");
  for await (const part of request) hash.update(part as Buffer);
  response.end(request.method === "PUT" ? hash.digest("hex") : "hello");
});
let port = 0;
beforeAll(async () => {
  server.listen(0, "::");
  await once(server, "listening");
  ({ port } = server.address() as AddressInfo);
});
afterAll(() => {
  server.close();
  server.closeAllConnections();
  fs.rmSync(folder, { recursive: true, force: true });
});

describe.runIf(both).each(["root", "nobody"] as const)("a command of %s's", (user) => {
  test("is who it was, has both families set up before it starts, a resolver, ping, and bytes that arrive whole, recorded", async () => {
    const recording = fs.mkdtempSync("/tmp/run-test-");
    fs.chmodSync(recording, 0o777);
    const uid = user === "root" ? 0 : NOBODY;
    const script = `
      id -u; ip -br -4 addr show tap0 | grep -o '10[.0-9/]*'; grep -c nameserver /etc/resolv.conf
      ping -c 1 -W 5 10.0.2.2 >/dev/null && ping -6 -c 1 -W 5 fec0::2 >/dev/null && echo pings
      for host in 10.0.2.2 '[fec0::2]'; do
        curl -sS --max-time 30 http://$host:${port}/body | sha256sum | cut -c 1-64
        head -c 5000000 /dev/zero | curl -sS --max-time 30 -T - http://$host:${port}/; echo
      done
      ip link set tap0 down 2>/dev/null || echo fixed
      exit 9`;
    const { status, stdout, stderr } = await runAs(user, ["--hostname", "box", ...recorded(recording)], script);
    const zeros = sha(Buffer.alloc(5_000_000));
    expect(stdout.trim().split("\n"), stderr).toEqual([
      ...[String(uid), "10.0.2.15/24", "2", "pings", sha(body), zeros, sha(body), zeros, "fixed"],
    ]);
    expect([status, stderr]).toEqual([9, ""]);
    expect(left()).toEqual([]);
    await expectReplays(recording, user === "root" ? "tslirp-run" : null);
    fs.rmSync(recording, { recursive: true });
  });
});

describe.runIf(both).each(["root", "nobody"] as const)("a command of %s's has no right to change", (user) => {
  test("its resolver and its hosts: by no path, nor in namespaces of its own for others", async () => {
    const script = `
      before=$(cat /etc/resolv.conf /etc/hosts)
      ls -A "$TMPDIR"
      for file in /etc/resolv.conf /etc/hosts; do
        chmod 666 $file; echo nameserver 192.0.2.99 >>$file
      done
      for file in /etc/resolv.conf /etc/hosts; do
        rm -f $file; umount $file; mount -o remount,bind,rw $file
        unshare -Urm sh -c "umount $file; mount -o remount,rw $file; mount -o remount,bind,rw $file; echo nameserver 192.0.2.99 >>$file"
      done
      [ "$before" = "$(cat /etc/resolv.conf /etc/hosts)" ] && echo same; stat -c %a /etc/resolv.conf /etc/hosts`;
    const { stdout } = await runAs(user, [], `exec 2>/dev/null; ${script}`);
    expect(stdout.trim().split("\n")).toEqual(["same", "444", "444"]);
  });

  test("the ports that others of its user have said to hold, nor the folders in which they say so", async () => {
    const uid = user === "root" ? 0 : NOBODY;
    const around = `/tmp/tslirp-${uid}`;
    const ports = `${around}/ports`;
    const other = spawn("sleep", ["60"]);
    const file = `${ports}/${other.pid}.ports`;
    for (const each of [around, ports]) {
      fs.mkdirSync(each, { mode: 0o700, recursive: true });
      fs.chownSync(each, uid, uid);
    }
    fs.writeFileSync(file, "1080");
    fs.chownSync(file, uid, uid);
    const script = `
      ls -A ${ports}; rm -rf ${ports}; mv ${ports} ${around}/x; mv ${around} ${around}.moved; umount ${ports} ${around}; rm -f ${file}
      unshare -Urm sh -c "umount ${ports}; umount ${around}; rm -f ${file}; mount --bind /tmp /mnt && rm -f /mnt/tslirp-${uid}/ports/*"
      touch ${ports}/own && ls ${ports}`;
    const { stdout } = await runAs(user, [], `exec 2>/dev/null; ${script}`);
    const kept = fs.existsSync(file) && fs.readFileSync(file, "utf8");
    other.kill();
    fs.rmSync(file, { force: true });
    expect([stdout, kept]).toEqual(["own\n", "1080"]);
  });

  test("the kernel's settings of its network", async () => {
    const off = "echo 1 >/proc/sys/net/ipv6/conf/tap0/disable_ipv6";
    const script = `
      find /proc/sys/net /sys/class/net/*/ -type f -writable | grep -v ^/sys; ${off}
      umount /proc/sys; mount -o remount,bind,rw /proc/sys; ${off}
      unshare -Urm sh -c "umount /proc/sys; mount -o remount,bind,rw /proc/sys; ${off}; mount -t proc p /proc; ${off}"
      unshare -Urmpf sh -c "${off}; mount -t proc p /proc; ${off}; mount -t proc p /mnt && echo 1 >/mnt/sys/net/ipv6/conf/tap0/disable_ipv6"
      for file in /sys/class/net/lo/mtu /sys/class/net/lo/tx_queue_len; do cp $file /tmp/value.$$; cat /tmp/value.$$ >$file && echo $file; done
      ip -6 addr show dev tap0 | grep -c fec0; ip -6 route show default | wc -l`;
    const { stdout } = await runAs(user, [], `exec 2>/dev/null; ${script}`);
    expect(stdout.trim().split("\n")).toEqual(["1", "1"]);
  });

  test("who looks names up for it: daemons of the host stay out of reach when they start again, and a resolver that was theirs is ours", async () => {
    const daemons = ["nscd/socket", "avahi-daemon/socket", "systemd/resolve/io.systemd.Resolve"];
    const sockets = daemons.map((each) => `/run/${each}`);
    const names = sockets.join(" ");
    const bind = `for s in ${names}; do rm -f $s; socat UNIX-LISTEN:$s,fork,mode=777 SYSTEM:'echo reached' & echo $! >>/run/signs/pids; done; for s in ${names}; do until [ -S $s ]; do sleep 0.05; done; done`;
    const dial = `for s in ${names}; do socat -u UNIX-CONNECT:$s - 2>/dev/null; done`;
    const inside = `
      grep -c 10.0.2.3 /etc/resolv.conf /run/systemd/resolve/resolv.conf; ${dial}
      echo >/run/signs/up; until [ -e /run/signs/again ]; do sleep 0.05; done; ${dial}
      mkdir /run/nscd/x 2>/dev/null || ls -A /run/nscd /run/avahi-daemon`;
    // The host's /run and /etc are the test's own, for its processes alone.
    const host = `
      mount --make-rprivate /; mount -t tmpfs t /run; mkdir -p /run/nscd /run/avahi-daemon /run/systemd/resolve /run/etc /run/signs; chmod 777 /run/signs
      cp -r /etc/passwd /etc/group /etc/nsswitch.conf /etc/ld.so.cache /etc/hosts /etc/ssl /run/etc/
      echo nameserver 192.0.2.53 >/run/systemd/resolve/stub-resolv.conf; ln -s ../run/systemd/resolve/stub-resolv.conf /run/etc/resolv.conf; mount --bind /run/etc /etc
      ${bind}; ${dial}
      { until [ -e /run/signs/up ]; do sleep 0.05; done; kill $(cat /run/signs/pids); ${bind}; echo >/run/signs/again; } &
      "$@"`;
    const main = [...(user === "root" ? [] : ["setpriv", ...drop]), process.execPath, ...PROGRAM];
    const program = [
      "-e",
      `process.exit(require("child_process").spawnSync("timeout", process.argv.slice(1), { stdio: "inherit" }).status)`,
    ];
    const alone = ["40", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    const args = ["--", ...alone, "bash", "-c", host, "host", ...main, "run", "--", "sh", "-c", inside];
    const { stdout, stderr } = await new Command(args, { TMPDIR: folder, HOME: folder }, false, program).finished;
    expect(stdout.trim().split("\n"), stderr).toEqual([
      ...["reached", "reached", "reached"],
      ...["/etc/resolv.conf:1", "/run/systemd/resolve/resolv.conf:1"],
      ...["/run/avahi-daemon:", "", "/run/nscd:"],
    ]);
  });
});

describe.runIf(able)("tslirp run", () => {
  test("tells what keeps a command from starting as a shell does", async () => {
    const absent = await start(["--", "no-such-command"]).finished;
    expect([absent.status, absent.stderr]).toEqual([127, "tslirp: run no-such-command: not found\n"]);
    const file = await start(["--", "/etc/passwd"]).finished;
    expect([file.status, file.stderr]).toEqual([126, "tslirp: run /etc/passwd: not executable\n"]);
    const none = await start([]).finished;
    expect([none.status, none.stderr]).toEqual([
      2,
      "tslirp: run: got nothing; expected -- and a command, like -- npm install\n",
    ]);
  });

  test("tells the command nothing of its other arguments, which may have passwords in them", async () => {
    const flags = ["--proxy", "http://user:secret@192.0.2.1:3128", "--default", "allow", "--"];
    const { status, stdout } = await new Command(["run", ...flags, "cat", "/proc/1/cmdline"]).finished;
    expect([status, stdout.split("\0").slice(-3)]).toEqual([0, ["cat", "/proc/1/cmdline", ""]]);
    expect(stdout).not.toContain("secret");
  });

  test("takes the first word that is no option's for the command, also one before --", async () => {
    const { status, stdout } = await new Command(["run", "echo", "--", "-n"]).finished;
    expect([status, stdout]).toEqual([0, "-- -n\n"]);
  });

  test("gives its device no address but its own, whichever of both is there first", async () => {
    const script = "cd /proc/sys/net/ipv6/conf/tap0 && cat accept_ra accept_dad autoconf";
    const { stdout } = await new Command(["run", "--", "sh", "-c", script]).finished;
    expect(stdout).toBe("0\n0\n0\n");
  });

  test("applies rules, and ends what the command leaves behind", async () => {
    const other = http.createServer((_request, response) => response.end("other"));
    other.listen(0, "127.0.0.1");
    await once(other, "listening");
    const refused = (other.address() as AddressInfo).port;
    const mark = `sleep ${100_000 + process.pid}`;
    const { status, stdout } = await run(
      ["--allow", `tcp 10.0.2.2:${port}`, "--default", "deny"],
      `curl -sS http://10.0.2.2:${port}/; curl -s --max-time 5 http://10.0.2.2:${refused}/ || echo refused
       setsid ${mark} & kill -TERM $$`,
    );
    expect([status, stdout]).toEqual([128 + 15, "hellorefused\n"]);
    expect(execFileSync("ps", ["axo", "args"], { encoding: "utf8" }).split("\n")).not.toContain(mark);
    other.close();
  });

  test("takes its user's umask and descriptors as they are, and no standard input or output", async () => {
    const words = [process.execPath, ...PROGRAM, "run", "--", "sh", "-c", `'umask; ulimit -n; cat; exit 3'`].join(" ");
    const script = `ulimit -n 64; umask 777; ${words} <&-; ${words.replace("umask;", "echo;")} <&- >&-; echo $?`;
    const program = ["-e", `require("child_process").spawnSync("sh", ["-c", process.argv[1]], { stdio: "inherit" })`];
    const { stdout, stderr } = await new Command([script], { TMPDIR: folder }, false, program).finished;
    expect([stdout, stderr]).toEqual(["0777\n64\n3\n", expect.not.stringContaining("tslirp")]);
    expect(left()).toEqual([]);
  });

  test.each([
    ["a full disk", "2>/dev/full"],
    ["a reader that has gone", "2> >(:)"],
    ["nothing", "2>&-"],
  ])("runs to its own end where standard error is %s", async (_what, to) => {
    const words = [process.execPath, ...PROGRAM, "run", "--default", "deny", "--", "sh", "-c"].join(" ");
    const command = "exec 2>/dev/null; curl -s -m 3 http://192.0.2.7/; curl -s -m 3 http://192.0.2.8/; echo on; exit 9";
    const spawned = `require("child_process").spawnSync("bash", ["-c", process.argv[1]], { stdio: "inherit" })`;
    const { stdout } = await new Command(
      [`sleep 0.1; ${words} '${command}' ${to}; echo $?`],
      { TMPDIR: folder },
      false,
      ["-e", spawned],
    ).finished;
    expect(stdout).toBe("on\n9\n");
  });

  test("gets nothing of what whoever started it has left open", async () => {
    const words = [process.execPath, ...PROGRAM, "run", "--", "sh", "-c"].join(" ");
    const command = "ls /proc/self/fd";
    const script = `exec 20<>/dev/tcp/127.0.0.1/${port} 251</etc; ${words} '${command}'`;
    const spawned = `require("child_process").spawnSync("bash", ["-c", process.argv[1]], { stdio: "inherit" })`;
    const { stdout } = await new Command([script], { TMPDIR: folder }, false, ["-e", spawned]).finished;
    expect(stdout).toBe("0\n1\n2\n3\n");
  });

  test("is told of a hangup as often as one comes, and of the end behind it", async () => {
    const script = "trap 'echo again' HUP; trap 'echo saved; exit 5' TERM; echo up; while :; do sleep 0.1; done";
    const daemon = start(["--", "sh", "-c", script]);
    await daemon.printed(/up/);
    daemon.child.kill("SIGHUP");
    await daemon.printed(/again/);
    daemon.child.kill("SIGHUP");
    await daemon.printed(/again\nagain/);
    daemon.child.kill("SIGTERM");
    expect(await daemon.finished).toMatchObject({ status: 5, stdout: "up\nagain\nagain\nsaved\n" });
  });

  test("with --keep waits for it", async () => {
    const { status, stdout } = await run(["--keep"], "{ sleep 1; echo late; } & exit 4");
    expect([status, stdout]).toEqual([4, "late\n"]);
  });

  test("opens 500 connections at once", async () => {
    const { stdout } = await run(
      [],
      `ulimit -n 4096; curl -sS --parallel --parallel-immediate --parallel-max 300 "http://10.0.2.2:${port}/[1-500]" 2>/dev/null | wc -c`,
    );
    expect(stdout.trim()).toBe(String(500 * "hello".length));
  });

  test("leads from the host to what the command listens on: by -p, and by -p auto for as long as it listens", async () => {
    const serve = (at: number): string =>
      `timeout 2 socat TCP-LISTEN:${at},fork,reuseaddr SYSTEM:'echo inside' 2>/dev/null`;
    const [first, second] = [await freePort(), await freePort()];
    const command = start([
      ...["-p", `${first}:80`, "-p", "auto", "--log-level", "info"],
      ...[
        "--",
        "sh",
        "-c",
        `${serve(8080)} & socat TCP-LISTEN:80,fork,reuseaddr SYSTEM:'echo eighty' & ${serve(second)}; wait %1; sleep 2; kill $(jobs -p)`,
      ],
    ]);
    await command.logged(new RegExp(`port ${second} open`));
    expect(await said(first)).toBe("eighty\n");
    expect(await said(second)).toBe("inside\n");
    await command.logged(new RegExp(`port ${second} closed`));
    await expect(said(second)).rejects.toThrow("ECONNREFUSED");
    await command.finished;
  });

  test("gives the command its terminal", async () => {
    const main = `${process.execPath} --import tsx src/cli/main.ts run -- sh -c 'test -t 0 && test -t 2 && stty size && exit 6'`;
    const child = spawn("script", ["-qec", `stty rows 33 cols 77; ${main}`, "/dev/null"], {
      cwd: path.resolve(import.meta.dirname, "../.."),
      stdio: ["pipe", "pipe", "inherit"],
    });
    let shown = "";
    child.stdout.on("data", (text: Buffer) => {
      shown += text.toString();
    });
    const [status] = (await once(child, "close")) as [number];
    expect([shown.trim(), status]).toEqual(["33 77", 6]);
  });

  test("passes signals on, and nothing is left when either side is killed", async () => {
    const trapping = start(["--", "sh", "-c", "trap 'echo told; exit 5' TERM; echo up; while :; do sleep 0.1; done"]);
    await trapping.printed(/up/);
    trapping.child.kill("SIGTERM");
    expect(await trapping.finished).toMatchObject({ status: 5, stdout: "up\ntold\n" });

    // In the moments before there is a command, too, from the first process within on.
    for (const millis of [0, 20, 40, 60, 90]) {
      const begun = start(["--", "sh", "-c", "sleep 30; echo ran to its end"]);
      await expect.poll(() => childOf(begun.child.pid!), { timeout: 10_000, interval: 1 }).toBeGreaterThan(0);
      await new Promise((resolve) => setTimeout(resolve, millis));
      begun.child.kill("SIGTERM");
      expect(await begun.finished, `${millis} ms`).toMatchObject({ status: 143, stdout: "" });
    }

    // We are killed before there is a command: its namespaces clean up.
    for (const millis of [0, 60]) {
      const begun = start(["--", "sleep", "30"]);
      await expect.poll(() => childOf(begun.child.pid!), { timeout: 10_000, interval: 1 }).toBeGreaterThan(0);
      await new Promise((resolve) => setTimeout(resolve, millis));
      begun.child.kill("SIGKILL");
      await begun.finished;
      await expect.poll(left, { timeout: 5_000 }).toEqual([]);
    }

    const mark = `sleep ${200_000 + process.pid}`;
    for (const victim of ["us", "the namespace"] as const) {
      const command = start(["--", "sh", "-c", `${mark} & echo up; wait`]);
      await command.printed(/up/);
      if (victim === "us") command.child.kill("SIGKILL");
      else process.kill(childOf(command.child.pid!), "SIGKILL");
      await command.finished;
      await expect
        .poll(() => execFileSync("ps", ["axo", "args"], { encoding: "utf8" }).includes(mark), { timeout: 5_000 })
        .toBe(false);
      await expect.poll(left, { timeout: 5_000 }).toEqual([]);
    }

    // Not by anything within that the command could end.
    const last = start(["--", "sh", "-c", `kill -KILL -1; ${mark} & echo up; wait`]);
    await last.printed(/up/);
    last.child.kill("SIGKILL");
    await last.finished;
    await expect
      .poll(() => execFileSync("ps", ["axo", "args"], { encoding: "utf8" }).includes(mark), { timeout: 5_000 })
      .toBe(false);
  });
});

describe.runIf(both).each(["root", "nobody"] as const)("a command of %s's", (user) => {
  test("does not reach the API of its own network, nor its SOCKS server, which its user may", async () => {
    const place = path.join(folder, user);
    fs.mkdirSync(place, { mode: 0o700 });
    if (user === "nobody") fs.chownSync(place, NOBODY, NOBODY);
    const [api, socks] = [path.join(place, "a b.sock"), path.join(place, "socks.sock")];
    const reach = (file: string): string => `curl -sS --max-time 5 --unix-socket '${file}' http://x/v1/rules`;
    const script = `
      ${reach(api)}; echo $?; ${reach(socks)}; echo $?
      mv '${api}' '${api}.old'; rm -f '${api}'; umount '${api}'; ln '${api}' '${place}/other'
      ${reach(api)}; echo $?; ${reach(`${place}/other`)}; echo $?
      unshare -Urm sh -c "umount '${api}'; ${reach(api)}"; echo $?`;
    const { stdout, stderr } = await runAs(
      user,
      ["--api", `unix:${api}`, "--socks", `unix:${socks}`, "--default", "deny"],
      `exec 2>/dev/null; ${script}`,
    );
    expect(stdout.trim().split("\n"), stderr).toEqual(["7", "7", "7", "7", "7"]);
    fs.rmSync(place, { recursive: true });
  });
});

/** `unshare`, which is the only child. */
function childOf(pid: number): number {
  return Number(fs.readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").at(-1));
}

async function said(at: number): Promise<string> {
  const socket = net.connect(at, "127.0.0.1");
  let text = "";
  for await (const part of socket.setEncoding("utf8")) text += part as string;
  return text;
}

/** Whether a line of mountinfo is of no namespace that other tests have given a name. */
function ours(line: string): boolean {
  return !line.includes(" /run/netns/");
}

/** Processes that this word is in the environment of, or in the words of. */
function marked(word: string): string[] {
  return fs
    .readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return ["environ", "cmdline"].some((file) => fs.readFileSync(`/proc/${pid}/${file}`, "latin1").includes(word));
      } catch {
        // It has ended, or is another's.
        return false;
      }
    });
}

/** What a shell command prints that starts the program, whose words are `"$@"`. */
function byShell(script: string, env: Record<string, string> = {}): string {
  const words = ["-c", script, "sh", process.execPath, ...PROGRAM];
  return execFileSync("sh", words, { env: { ...process.env, TMPDIR: folder, ...env }, encoding: "utf8" });
}

describe.runIf(both)("where the surroundings are odd, a command", () => {
  test("does not reach the API's socket by another mount of its folder", () => {
    const script = `cd "$TMPDIR" && odd=$(printf 'd\\351\\nd') && mkdir real other "$odd" && for each in other "$odd"; do
      mount --bind real "$each"; done && cat >in.sh <<'END'
for each in real other d?*; do cd "$each"; curl -sS -m 3 --unix-socket a.sock http://localhost/v1/rules || echo refused; cd ..; done
END
      "$@" run --default deny --api unix:real/a.sock -- sh in.sh 2>&1; rm in.sh; umount other "$odd"; rmdir other "$odd"; rm -r real`;
    const words = ["-m", "sh", "-c", script, "sh", process.execPath, ...PROGRAM];
    const out = execFileSync("unshare", words, { env: { ...process.env, TMPDIR: folder }, encoding: "utf8" });
    expect(out.match(/refused/g)).toHaveLength(3);
    expect(out).not.toContain("rules");
  });

  test("has the environment that it was given, also names that a shell uses, changes or does not know", () => {
    const given = {
      ...{
        key: "mine",
        pid: "1",
        setup: "s",
        keep: "k",
        run: "x",
        place: "p",
        why: "w",
        read: "r",
        IFS: "i",
        tslirp_word: "t",
      },
      ...{
        OPTIND: "7",
        PPID: "8",
        PWD: "/nowhere",
        "a.b": "dotted",
        "BASH_FUNC_foo%%": "() {  echo foo;\n}",
        "with=": "b",
      },
    };
    const seen = JSON.parse(
      byShell(
        `exec env "a.b=dotted" "BASH_FUNC_foo%%=() {  echo foo;
}" IFS=i OPTIND=7 PPID=8 PWD=/nowhere "$@" run -- "$NODE" -p "JSON.stringify(process.env)"`,
        {
          ...given,
          NODE: process.execPath,
        },
      ),
    ) as Record<string, string>;
    const { "with=": _, ...expected } = given;
    expect(seen).toMatchObject(expected);
    expect(Object.keys(seen).filter((name) => name.startsWith("tslirp"))).toEqual(["tslirp_word"]);
  });

  test("runs as root of a user's own namespace, too", () => {
    const drop = `setpriv --reuid ${NOBODY} --regid ${NOBODY} --clear-groups`;
    expect(byShell(`HOME="$TMPDIR" exec ${drop} unshare -Ur "$@" run -- id -u`)).toBe("0\n");
  });

  test("is not started, in one line, where there are too few descriptors", () => {
    const out = byShell(`ulimit -n 22; "$@" run -- true 2>&1; echo $?`);
    expect(out).toMatch(/^tslirp: .*too many.*\n1\n$/);
  });
});

describe.runIf(able)("runs in a row", () => {
  test("leave no process, and so no namespace, no mount, no file and no socket, however each ends", async () => {
    const word = `in-a-row-${process.pid}`;
    const mounts = (): string[] => fs.readFileSync("/proc/self/mountinfo", "utf8").split("\n").filter(ours).sort();
    const before = mounts();
    for (let round = 0; round < 2; round++) {
      const by = (args: readonly string[], script: string): Command =>
        new Command(["run", ...args, "--", "sh", "-c", script], { TMPDIR: folder, MARK: word });
      expect(await by(["-p", "auto"], "exit 3").finished).toMatchObject({ status: 3 });
      const daemons = await by([], "sleep 300 & setsid sleep 300 & exit 0").finished;
      expect(daemons.status).toBe(0);
      const api = path.join(folder, "api.sock");
      expect(await by(["--api", `unix:${api}`], "true").finished).toMatchObject({ status: 0 });
      const killed = by([], "echo up; sleep 300");
      await killed.printed(/up/);
      killed.child.kill("SIGKILL");
      await killed.finished;
    }
    await expect.poll(() => marked(word), { timeout: 5_000 }).toEqual([]);
    expect(left()).toEqual([]);
    expect(mounts()).toEqual(before);
  });
});
