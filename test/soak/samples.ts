/** What is looked at every few seconds of a soak, and what must be true of it in the end. */
import { text } from "node:stream/consumers";
import { cpuSeconds } from "../../bench/system/meter.ts";
import type { ApiClient } from "../../src/cli/ctl/client.ts";
import type { Backend } from "../support/e2e/backend.ts";

export interface Sample {
  /** Since the start. */
  readonly seconds: number;
  /** Traffic rests: nothing is open but what is kept open. */
  readonly quiet: boolean;
  /** The line's impairment, "" for none. */
  readonly line: string;
  /** Of the process, bytes: resident, used by JavaScript, and buffers beside it. */
  readonly rss: number;
  readonly heap: number;
  readonly external: number;
  /** What V8 holds for JavaScript, used or not, and of that the young generation, whose size it chooses by the load. */
  readonly heapHeld: number;
  readonly young: number;
  /** Open descriptors. */
  readonly handles: number;
  readonly tcpFlows: number;
  readonly udpFlows: number;
  readonly timers: number;
  /** Bytes in send buffers. */
  readonly sendBytes: number;
  /** Processor seconds that the process has used. */
  readonly cpu: number;
}

interface Status {
  readonly tcpFlows: number;
  readonly udpFlows: number;
  readonly timers: number;
  readonly sendBytes: number;
}

export async function takeSample(
  api: ApiClient,
  backend: Backend,
  at: Pick<Sample, "seconds" | "quiet" | "line">,
): Promise<Sample> {
  // Descriptors first: a request has one of its own.
  const { handles, residentBytes: rss, pid } = backend;
  const { tcpFlows, udpFlows, timers, sendBytes } = await api.get<Status>("/v1/status");
  const metrics = await text(await api.stream("/metrics"));
  const metric = (name: string): number => Number(new RegExp(`^${name} (\\S+)$`, "m").exec(metrics)?.[1]);
  const young = metric('nodejs_heap_space_size_total_bytes{space="new"}');
  return {
    ...at,
    rss,
    heap: metric("nodejs_heap_size_used_bytes"),
    external: metric("nodejs_external_memory_bytes"),
    heapHeld: metric("nodejs_heap_size_total_bytes"),
    young,
    ...{ handles, tcpFlows, udpFlows, timers, sendBytes },
    cpu: cpuSeconds(pid),
  };
}

/** Handles that no flow explains. */
export function otherHandles(sample: Sample): number {
  return sample.handles - sample.tcpFlows - sample.udpFlows;
}

/** How much a process may grow for no reason that has to do with leaks: caches, compiled code, fragmentation. */
const GROWTH_SHARE = 0.15;
const GROWTH_BYTES = 24 * 1_048_576;
/** While it warms up, memory says nothing. */
const WARM_UP_SECONDS = 120;

export interface Memory {
  /**
   * Medians of what was resident when traffic rested, without V8's young generation, whose size V8 chooses by the load: the
   * first third after the warm-up, and the last.
   */
  readonly before: number;
  readonly after: number;
  /** The same of what V8 held. */
  readonly heldBefore: number;
  readonly heldAfter: number;
}

export function memoryOf(samples: readonly Sample[]): Memory {
  const end = samples.at(-1)?.seconds ?? 0;
  const warm = Math.min(WARM_UP_SECONDS, end / 3);
  const quiet = samples.filter((s) => s.quiet && s.seconds >= warm);
  const third = Math.ceil(quiet.length / 3);
  const [first, last] = [quiet.slice(0, third), quiet.slice(-third)];
  return {
    before: median(first.map((s) => s.rss - s.young)),
    after: median(last.map((s) => s.rss - s.young)),
    heldBefore: median(first.map((s) => s.heapHeld)),
    heldAfter: median(last.map((s) => s.heapHeld)),
  };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? 0;
}

/** What grew that should not have, in words. */
export function growth(samples: readonly Sample[]): string[] {
  const wrong: string[] = [];
  const { before, after } = memoryOf(samples);
  const mib = (bytes: number): string => `${(bytes / 1_048_576).toFixed(1)} MiB`;
  if (after - before > Math.max(GROWTH_BYTES, before * GROWTH_SHARE))
    wrong.push(`memory grew from ${mib(before)} to ${mib(after)}`);
  const last = samples.at(-1);
  if (last === undefined) return [...wrong, "there is no sample"];
  if (last.sendBytes > 0) wrong.push(`${last.sendBytes} bytes stayed in send buffers`);
  return wrong;
}

const COLUMNS = [
  "seconds",
  "quiet",
  "line",
  "rss",
  "heap",
  "external",
  "heapHeld",
  "young",
  "handles",
  "tcpFlows",
  "udpFlows",
  "timers",
  "sendBytes",
  "cpu",
] as const satisfies (keyof Sample)[];

/** One line a sample; the line's impairment with semicolons. */
export function csv(samples: readonly Sample[]): string {
  const cell = (value: Sample[keyof Sample]): string =>
    typeof value === "number" ? String(Math.round(value * 100) / 100) : String(value).replaceAll(",", ";");
  const lines = samples.map((sample) => COLUMNS.map((column) => cell(sample[column])).join(","));
  return `${[COLUMNS.join(","), ...lines].join("\n")}\n`;
}
