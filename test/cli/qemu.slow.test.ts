/** `tslirp qemu` with a QEMU of ours, a shell script that writes down how it was called. */
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { GuestReader } from "../attach/recorder.ts";
import { freePort } from "../support/free-port.ts";
import { arpRequest, Command, isGatewayReply, prefixed, temporaryFolder } from "./command.ts";

const STUB = `#!/bin/sh
if [ "$1" = --version ]; then echo "QEMU emulator version $STUB_VERSION"; exit 0; fi
echo $$ > "$STUB_FOLDER/pid"
for argument; do printf '%s\\n' "$argument"; done > "$STUB_FOLDER/part"
ls -l "$TMPDIR"/*/*.sock > "$STUB_FOLDER/sockets" 2>&1
eval "$STUB_TRAP"
mv "$STUB_FOLDER/part" "$STUB_FOLDER/args"
eval "$STUB_DOES"
`;

let folder: string;
let sockets: string;
const started: Command[] = [];

beforeEach(() => {
  folder = temporaryFolder();
  sockets = path.join(folder, "tmp");
  fs.mkdirSync(sockets);
  fs.writeFileSync(path.join(folder, "qemu"), STUB, { mode: 0o755 });
});
afterEach(async () => {
  await Promise.all(started.splice(0).map((command) => command.stop("SIGKILL")));
  fs.rmSync(folder, { recursive: true });
});

interface Stub {
  readonly does?: string;
  /** Run before it says that it runs. */
  readonly trap?: string;
  readonly version?: string;
}
const WAITS = "while :; do sleep 0.05; done";

/** `tslirp qemu OURS -- stub ARGS`, the stub doing what its shell lines say. */
function tslirpQemu(stub: Stub, args: readonly string[], ours: readonly string[] = []): Command {
  const command = new Command(["qemu", ...ours, "--", path.join(folder, "qemu"), ...args], {
    STUB_DOES: stub.does ?? "",
    STUB_TRAP: stub.trap ?? "",
    STUB_FOLDER: folder,
    STUB_VERSION: stub.version ?? "9.2.0",
    TMPDIR: sockets,
  });
  started.push(command);
  return command;
}

/** The stub's arguments, once it runs. */
async function recorded(command: Command): Promise<string[]> {
  const file = path.join(folder, "args");
  const there = new Promise<void>((resolve) => {
    const watcher = fs.watch(folder, () => {
      if (!fs.existsSync(file)) return;
      watcher.close();
      resolve();
    });
    if (fs.existsSync(file)) {
      watcher.close();
      resolve();
    }
  });
  await command.lives(there);
  return readArguments();
}

const readArguments = (): string[] => fs.readFileSync(path.join(folder, "args"), "utf8").trim().split("\n");
const left = (): string[] => fs.readdirSync(sockets).filter((name) => name.startsWith("tslirp-"));
const stubRuns = (): boolean => fs.existsSync(`/proc/${fs.readFileSync(path.join(folder, "pid"), "utf8").trim()}`);

/** A port that was free a moment ago. */
describe("the arguments that QEMU is given", () => {
  it("are the user's, a user network being a stream from a private socket", async () => {
    const args = [
      "-m",
      "512",
      "-netdev",
      "user,id=n0,hostfwd=tcp:127.0.0.1:0-:22",
      "-append",
      "a b,c",
      "-device",
      "e1000,netdev=n0",
    ];
    const { status, stdout, stderr } = await tslirpQemu({}, args).finished;
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: "", stderr: "" });
    const [given, at] = [readArguments(), 3];
    expect([...given.slice(0, at), ...given.slice(at + 1)]).toEqual([...args.slice(0, at), ...args.slice(at + 1)]);
    expect(given[at]).toMatch(
      new RegExp(
        `^stream,id=n0,server=off,addr\\.type=unix,addr\\.path=${sockets}/tslirp-\\w+/0\\.sock,reconnect-ms=500$`,
      ),
    );
    expect(fs.readFileSync(path.join(folder, "sockets"), "utf8")).toMatch(/^srw------- /);
  });

  it("are those that an old QEMU knows", async () => {
    await tslirpQemu({ version: "6.2.0" }, ["-nic", "user,model=virtio"]).finished;
    expect(readArguments().join(" ")).toMatch(
      /^-net nic,netdev=tslirp0,model=virtio -netdev socket,id=tslirp0,connect=127\.0\.0\.1:\d+$/,
    );
  });

  it("lead to a network of that option's own", async () => {
    const command = tslirpQemu({ does: "sleep 5" }, ["-netdev", "user,id=a,net=10.7.0.0/24", "-netdev", "user,id=b"]);
    const paths = (await recorded(command)).flatMap((arg) => /addr\.path=([^,]+)/.exec(arg)?.[1] ?? []);
    expect(paths).toHaveLength(2);
    const answers = paths.map(async (at) => {
      const socket = net.connect(at);
      socket.write(prefixed(arpRequest()));
      const reader = new GuestReader();
      return new Promise<boolean>((resolve) => {
        // A router advertisement may come first.
        socket.on("data", (bytes: Buffer) => {
          reader.push(bytes);
          if (reader.frames.some(isGatewayReply)) resolve(true);
        });
        // 10.0.2.2 is nobody in the first network.
        setTimeout(() => resolve(false), 1500);
      }).finally(() => socket.destroy());
    });
    expect(await Promise.all(answers)).toEqual([false, true]);
  });
});

