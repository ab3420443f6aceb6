/** What a soak has shown, in Markdown. */
import { machineName } from "../../bench/system/meter.ts";
import type { Load } from "./round.ts";
import { memoryOf, otherHandles, type Sample } from "./samples.ts";

export interface Outcome {
  readonly command: string;
  readonly started: Date;
  readonly minutes: number;
  readonly seed: number;
  readonly rounds: number;
  readonly lines: readonly string[];
  readonly load: Load;
  readonly drops: Readonly<Record<string, number>>;
  /** Frames that the guest's own card had no room for. */
  readonly cardDrops: number;
  readonly samples: readonly Sample[];
  readonly wrong: readonly string[];
}

export function markdown(outcome: Outcome): string {
  const { load, samples, wrong } = outcome;
  const { before, after, heldBefore, heldAfter } = memoryOf(samples);
  const last = samples.at(-1)!;
  const mib = (bytes: number): string => `${(bytes / 1_048_576).toFixed(1)} MiB`;
  const most = (of: (sample: Sample) => number): number => Math.max(...samples.map(of));
  const connections = Object.entries(load.connections);
  const total = connections.reduce((sum, [, n]) => sum + n, 0);
  const drops = Object.entries(outcome.drops).filter(([, n]) => n > 0);
  const rows: [string, string][] = [
    ["machine", machineName()],
    ["date", outcome.started.toISOString().slice(0, 16).replace("T", " ")],
    ["command", `\`${outcome.command}\``],
    ["duration", `${outcome.minutes.toFixed(1)} minutes, ${outcome.rounds} rounds, seed ${outcome.seed}`],
    ["bytes compared by SHA-256", `${(load.bytes / 1e9).toFixed(2)} GB`],
    ["connections", `${total}: ${connections.map(([kind, n]) => `${kind} ${n}`).join(", ")}`],
    ["requests answered", `${load.requests}, and ${load.queries} DNS queries`],
    [
      "datagrams echoed",
      `${load.datagrams}; ${load.datagramsAgain} times one was lost, by a bad line or a full cable, and sent again`,
    ],
    ["lines", ["good", ...outcome.lines].map((line) => `\`${line}\``).join(", ")],
    [
      "memory at rest, without V8's young generation",
      `${mib(before)} in the first third after the warm-up, ${mib(after)} in the last (medians)`,
    ],
    ["V8's heap, used or not, with it", `${mib(heldBefore)} and ${mib(heldAfter)}`],
    ["memory at most", mib(most((s) => s.rss))],
    ["handles of no flow", `${otherHandles(samples[0]!)} before all traffic, ${otherHandles(last)} after it`],
    ["TCP flows", `${most((s) => s.tcpFlows)} at most, ${last.tcpFlows} in the end`],
    ["timers", `${most((s) => s.timers)} at most, ${last.timers} in the end`],
    ["send buffers", `${mib(most((s) => s.sendBytes))} at most, ${last.sendBytes} bytes in the end`],
    ["processor time", `${last.cpu.toFixed(0)} s of tslirp's process`],
    ["dropped by the guest's own card", String(outcome.cardDrops)],
    ["drops by reason", drops.map(([reason, n]) => `${reason} ${n}`).join(", ") || "none"],
  ];
  return `# Soak

A real Linux guest (a network namespace behind a TAP and QEMU, MTU 1500) sends and receives everything at once through a
\`tslirp serve\` process, round after round. Meanwhile the control API makes the line bad and good again.
\`test/soak/round.ts\` says what a round is. It fails when a byte differs, something hangs, or memory or handles grow.

| | |
|---|---|
${rows.map(([name, value]) => `| ${name} | ${value} |`).join("\n")}

**Lost: ${wrong.length === 0 ? "nothing" : `${wrong.length} things`}.**
${wrong.map((line) => `\n- ${line}`).join("")}
![Memory, handles, flows and timers over the soak](soak.svg)
`;
}
