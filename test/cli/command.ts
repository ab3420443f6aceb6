/** Runs the command line as it is installed. */
import { type ChildProcess, spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { PROGRAM } from "../support/program.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

export interface Finished {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export class Command {
  readonly child: ChildProcess;
  readonly finished: Promise<Finished>;
  stdout = "";
  stderr = "";

  /** `fd3` gives the process a socket as descriptor 3, whose other end is `child.stdio[3]`; `program` is what Node runs. */
  constructor(args: readonly string[], env: NodeJS.ProcessEnv = {}, fd3 = false, program: readonly string[] = PROGRAM) {
    this.child = spawn(process.execPath, [...program, ...args], {
      cwd: ROOT,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe", ...(fd3 ? (["pipe"] as const) : [])],
    });
    this.child.stdout!.setEncoding("utf8").on("data", (text: string) => {
      this.stdout += text;
    });
    this.child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += text;
    });
    this.finished = new Promise((resolve, reject) => {
      this.child.once("error", reject);
      this.child.once("close", (status, signal) => {
        resolve({ status, signal, stdout: this.stdout, stderr: this.stderr });
      });
    });
  }

  /** Resolves when standard output matches; rejects when the process ends without. */
  printed(pattern: RegExp): Promise<RegExpExecArray> {
    return this.#matches(pattern, "stdout");
  }

  /** The same of standard error. */
  logged(pattern: RegExp): Promise<RegExpExecArray> {
    return this.#matches(pattern, "stderr");
  }

  async #matches(pattern: RegExp, stream: "stdout" | "stderr"): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this[stream]);
      if (match !== null) return match;
      await this.lives(new Promise((resolve) => this.child[stream]!.once("data", resolve)));
    }
  }

  /** What `awaited` resolves with; rejects when the process ends before. */
  lives<T>(awaited: Promise<T>): Promise<T> {
    const over = this.finished.then(({ status, stdout, stderr }) => {
      throw new Error(`ended early with ${status}: ${stdout}${stderr}`);
    });
    return Promise.race([awaited, over]);
  }

  stop(signal: NodeJS.Signals = "SIGTERM"): Promise<Finished> {
    this.child.kill(signal);
    return this.finished;
  }
}

/** A fresh folder, short enough for sockets' paths. */
export function temporaryFolder(): string {
  return fs.mkdtempSync(path.join(os.tmpdir(), "tslirp-cli-"));
}

/** An ARP request of 52:54:00:12:34:56, 10.0.2.15, for the gateway, as an Ethernet frame. */
export function arpRequest(): Uint8Array {
  return Uint8Array.from(
    Buffer.from("ffffffffffff525400123456080600010800060400015254001234560a00020f0000000000000a000202", "hex"),
  );
}

/** Whether a frame is the gateway's answer to that. */
export function isGatewayReply(frame: Uint8Array): boolean {
  return Buffer.from(frame).toString("hex").startsWith("52540012345652550a0002020806000108000604000252550a000202");
}

/** The frame with QEMU's length prefix. */
export function prefixed(frame: Uint8Array): Buffer {
  const out = Buffer.alloc(4 + frame.length);
  out.writeUInt32BE(frame.length);
  out.set(frame, 4);
  return out;
}
