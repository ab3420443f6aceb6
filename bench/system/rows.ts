/** What is measured, and the rows of the table that come of it. */
import { GATEWAY, RESOLVER } from "./peers.ts";
import type { Figures, SystemRig } from "./rig.ts";

/** A part of the table: all that is measured over one kind of cable. */
export interface Section {
  readonly title: string;
  readonly mtu: number;
  /** The bridge does the guest's segmentation and checksums, so that the guest is not the limit. */
  readonly offload: boolean;
}

const PLAIN: Section = { title: "MTU 1500", mtu: 1500, offload: false };
const OFFLOAD: Section = { title: "MTU 1500, offload", mtu: 1500, offload: true };
const JUMBO: Section = { title: "MTU 65520", mtu: 65_520, offload: false };
export const SECTIONS: readonly Section[] = [PLAIN, OFFLOAD, JUMBO];

export interface Measurement {
  readonly key: string;
  /** Where it is made: small things at the MTU of 1500 only, as it makes no difference to them. */
  readonly sections: readonly Section[];
  /** Where it takes two, of peers that take several. */
  readonly guests?: 2;
  /** Whether bytes may be wrong or lost connections count: a figure `wrong` or `failed` above zero is a failure. */
  run(rig: SystemRig, seconds: number): Promise<Figures>;
}

/** What a figure of tslirp's is to be: so much of that peer's, or so much. */
export interface Aim {
  readonly peer: string | null;
  readonly wanted: number;
}

export interface Row {
  /** The measurement's. */
  readonly from: string;
  readonly name: string;
  readonly unit: string;
  readonly digits: number;
  readonly better: "more" | "less";
  /** Null where the measurement has not got that far. */
  value(figures: Figures): number | undefined;
  /** By the section's title: at least where more is better, else at most. */
  readonly aims: Readonly<Record<string, readonly Aim[]>>;
}

/** Everything but bulk lasts so long at the most: it settles sooner, and ports run out. */
const SHORT = 2;
/** Seconds of the same load before what counts: the first of a Node program's are spent on compiling it. */
const WARM_UP = 1;
/** V8 compiles what a connection needs after some 2,000 of them; so many take longer where they come one at a time. */
const WARM_UP_ONE = 2.5;

/** How long to load before what counts. Where all is brief, this is, too. */
function warmUp(seconds: number, concurrency = 0): number {
  return seconds < 1 ? seconds : concurrency === 1 ? WARM_UP_ONE : WARM_UP;
}

function load(key: string, ...args: string[]): Measurement {
  return {
    key,
    sections: [PLAIN],
    run: async (rig, seconds) => {
      const [mode, host, ...rest] = args;
      const during = (time: number): Promise<Figures> => rig.load([mode!, host!, String(time), ...rest]);
      await during(warmUp(seconds, mode === "crr" ? Number(rest[0]) : 0));
      return rig.metered(() => during(Math.min(seconds, SHORT)));
    },
  };
}

function bulk(key: string, sections: readonly Section[], direction: "up" | "down", streams: number): Measurement {
  return {
    key,
    sections,
    run: async (rig, seconds) => {
      const during = (time: number): Promise<Figures> =>
        rig.load(["bulk", GATEWAY, direction, String(time), String(streams)], time + 20);
      await during(warmUp(seconds));
      const figures = await rig.metered(() => during(seconds));
      return { ...figures, peak: rig.memory("VmHWM") };
    },
  };
}

/** Opens connections and leaves them; then a request and response on one of them, beside the others. */
function idle(count: number): Measurement {
  return {
    key: `idle-${count}`,
    sections: [PLAIN],
    run: (rig) =>
      rig.metered(async () => {
        const before = rig.memory("VmRSS");
        let all: Figures = { failed: 1 };
        await rig.dialogue(["idle", GATEWAY, String(count)], (figures, nth) => {
          if (nth === 0) all = { ...figures, each: (rig.memory("VmRSS") - before) / Math.max(1, figures.open ?? 0) };
          else all = { ...all, p50: figures.p50!, p99: figures.p99! };
        });
        return all;
      }),
  };
}

