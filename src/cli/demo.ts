/**
 * `tslirp demo`: a guest boots on a network of its own, and a table shows the results of tests.
 *
 * The guest is iPXE under QEMU if there is a QEMU, otherwise the small stack in `cli/guest`. The servers that the
 * guest reaches are on this machine's loopback, so the demo needs no Internet.
 */
import { accessSync, constants } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createNetwork } from "../network.ts";
import { proveWithEmbeddedGuest } from "./demo/embedded.ts";
import { bootScript, proveWithIpxe } from "./demo/ipxe.ts";
import { Proofs } from "./demo/proofs.ts";
import { World } from "./demo/world.ts";
import { whenLauncherEnds } from "./launcher.ts";
import { say } from "./output.ts";

const QEMU = "qemu-system-x86_64";
const TIMEOUT_MS = 60_000;
const ENDING = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
const BOOTFILE = "boot.ipxe";
/** The address at which guests reach this machine's loopback by default. */
const GATEWAY = "10.0.2.2";

/** Runs the demo on standard output. Resolves with the exit status: 0 only if all tests have passed. */
export function demo(): Promise<number> {
  return runDemo(onPath(QEMU), say);
}

/** Runs the demo with this QEMU, or with the embedded guest for null. Leaves no process, socket or file behind. */
export async function runDemo(
  qemu: string | null,
  print: (text: string) => void,
  timeout: number = TIMEOUT_MS,
): Promise<number> {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(new Error(`not within ${timeout / 1_000} s`)), timeout);
  const interrupted = (): void => stop.abort(new Error("interrupted"));
  for (const signal of ENDING) process.once(signal, interrupted);
  const forget = whenLauncherEnds(interrupted);
  const started = performance.now();
  const folder = await mkdtemp(path.join(tmpdir(), "tslirp-demo-"));
  try {
    const world = await World.open(GATEWAY);
    try {
      const proofs = new Proofs(stop.signal);
      const tftp = path.join(folder, "tftp");
      await mkdir(tftp);
      await writeFile(path.join(tftp, "file"), world.file);
      await writeFile(path.join(tftp, BOOTFILE), bootScript(world));
      const options = { host: GATEWAY, dnsUpstream: [`127.0.0.1:${world.dnsPort}`], tftp, bootfile: BOOTFILE };
      let proven = false;
      if (qemu !== null) {
        print("tslirp demo: iPXE boots under QEMU from a network of its own.\n");
        const run = { program: qemu, socket: path.join(folder, "n0.sock"), signal: stop.signal, print };
        await using net = await createNetwork(options);
        proven = await proveWithIpxe(net, world, proofs, run);
      }
      if (!proven) {
        print("tslirp demo: a guest in this process comes up on a network of its own.\n");
        await using net = await createNetwork(options);
        await proveWithEmbeddedGuest(net, world, proofs);
      }
      print(`\n${proofs.table()}\n\n`);
      const seconds = ((performance.now() - started) / 1_000).toFixed(1);
      print(proofs.allOk ? `All proven in ${seconds} s.\n` : `Not all was proven (${seconds} s).\n`);
      return proofs.allOk ? 0 : 1;
    } finally {
      world.close();
    }
  } finally {
    clearTimeout(timer);
    for (const signal of ENDING) process.off(signal, interrupted);
    forget();
    await rm(folder, { recursive: true, force: true });
  }
}

/** The program's path; null when it is not on the PATH. */
function onPath(program: string): string | null {
  for (const folder of (process.env.PATH ?? "").split(path.delimiter)) {
    const file = path.join(folder, process.platform === "win32" ? `${program}.exe` : program);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // The program is not in this folder.
    }
  }
  return null;
}
