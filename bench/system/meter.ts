/** Processor time and memory, as Linux tells them in /proc. */
import { readdirSync, readFileSync } from "node:fs";
import { getPriority } from "node:os";

/** Of /proc's clock ticks Linux has shown a hundred a second on every machine for decades. */
const TICKS = 100;

interface Stat {
  readonly parent: number;
  /** Seconds, of the process itself and of the children that it has waited for. */
  readonly cpu: number;
  readonly waited: number;
}

function stat(pid: number | string): Stat | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name in parentheses may contain anything; what follows it is numbers.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    const [user, system, childUser, childSystem] = fields.slice(11, 15).map(Number);
    return { parent: Number(fields[1]), cpu: (user! + system!) / TICKS, waited: (childUser! + childSystem!) / TICKS };
  } catch {
    return null;
  }
}

/** A process and all below it. */
function family(pid: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const parent = stat(name)?.parent;
    if (parent === undefined) continue;
    const siblings = children.get(parent);
    if (siblings) siblings.push(Number(name));
    else children.set(parent, [Number(name)]);
  }
  const all = [pid];
  for (let i = 0; i < all.length; i++) all.push(...(children.get(all[i]!) ?? []));
  return all;
}

/** Seconds of processor time that a process and all below it have used. */
export function cpuSeconds(pid: number): number {
  return family(pid).reduce((total, p) => total + (stat(p)?.cpu ?? 0), 0);
}

/** The same with those that have ended and were this process's children. */
export function ownSeconds(): number {
  return cpuSeconds(process.pid) + (stat(process.pid)?.waited ?? 0);
}

/** Resident memory, now or at its highest, of a process and all below it, in kB. */
export function memory(pid: number, what: "VmRSS" | "VmHWM"): number {
  let total = 0;
  for (const p of family(pid)) {
    try {
      total += Number(new RegExp(`${what}:\\s+(\\d+)`).exec(readFileSync(`/proc/${p}/status`, "utf8"))?.[1] ?? 0);
    } catch {
      // It has ended.
    }
  }
  return total;
}

/** Seconds of all processors together that were not idle. */
export function machineSeconds(): number {
  const fields = readFileSync("/proc/stat", "utf8").split("\n")[0]!.trim().split(/\s+/).slice(1, 9).map(Number);
  return (fields.reduce((a, b) => a + b, 0) - fields[3]! - fields[4]!) / TICKS;
}

/** The nice value that counts: where Linux schedules sessions as groups, the session's. */
export function priority(): number {
  try {
    if (readFileSync("/proc/sys/kernel/sched_autogroup_enabled", "utf8").trim() === "1")
      return Number(/nice (-?\d+)/.exec(readFileSync("/proc/self/autogroup", "utf8"))?.[1] ?? getPriority());
  } catch {
    // No such groups here.
  }
  return getPriority();
}

/** The machine, for the report. */
export function machineName(): string {
  const cpu = /model name\s*:\s*(.+)/.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1] ?? process.arch;
  const cores = readFileSync("/proc/cpuinfo", "utf8").match(/^processor/gm)?.length ?? 1;
  const kernel = readFileSync("/proc/sys/kernel/osrelease", "utf8").trim();
  return `${cpu.trim()}, ${cores} cores, Linux ${kernel}, Node ${process.versions.node}`;
}