/** Request and response while one connection moves all it can, of the same guest or of another one. */
function beside(direction: "up" | "down", other = false): Measurement {
  return {
    key: `rr-beside-${other ? "other-" : ""}${direction}`,
    sections: [PLAIN],
    ...(other ? { guests: 2 } : {}),
    run: async (rig, seconds) => {
      const during = async (rr: number): Promise<Figures> => {
        const busy = rig.load(["bulk", GATEWAY, direction, String(rr * 1.5 + 0.5), "1"], 30, other ? 1 : 0);
        const figures = await rig.load(["rr", GATEWAY, String(rr)]);
        const { gbit, wrong, failed } = await busy;
        return { ...figures, gbit: gbit ?? 0, wrong: (wrong ?? 1) + (failed ?? 0) };
      };
      await during(warmUp(seconds));
      return rig.metered(() => during(Math.min(seconds, SHORT)));
    },
  };
}

/** Connections from the host to the guest. */
function inward(concurrency: number): Measurement {
  return {
    key: `in-crr-${concurrency}`,
    sections: [PLAIN],
    run: async (rig, seconds) => {
      await rig.inward(warmUp(seconds, concurrency), concurrency);
      return rig.metered(() => rig.inward(Math.min(seconds, SHORT), concurrency));
    },
  };
}

export const MEASUREMENTS: readonly Measurement[] = [
  bulk("up-1", [PLAIN, JUMBO], "up", 1),
  bulk("down-1", [PLAIN, JUMBO], "down", 1),
  bulk("up-8", [PLAIN, JUMBO], "up", 8),
  bulk("down-8", [PLAIN, JUMBO], "down", 8),
  bulk("offload-up-1", [OFFLOAD], "up", 1),
  bulk("offload-down-1", [OFFLOAD], "down", 1),
  bulk("offload-up-8", [OFFLOAD], "up", 8),
  bulk("offload-down-8", [OFFLOAD], "down", 8),
  load("rr", "rr", GATEWAY),
  beside("up"),
  beside("down"),
  load("crr-1", "crr", GATEWAY, "1"),
  load("crr-32", "crr", GATEWAY, "32"),
  inward(1),
  inward(32),
  load("udp-rr", "udp-rr", GATEWAY, "64"),
  load("udp-echo", "udp-echo", GATEWAY, "64", "32"),
  load("udp-up-64", "udp-up", GATEWAY, "64", "64"),
  load("udp-down-64", "udp-down", GATEWAY, "64", "64"),
  load("udp-up-1400", "udp-up", GATEWAY, "1400", "64"),
  load("udp-down-1400", "udp-down", GATEWAY, "1400", "64"),
  load("dns", "dns", RESOLVER, "16"),
  idle(1000),
  idle(5000),
  // Last, since they need another start.
  beside("up", true),
  beside("down", true),
];

type Aims = Row["aims"];

const more = (from: string, name: string, unit: string, key: string, digits: number, aims: Aims = {}): Row => ({
  ...{ from, name, unit, digits, better: "more", aims },
  value: (f) => f[key],
});

const less = (from: string, name: string, unit: string, key: string, digits: number, aims: Aims = {}): Row => ({
  ...{ from, name, unit, digits, better: "less", aims },
  value: (f) => f[key],
});

const perGb = (from: string, name: string, aims: Aims): Row => ({
  ...less(from, name, "s", "", 2, aims),
  value: (f) => (f.bytes && f.cpu !== undefined ? f.cpu / (f.bytes / 1e9) : undefined),
});

const times = (peer: string, wanted: number): Aim => ({ peer, wanted });
const just = (wanted: number): Aim => ({ peer: null, wanted });