describe("its own options", () => {
  it("count for every network, and forwards for the first", async () => {
    const port = await freePort();
    const command = tslirpQemu(
      { does: "sleep 5" },
      ["-netdev", "user,id=a", "-netdev", "user,id=b"],
      ["--log-level", "info", "--hostname", "vm", "-p", `127.0.0.1:${port}:22`],
    );
    await recorded(command);
    expect(command.stderr.match(new RegExp(`forward tcp 127\\.0\\.0\\.1:${port} `, "g"))).toHaveLength(1);
    expect(command.stderr).toContain("-netdev stream,id=a");
  });

  it.each([
    [["--mtu", "9"], ["-nic", "user"], '--mtu: got "9"'],
    [[], ["-nic", "user,net=10.0.2.0/33"], '-nic net: got "10.0.2.0/33"'],
    [[], ["-netdev", "user,id=n0,hostfwd=tcp::22"], '-netdev hostfwd: got "tcp::22"'],
    [[], ["-daemonize"], "foreground"],
    [["--capture", "/nowhere/x"], [], '--capture: got "/nowhere/x"; expected a file in a folder that exists'],
  ])("%j before %j end it with 2 and one line, and no QEMU", async (ours, args, line) => {
    const { status, stderr } = await tslirpQemu({}, args, ours).finished;
    expect(status).toBe(2);
    expect(stderr).toMatch(/^tslirp: [^\n]+\n$/);
    expect(stderr).toContain(line);
    expect(fs.existsSync(path.join(folder, "args"))).toBe(false);
    expect(left()).toEqual([]);
  });
});

describe("its end", () => {
  it.each([
    ["exit 0", 0],
    ["exit 3", 3],
    ["exit 255", 255],
    ["kill -SEGV $$", 139],
    ["kill -KILL $$", 137],
  ])("is QEMU's: %s", async (does, status) => {
    expect(await tslirpQemu({ does }, ["-nic", "user"]).finished).toMatchObject({ status, stdout: "", stderr: "" });
    expect(left()).toEqual([]);
  });

  it("passes the terminal through", async () => {
    const { status, stdout, stderr } = await tslirpQemu({ does: "echo out; echo err >&2; read x || echo eof" }, [])
      .finished;
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: "out\neof\n", stderr: "err\n" });
  });

  it.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)("%s is QEMU's to handle", async (signal) => {
    const name = signal.slice(3);
    const command = tslirpQemu({ trap: `trap 'exit 42' ${name}`, does: WAITS }, []);
    await recorded(command);
    expect(await command.stop(signal)).toMatchObject({ status: 42 });
    expect(left()).toEqual([]);
  });

  it("SIGHUP reads the rules again where there are some, and QEMU lives", async () => {
    const rules = path.join(folder, "rules");
    fs.writeFileSync(rules, "default allow\n");
    const command = tslirpQemu(
      { trap: "trap 'exit 42' HUP; trap 'exit 7' TERM", does: WAITS },
      [],
      [...["--rules", rules, "--log-level", "info"]],
    );
    await recorded(command);
    command.child.kill("SIGHUP");
    await command.logged(/rules read again/);
    expect(await command.stop("SIGTERM")).toMatchObject({ status: 7 });
  });

  it("a QEMU that does not end at the first signal is killed by the second", async () => {
    const command = tslirpQemu({ trap: "trap 'touch $STUB_FOLDER/heard' TERM", does: WAITS }, []);
    await recorded(command);
    const heard = new Promise<void>((resolve) => {
      const watcher = fs.watch(folder, (_event, name) => {
        if (name !== "heard") return;
        watcher.close();
        resolve();
      });
    });
    command.child.kill("SIGTERM");
    await command.lives(heard);
    expect(stubRuns()).toBe(true);
    expect(await command.stop("SIGTERM")).toMatchObject({ status: 137 });
    expect(stubRuns()).toBe(false);
    expect(left()).toEqual([]);
  });

  it("leaves neither QEMU nor socket behind when it is killed itself", async () => {
    const command = tslirpQemu({ does: WAITS }, []);
    await recorded(command);
    expect(left()).toHaveLength(1);
    const gone = new Promise<void>((resolve) => {
      const watcher = fs.watch(sockets, () => {
        if (left().length > 0) return;
        watcher.close();
        resolve();
      });
    });
    await command.stop("SIGKILL");
    await gone;
    expect(stubRuns()).toBe(false);
  });

  it.each([
    ["/nowhere/qemu-system-x86_64", "there is no such program"],
    ["/etc/passwd", "it is not executable"],
  ])("is one line and status 1 when QEMU is %s", async (program, reason) => {
    const command = new Command(["qemu", "--", program], { TMPDIR: sockets });
    started.push(command);
    const { status, stderr } = await command.finished;
    expect({ status, stderr }).toEqual({ status: 1, stderr: `tslirp: cannot start "${program}": ${reason}\n` });
    expect(left()).toEqual([]);
  });

  it.each([[["qemu"]], [["qemu", "--", "-nic", "user"]]])("%j asks for a program", async (args) => {
    const command = new Command(args);
    started.push(command);
    const { status, stderr } = await command.finished;
    expect(status).toBe(2);
    expect(stderr).toContain("expected -- and a QEMU command");
  });
});
