/** One round of the soak: every kind of traffic at once, each with its own amount, and what of it went wrong. */

import { patternSha256 } from "../support/services.ts";
import { FORWARD_PORT, GATEWAY, LONG, OUTSIDE, OUTSIDE_NAME, RESOLVER, type Surroundings, url } from "./rig.ts";
import { ENDINGS, type Ending } from "./traffic.ts";

/** How the guest's line is during a round; `lossy` lines get less to carry, and no resets: a lost RST is a hung peer. */
export interface Line {
  readonly text: string;
  readonly rules: readonly object[];
  readonly lossy: boolean;
}

const good: Line = { text: "", rules: [], lossy: false };
function bad(text: string, rule: object, lossy: boolean): Line {
  return { text, rules: [rule], lossy };
}

/** In this order, over and over; every second one is good. */
export const LINES: readonly Line[] = [
  good,
  bad("loss=2%", { loss: 0.02 }, true),
  good,
  bad("delay=20ms,jitter=5ms", { delay: 20, jitter: 5 }, false),
  good,
  bad("duplicate=5%", { duplicate: 0.05 }, false),
  good,
  bad("delay=4ms,reorder=20%", { delay: 4, reorder: 0.2 }, false),
  good,
  bad(
    "delay=5ms,jitter=3ms,loss=1%,duplicate=2%,reorder=5%",
    { delay: 5, jitter: 3, loss: 0.01, duplicate: 0.02, reorder: 0.05 },
    true,
  ),
  good,
  bad("rate=50mbit,loss=5%,direction=down", { rate: 50e6, loss: 0.05, direction: "down" }, true),
];

/** What has been done, in numbers. */
export interface Load {
  bytes: number;
  requests: number;
  connections: Partial<Record<Ending | "held" | "bulk" | "echo" | "in", number>>;
  queries: number;
  datagrams: number;
  /** Datagrams that were lost, by a bad line or a full cable, and sent again. */
  datagramsAgain: number;
}

export function noLoad(): Load {
  return { bytes: 0, requests: 0, connections: {}, queries: 0, datagrams: 0, datagramsAgain: 0 };
}

const RESETS: readonly Ending[] = ["guest-reset", "host-reset"];
/** Connections that are kept for the whole soak. */
export const HELD = 100;
const MB = 1_000_000;

/** Does it all and adds it to `load`; what went wrong, in words. */
export async function round(env: Surroundings, line: Line, seed: number, load: Load): Promise<string[]> {
  const { guest, host, ports } = env;
  const wrong: string[] = [];
  const size = (line.lossy ? 1 : line.rules.length > 0 ? 4 : 16) * MB + (seed % 100_000);
  const work = async (name: string, run: () => Promise<void>): Promise<void> => {
    try {
      await run();
    } catch (error) {
      wrong.push(`${name}: ${error instanceof Error ? error.message : error}`);
    }
  };
  const same = (what: string, got: unknown, want: unknown): void => {
    if (got !== want) wrong.push(`${what}: ${got} instead of ${want}`);
  };
  const count = (kind: keyof Load["connections"], n: number): void => {
    load.connections[kind] = (load.connections[kind] ?? 0) + n;
  };
  await Promise.all([
    work("download", async () => {
      const { bytes, sha256 } = await guest.call("download", { url: url(OUTSIDE, `/bytes?n=${size}&seed=${seed}`) });
      same("bytes of the download", bytes, size);
      same("SHA-256 of the download", sha256, patternSha256(seed, size));
      load.bytes += bytes;
      count("bulk", 1);
    }),
    work("upload", async () => {
      const up = { host: OUTSIDE, port: ports.digest, seed: seed + 1, bytes: size };
      const { text, error } = await guest.call("sendThenRead", up);
      same("the upload's end", error, null);
      same("SHA-256 of the upload", text, patternSha256(seed + 1, size));
      load.bytes += size;
      count("bulk", 1);
    }),
    work("echo", async () => {
      const many = { host: GATEWAY, port: ports.echo, count: 12, bytes: line.lossy ? 20_000 : 200_000 };
      const { right, errors } = await guest.call("echoMany", many);
      same(`echoes (${errors})`, right, many.count);
      load.bytes += 2 * many.count * many.bytes;
      count("echo", many.count);
    }),
    work("into the guest", async () => {
      const many = { host: "127.0.0.1", port: FORWARD_PORT, count: 6, bytes: line.lossy ? 20_000 : 200_000 };
      const { right, errors } = await host.call("echoMany", many);
      same(`echoes of the guest (${errors})`, right, many.count);
      load.bytes += 2 * many.count * many.bytes;
      count("in", many.count);
    }),
    work("chatty", async () => {
      const requests = line.rules.length > 0 ? 50 : 300;
      const { right } = await guest.call("chatty", { host: OUTSIDE, port: ports.echo, seed, requests });
      same("answers", right, requests);
      load.requests += right;
    }),
    work("churn", async () => {
      const endings = ENDINGS.filter((ending) => !line.lossy || !RESETS.includes(ending));
      const result = await guest.call("churn", { host: OUTSIDE, ports, seed, count: 96, endings });
      wrong.push(...result.wrong);
      for (const ending of ENDINGS) count(ending, result.right[ending] ?? 0);
    }),
    work("held", async () => {
      const { right } = await guest.call("touchHeld", { seed, count: 10 });
      same("held connections that answer", right, 10);
      load.requests += right;
    }),
    work("DNS", async () => {
      const questions = { server: RESOLVER, name: OUTSIDE_NAME, address: OUTSIDE, longName: LONG, count: 30 };
      const result = await guest.call("dns", questions);
      wrong.push(...result.wrong);
      load.queries += result.right;
    }),
    work("UDP", async () => {
      const echo = { host: OUTSIDE, port: ports.udpEcho, seed, count: 40 };
      const { right, again } = await guest.call("datagrams", echo);
      same("datagrams echoed", right, echo.count);
      load.datagrams += right;
      load.datagramsAgain += again;
    }),
    work("refused UDP", async () => {
      // The error finds no room on a cable that bulk data has filled, and nobody sends it again: as with a datagram.
      let error: string | null = null;
      for (let tries = line.lossy ? 1 : 5; tries > 0 && error === null; tries--)
        ({ error } = await guest.call("udpRefused", { host: OUTSIDE, port: 9 }));
      if (!line.lossy) same("a refused datagram", error, "ECONNREFUSED");
    }),
  ]);
  return wrong;
}