const LIB = (ratio: number): Aims => ({ [PLAIN.title]: [times("libslirp", ratio)] });
const BULK = (ratio: number): Aims => ({ ...LIB(ratio), [JUMBO.title]: [times("wire", 0.8)] });
const OFFLOADED = (ratio: number): Aims => ({ [OFFLOAD.title]: [times("libslirp", ratio), times("wire", 0.6)] });
const COST = (plain: number, jumbo: number): Aims => ({ [PLAIN.title]: [just(plain)], [JUMBO.title]: [just(jumbo)] });

export const ROWS: readonly Row[] = [
  more("up-1", "TCP up, 1 stream", "Gbit/s", "gbit", 2, BULK(4)),
  more("down-1", "TCP down, 1 stream", "Gbit/s", "gbit", 2, BULK(2)),
  more("up-8", "TCP up, 8 streams", "Gbit/s", "gbit", 2, BULK(3)),
  more("down-8", "TCP down, 8 streams", "Gbit/s", "gbit", 2, BULK(1.7)),
  perGb("up-1", "CPU per GB, up", COST(1.2, 0.5)),
  perGb("down-1", "CPU per GB, down", COST(1.5, 0.6)),
  more("offload-up-1", "TCP up, 1 stream", "Gbit/s", "gbit", 2, OFFLOADED(6)),
  more("offload-down-1", "TCP down, 1 stream", "Gbit/s", "gbit", 2, OFFLOADED(2.2)),
  more("offload-up-8", "TCP up, 8 streams", "Gbit/s", "gbit", 2, OFFLOADED(6)),
  more("offload-down-8", "TCP down, 8 streams", "Gbit/s", "gbit", 2, OFFLOADED(2.2)),
  perGb("offload-up-1", "CPU per GB, up", { [OFFLOAD.title]: [just(0.8)] }),
  perGb("offload-down-1", "CPU per GB, down", { [OFFLOAD.title]: [just(1)] }),
  { ...less("down-8", "memory at its highest, after bulk", "MB", "peak", 0), value: (f) => f.peak && f.peak / 1024 },
  less("rr", "TCP request and response, p50", "µs", "p50", 0, LIB(1.1)),
  less("rr", "the same, p99", "µs", "p99", 0),
  less("rr-beside-up", "the same beside one stream up, p99", "µs", "p99", 0),
  less("rr-beside-down", "the same beside one stream down, p99", "µs", "p99", 0),
  less("rr-beside-other-up", "the same beside another guest's stream up, p99", "µs", "p99", 0),
  less("rr-beside-other-down", "the same beside another guest's stream down, p99", "µs", "p99", 0),
  more("crr-1", "new connections, one at a time", "/s", "rate", 0, LIB(1)),
  more("crr-32", "new connections, 32 at once", "/s", "rate", 0, LIB(1)),
  more("in-crr-1", "new connections from the host, one at a time", "/s", "rate", 0),
  more("in-crr-32", "new connections from the host, 32 at once", "/s", "rate", 0),
  less("udp-rr", "UDP request and response, 64 B, p50", "µs", "p50", 0, LIB(1)),
  more("udp-echo", "UDP echo, 64 B", "/s", "rate", 0, LIB(1)),
  more("udp-up-64", "UDP up, 64 B", "/s", "rate", 0, LIB(1)),
  more("udp-down-64", "UDP down, 64 B", "/s", "rate", 0, LIB(1)),
  more("udp-up-1400", "UDP up, 1400 B", "Mbit/s", "mbit", 0, LIB(1)),
  more("udp-down-1400", "UDP down, 1400 B", "Mbit/s", "mbit", 0, LIB(1)),
  more("dns", "DNS queries, 16 at once", "/s", "rate", 0, LIB(2.5)),
  more("idle-1000", "opening 1,000 connections", "/s", "rate", 0),
  less("idle-1000", "memory of each", "kB", "each", 1),
  less("idle-1000", "request and response beside them, p50", "µs", "p50", 0),
  more("idle-5000", "opening 5,000 connections", "/s", "rate", 0, LIB(3)),
  less("idle-5000", "memory of each", "kB", "each", 1),
  less("idle-5000", "request and response beside them, p50", "µs", "p50", 0),
];
