/**
 * `npm run bench:qemu [-- RUNS]`: one guest under QEMU, by each cable: QEMU's own `-netdev user`, tslirp's stream, and
 * tslirp's vhost-user.
 *
 * The guest boots Debian's kernel (package linux-image-cloud-amd64) on an emulated processor, which is most of what is measured:
 * what a cable saves here is what the guest's driver, and QEMU's copies, need not do. 100 MB go each way, and arrive by their
 * hash. Runs are interleaved. Needs root, for a network namespace.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { sharedMemoryArguments, vhostUserArguments } from "../src/control/qemu-args.ts";
import { KERNEL, KernelMachine } from "../test/support/e2e/kernel-machine.ts";
import { GATEWAY, HostRig, url } from "../test/support/e2e/rig.ts";
import { patternSha256 } from "../test/support/services.ts";
import { cpuSeconds, machineName } from "./system/meter.ts";
import { spreadOf, spreadText } from "./system/report.ts";

const SIZE = 100_000_000;
const SEED = 5;
const runs = Number(process.argv[2] ?? 3);
const HASH = patternSha256(SEED, SIZE);
/** QEMU 7.2 without KVM crashes when a vhost-user card uses MSI-X; all cables have the same card. */
const CARD = ["-device", "virtio-net-pci,netdev=n0,vectors=0,mac=52:54:00:e2:e0:01"];

interface Cable {
  readonly title: string;
  /** QEMU's arguments; null for QEMU's own network, beside which tslirp does nothing. */
  arguments(stream: string, vhost: string): readonly string[];
}

const CABLES: readonly Cable[] = [
  { title: "`-netdev user`", arguments: () => ["-netdev", "user,id=n0"] },
  {
    title: "tslirp, stream",
    arguments: (stream) => ["-netdev", `stream,id=n0,server=off,addr.type=unix,addr.path=${stream}`],
  },
  {
    title: "tslirp, vhost-user",
    arguments: (_stream, vhost) => [...sharedMemoryArguments("n0", "384M"), ...vhostUserArguments("n0", vhost)],
  },
];

/** What the table tells, of one direction. */
interface Figures {
  readonly mbit: number[];
  /** Processor seconds of QEMU and tslirp together, and of tslirp alone, for a GB. */
  readonly all: number[];
  readonly ours: number[];
}

type Direction = "down" | "up";
const figures = CABLES.map((): Record<Direction, Figures> => {
  const none = (): Figures => ({ mbit: [], all: [], ours: [] });
  return { down: none(), up: none() };
});

function fail(message: string): never {
  process.stderr.write(`bench:qemu: ${message}\n`);
  process.exit(1);
}

async function run(cable: Cable, into: Record<Direction, Figures>): Promise<void> {
  let vhost = "";
  const rig = await HostRig.startHost((folder) => {
    vhost = join(folder, "vhost.sock");
    return { args: ["--listen", `vhost-user:${vhost}`] };
  });
  while (!existsSync(vhost)) await sleep(20);
  const machine = new KernelMachine(rig.host, rig.folder, [...cable.arguments(rig.backend.socketPath, vhost), ...CARD]);
  /** One transfer. What the guest said. */
  const measured = async (direction: Direction, line: string): Promise<string> => {
    const ours = (): number => cpuSeconds(rig.backend.pid);
    const before = { at: performance.now(), all: cpuSeconds(machine.pid) + ours(), ours: ours() };
    const { output } = await machine.run(line, 300_000);
    const seconds = (performance.now() - before.at) / 1000;
    const { mbit, all, ours: own } = into[direction];
    mbit.push((SIZE * 8) / seconds / 1e6);
    all.push((cpuSeconds(machine.pid) + ours() - before.all) / (SIZE / 1e9));
    own.push((ours() - before.ours) / (SIZE / 1e9));
    process.stderr.write(`${cable.title} ${direction}: ${mbit.at(-1)!.toFixed(0)} Mbit/s\n`);
    return output;
  };
  try {
    await machine.ready();
    await machine.online();
    await measured("down", `wget -q -O /tmp/big '${url(GATEWAY, `/bytes?n=${SIZE}&seed=${SEED}`)}'`);
    const { output } = await machine.run("sha256sum </tmp/big", 300_000);
    if (output.slice(0, 64) !== HASH) fail(`${cable.title}: other bytes came to the guest`);
    const digest = await measured("up", `nc ${GATEWAY} ${rig.services.ports.digest} </tmp/big`);
    if (digest.slice(0, 64) !== HASH) fail(`${cable.title}: other bytes came from the guest`);
  } finally {
    await machine.kill();
    await rig.close();
  }
}

if (!existsSync(KERNEL)) fail(`no kernel at ${KERNEL}: on Debian, apt-get install linux-image-cloud-amd64`);
if (process.getuid?.() !== 0) fail("needs root, for a network namespace");
for (let i = 0; i < runs; i++)
  for (let k = 0; k < CABLES.length; k++) {
    const nth = (i + k) % CABLES.length;
    await run(CABLES[nth]!, figures[nth]!);
  }

const date = new Date().toISOString().slice(0, 10);
console.log(`${machineName()}; ${date}; ${runs} interleaved runs, medians with the lowest and the highest.\n`);
console.log("| cable | down, Mbit/s | up, Mbit/s | CPU a GB, down | of tslirp | CPU a GB, up | of tslirp |");
console.log("|---|---:|---:|---:|---:|---:|---:|");
for (const [i, { title }] of CABLES.entries()) {
  const { down, up } = figures[i]!;
  const cell = (values: readonly number[], digits: number): string => spreadText(spreadOf(values), digits);
  const own = (values: readonly number[]): string => (i === 0 ? "" : cell(values, 2));
  console.log(
    `| ${title} | ${cell(down.mbit, 0)} | ${cell(up.mbit, 0)} | ${cell(down.all, 1)} | ${own(down.ours)} | ${cell(up.all, 1)} | ${own(up.ours)} |`,
  );
}
