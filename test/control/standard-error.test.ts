/** Whatever stands behind standard error, saying something there neither waits nor fails. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { describe, expect, it, vi } from "vitest";
import { StandardError } from "../../src/control/standard-error.ts";
import { PROGRAM } from "../support/program.ts";

/** A descriptor that takes what `answers` says, one for each write: a number of bytes, or an error's code; then everything. */
function descriptor(...answers: (number | string)[]): { out: StandardError; text: () => string } {
  let text = "";
  const take = (bytes: Uint8Array): number => {
    const answer = answers.shift() ?? bytes.length;
    if (typeof answer === "string") throw Object.assign(new Error(answer), { code: answer });
    text += Buffer.from(bytes).toString("utf8", 0, answer);
    return answer;
  };
  const out = new StandardError(() => ({
    writeSync: take,
    write(bytes, done) {
      setImmediate(() => {
        try {
          done(null, take(bytes));
        } catch (error) {
          done(error as NodeJS.ErrnoException, 0);
        }
      });
    },
  }));
  return { out, text: () => text };
}

describe("standard error", () => {
  it("gets lines in order, those that waited together, also where writes are cut", async () => {
    const { out, text } = descriptor(2, "EAGAIN", 1);
    for (const line of ["one\n", "two\n", "three\n"]) out.write(line);
    await out.settled();
    expect(text()).toBe("one\ntwo\nthree\n");
  });

  it("on a full disk leaves lines out, tells which, and goes on when there is room", async () => {
    const { out, text } = descriptor("ENOSPC");
    const left = vi.fn();
    out.onLeftOut = left;
    out.write("lost\n");
    await out.settled();
    out.write("there\n");
    await out.settled();
    expect(left.mock.calls).toEqual([["lost\n"]]);
    expect(text()).toBe("there\n");
  });

  it("is not written to again when its reader has gone", async () => {
    const { out, text } = descriptor("EPIPE");
    out.write("lost\n");
    await out.settled();
    out.write("lost, too\n");
    out.flush();
    expect(text()).toBe("");
  });

  it("keeps a bounded number of bytes for a reader that takes none", () => {
    const { out } = descriptor();
    const left = vi.fn();
    out.onLeftOut = left;
    for (let i = 0; i < 300; i++) out.write(`${"x".repeat(9_999)}\n`);
    expect(left.mock.calls.length).toBeGreaterThanOrEqual(190);
  });

  it("gets the last words of a process that ends", () => {
    const { out, text } = descriptor("EAGAIN", 3);
    const held = descriptor("ENOSPC");
    held.out.write("lost\n");
    held.out.flush();
    out.write("a\n");
    out.write("last\n");
    out.flush();
    expect(text()).toBe("last\n");
  });
});

const LOG = `import { createLog } from ${JSON.stringify(path.resolve("src/control/log.ts"))};`;
const node = ["--import", "tsx", "--input-type=module", "-e"];

describe.each([
  ["a full disk", () => fs.openSync("/dev/full", "w")],
  [
    "a pipe without a reader",
    () => {
      const folder = fs.mkdtempSync(path.join(os.tmpdir(), "gone-"));
      const fifo = path.join(folder, "fifo");
      spawnSync("mkfifo", [fifo]);
      const reader = fs.openSync(fifo, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
      const fd = fs.openSync(fifo, "w");
      fs.closeSync(reader);
      fs.rmSync(folder, { recursive: true });
      return fd;
    },
  ],
])("a log on %s", (_what, open) => {
  it("lets the process live, and end with its own status", async () => {
    const fd = open();
    const script = `${LOG}
      const log = createLog({ level: "info", json: false });
      let lines = 0;
      const timer = setInterval(() => {
        log.info("line " + lines);
        if (++lines === 20) { clearInterval(timer); process.exitCode = 9; }
      }, 5);`;
    const child = spawn(process.execPath, [...node, script], { stdio: ["ignore", "ignore", fd] });
    expect(await once(child, "close")).toEqual([9, null]);
    fs.closeSync(fd);
  }, 20_000);
});

it("a log whose reader is stuck does not keep the process from ending", async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "stuck-"));
  const fifo = path.join(folder, "fifo");
  spawnSync("mkfifo", [fifo]);
  const fd = fs.openSync(fifo, "r+");
  const script = `${LOG}
    import { standardError } from ${JSON.stringify(path.resolve("src/control/standard-error.ts"))};
    const log = createLog({ level: "trace", json: true });
    for (let i = 0; i < 30; i++) log.info({ long: "x".repeat(10_000) }, "kind" + i);
    await standardError.settled();
    process.exit(9);`;
  const child = spawn(process.execPath, [...node, script], { stdio: ["ignore", "ignore", fd] });
  expect(await once(child, "close")).toEqual([9, null]);
  fs.closeSync(fd);
  fs.rmSync(folder, { recursive: true });
}, 20_000);

/** Starts the program in Python, with a standard error that takes no more byte: prints its exit status. */
const FULL = `
import os, pty, socket, subprocess, sys, fcntl, time, signal
kind, ends, *args = sys.argv[1:]
if kind == "socket":
    ends_of_it = socket.socketpair()
    reader, writer = [each.fileno() for each in ends_of_it]
else: reader, writer = os.pipe() if kind == "pipe" else pty.openpty()
flags = fcntl.fcntl(writer, fcntl.F_GETFL)
fcntl.fcntl(writer, fcntl.F_SETFL, flags | os.O_NONBLOCK)
for size in (4096, 1):
    try:
        while True: os.write(writer, b"x" * size)
    except BlockingIOError: pass
fcntl.fcntl(writer, fcntl.F_SETFL, flags)
child = subprocess.Popen(args, stderr=writer, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
if ends == "terminated":
    child.stdout.readline()
    child.send_signal(signal.SIGTERM)
try: print(child.wait(15))
except subprocess.TimeoutExpired:
    child.kill()
    print("stuck")
`;

describe.each(["pipe", "terminal", "socket"])("a full %s that nobody reads", (kind) => {
  it.each([
    ["bad arguments", "itself", ["serve", "--nonsense"], 2],
    ["a place that is not there", "itself", ["serve", "--listen", "unix:/nonexistent/x/y"], 1],
    ["one process", "terminated", ["serve", "--log-level", "debug"], 0],
    ["workers", "terminated", ["serve", "--workers", "2", "--log-level", "debug"], 0],
  ])(
    "lets the program end, with its own status: %s",
    async (_what, ends, args, status) => {
      const folder = fs.mkdtempSync(path.join(os.tmpdir(), "full-"));
      const child = spawn("python3", ["-c", FULL, kind, ends, process.execPath, ...PROGRAM, ...args], {
        stdio: ["ignore", "pipe", "inherit"],
        env: { ...process.env, XDG_RUNTIME_DIR: folder },
      });
      let said = "";
      child.stdout.on("data", (piece) => {
        said += piece;
      });
      await once(child, "close");
      expect(said.trim()).toBe(String(status));
      fs.rmSync(folder, { recursive: true });
    },
    30_000,
  );
});
