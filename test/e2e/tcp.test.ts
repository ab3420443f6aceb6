/** TCP of a real kernel through the network: bulk data exact both ways, ends told truly, and pressure felt end to end. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { agent } from "../support/e2e/agent.ts";
import { describeE2e, LIBSLIRP } from "../support/e2e/requirements.ts";
import { OUTSIDE, Rig, url } from "../support/e2e/rig.ts";
import { GREETING, pattern, patternSha256 } from "../support/services.ts";

const MB = 1_000_000;

describeE2e("TCP of a Linux guest", ["curl", "sha256sum", "nc", "ss"], () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.online();
  });
  afterAll(() => rig?.close());

  it("a 100 MB download arrives exact", async () => {
    const from = url(OUTSIDE, `/bytes?n=${100 * MB}&seed=1`);
    const result = await rig.guest.sh(`curl -sS --max-time 50 '${from}' | sha256sum`, 60_000);
    expect(result.stdout.slice(0, 64), result.stderr).toBe(patternSha256(1, 100 * MB));
  }, 60_000);

  it("a 100 MB upload arrives exact", async () => {
    const file = join(rig.hostRig.folder, "upload");
    writeFileSync(file, Buffer.concat([...pattern(2, 100 * MB)]));
    const result = await rig.guest.run("curl", ["-sS", "--max-time", "50", "-T", file, url(OUTSIDE, "/sink")], 60_000);
    expect(result.stdout, result.stderr).toBe(patternSha256(2, 100 * MB));
  }, 60_000);

  it("200 connections at once each carry their own bytes there and back", async () => {
    const { echo: port } = rig.services.ports;
    const result = await agent(rig.guest, "echoMany", { host: OUTSIDE, port, count: 200, bytes: 200_000 }, 55_000);
    expect(result).toEqual({ right: 200, errors: [] });
  }, 60_000);

  it("the guest closes its half first and still reads the answer", async () => {
    const target = { host: OUTSIDE, port: rig.services.ports.digest };
    const outcome = await agent(rig.guest, "sendThenRead", { ...target, seed: 3, bytes: MB });
    expect(outcome).toMatchObject({ text: patternSha256(3, MB), error: null });
    const end = await rig.services.event("the digest's end", (e) => e.service === "digest" && e.event === "close");
    expect(end).toMatchObject({ bytes: MB, error: null });
  });

  it("the host closes its half first and still reads what the guest sends after", async () => {
    const target = { host: OUTSIDE, port: rig.services.ports.greet };
    const outcome = await agent(rig.guest, "readThenSend", { ...target, seed: 4, bytes: MB });
    expect(outcome).toMatchObject({ text: GREETING, error: null });
    const end = await rig.services.event("the greeter's end", (e) => e.service === "greet" && e.event === "close");
    expect(end).toMatchObject({ bytes: MB, sha256: patternSha256(4, MB), error: null });
  });

  it("a reset by the host reaches the guest as ECONNRESET", async () => {
    const outcome = await agent(rig.guest, "poke", { host: OUTSIDE, port: rig.services.ports.reset });
    expect(outcome.error).toBe("ECONNRESET");
  });

  it.skipIf(LIBSLIRP)("a reset by the guest reaches the host as ECONNRESET (libslirp: as an orderly end)", async () => {
    rig.services.drain(() => true);
    await agent(rig.guest, "abort", { host: OUTSIDE, port: rig.services.ports.echo });
    const end = await rig.services.event("the echo's end", (e) => e.service === "echo" && e.event === "close");
    expect(end.error).toBe("ECONNRESET");
  });

  it("a host that does not read stalls the guest within bounded memory, and on waking has every byte", async () => {
    const bytes = 150 * MB;
    const before = rig.backend.residentBytes;
    const upload = rig.guest.spawn("sh", ["-c", `nc -N ${OUTSIDE} ${rig.services.ports.stall} <'${source()}'`], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let answer = "";
    upload.stdout?.on("data", (piece) => {
      answer += piece;
    });
    const ended = new Promise((resolve) => upload.once("exit", resolve));
    const accepted = await stalledAt(() => sentBytes(rig));
    expect(accepted).toBeGreaterThan(0);
    expect(accepted).toBeLessThan(64 * MB);
    // One flow's buffers and the slabs in flight; nothing that grows with what the guest would like to send.
    expect(rig.backend.residentBytes - before).toBeLessThan(64 * MB);
    rig.services.resumeStalled();
    await ended;
    expect(answer).toBe(patternSha256(5, bytes));

    function source(): string {
      const file = join(rig.hostRig.folder, "stalled");
      writeFileSync(file, Buffer.concat([...pattern(5, bytes)]));
      return file;
    }
  }, 60_000);

  it("a guest that does not read stalls the host within bounded memory, and on waking has every byte", async () => {
    const bytes = 150 * MB;
    const before = rig.backend.residentBytes;
    const from = url(OUTSIDE, `/bytes?n=${bytes}&seed=6`);
    // A pipe whose reader waits for a line: curl is held back, and with it the connection.
    const download = rig.guest.spawn("sh", ["-c", `curl -sS '${from}' | { read _ <&3; sha256sum; }`], {
      stdio: ["ignore", "pipe", "inherit", "pipe"],
    });
    let answer = "";
    download.stdout?.on("data", (piece) => {
      answer += piece;
    });
    const ended = new Promise((resolve) => download.once("exit", resolve));
    const received = await stalledAt(() => receivedBytes(rig));
    expect(received).toBeGreaterThan(0);
    expect(received).toBeLessThan(64 * MB);
    expect(rig.backend.residentBytes - before).toBeLessThan(64 * MB);
    (download.stdio[3] as NodeJS.WritableStream).end("go\n");
    await ended;
    expect(answer.slice(0, 64)).toBe(patternSha256(6, bytes));
  }, 60_000);
});

/** The value at which a counter has stood still for a second (it must have moved before): the flow is stalled. */
async function stalledAt(read: () => Promise<number>, timeout = 20_000): Promise<number> {
  const until = performance.now() + timeout;
  let last = 0;
  let since = performance.now();
  while (performance.now() < until) {
    const now = await read();
    if (now !== last) {
      last = now;
      since = performance.now();
    } else if (last > 0 && performance.now() - since > 1000) return last;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`still moving after ${timeout} ms, at ${last}`);
}

/** Bytes that the guest's kernel has had acknowledged on its fullest connection. */
async function sentBytes(rig: Rig): Promise<number> {
  return most((await rig.guest.run("ss", ["-tinO", "state", "established"])).stdout, /bytes_acked:(\d+)/g);
}

async function receivedBytes(rig: Rig): Promise<number> {
  return most((await rig.guest.run("ss", ["-tinO", "state", "established"])).stdout, /bytes_received:(\d+)/g);
}

function most(text: string, pattern: RegExp): number {
  return Math.max(0, ...[...text.matchAll(pattern)].map((match) => Number(match[1])));
}
