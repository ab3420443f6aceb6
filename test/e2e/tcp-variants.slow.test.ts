/** A Linux guest whose TCP is not the usual one: without options, with tiny segments and windows, slow, asleep. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { agent } from "../support/e2e/agent.ts";
import { describeE2e } from "../support/e2e/requirements.ts";
import { GATEWAY, OUTSIDE, Rig, url } from "../support/e2e/rig.ts";
import { GREETING, pattern, patternSha256 } from "../support/services.ts";

const MB = 1_000_000;
/** How long a reader sleeps: two minutes when there is time. */
const STALL_SECONDS = Number(process.env.STALL_SECONDS ?? 20);

interface Variant {
  readonly name: string;
  /** In the guest's namespace, and back. */
  readonly set: string;
  readonly unset: string;
  readonly bytes: number;
}

const sysctl = (name: string, value: string, usual: string, words: string, bytes = 5 * MB): Variant => ({
  name: words,
  set: `sysctl -qw net.ipv4.${name}="${value}"`,
  unset: `sysctl -qw net.ipv4.${name}="${usual}"`,
  bytes,
});
const mss = (size: number, bytes: number): Variant => ({
  name: `MSS ${size}`,
  set: `ip route replace default via ${GATEWAY} dev tap0 advmss ${size}`,
  unset: `ip route replace default via ${GATEWAY} dev tap0`,
  bytes,
});

const VARIANTS: readonly Variant[] = [
  sysctl("tcp_timestamps", "0", "1", "timestamps off"),
  sysctl("tcp_sack", "0", "1", "SACK off"),
  sysctl("tcp_window_scaling", "0", "1", "window scaling off"),
  sysctl("tcp_rmem", "4096 4096 4096", "4096 131072 6291456", "a receive buffer of 4096 bytes", MB),
  mss(536, 2 * MB),
  mss(88, MB / 2),
];

describeE2e("TCP of a Linux guest that is not as usual", ["curl", "sha256sum", "sysctl", "ip", "nc"], () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.online();
  });
  afterAll(() => rig?.close());

  for (const { name, set, unset, bytes } of VARIANTS) {
    it(`${name}: bulk both ways is exact, and every ending is told as what it is`, async () => {
      const change = await rig.guest.sh(set);
      expect(change.code, change.stderr).toBe(0);
      try {
        const from = url(OUTSIDE, `/bytes?n=${bytes}&seed=1`);
        const down = await rig.guest.sh(`curl -sS --max-time 50 '${from}' | sha256sum`, 55_000);
        expect(down.stdout.slice(0, 64), down.stderr).toBe(patternSha256(1, bytes));
        const { digest, greet, reset, echo } = rig.services.ports;
        const up = await agent(rig.guest, "sendThenRead", { host: OUTSIDE, port: digest, seed: 2, bytes });
        expect(up).toMatchObject({ text: patternSha256(2, bytes), error: null });
        const last = await agent(rig.guest, "readThenSend", { host: OUTSIDE, port: greet, seed: 3, bytes: 100_000 });
        expect(last).toMatchObject({ text: GREETING, error: null });
        expect((await agent(rig.guest, "poke", { host: OUTSIDE, port: reset })).error).toBe("ECONNRESET");
        rig.services.drain(() => true);
        await agent(rig.guest, "abort", { host: OUTSIDE, port: echo });
        const end = await rig.services.event("the echo's end", (e) => e.service === "echo" && e.event === "close");
        expect(end.error).toBe("ECONNRESET");
      } finally {
        await rig.guest.sh(unset);
      }
    }, 120_000);
  }

  it("a slow reader has every byte", async () => {
    const bytes = 6 * MB;
    const from = url(OUTSIDE, `/bytes?n=${bytes}&seed=4`);
    // Half a megabyte, a pause, and so on.
    const reader =
      "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do dd bs=500000 count=1 iflag=fullblock status=none; sleep 0.2; done";
    const down = await rig.guest.sh(`curl -sS '${from}' | { ${reader}; } | sha256sum`, 55_000);
    expect(down.stdout.slice(0, 64), down.stderr).toBe(patternSha256(4, bytes));
    expect(down.millis).toBeGreaterThan(2_000);
  }, 60_000);

  it(
    `readers at both ends that sleep for ${STALL_SECONDS} s have every byte when they wake`,
    async () => {
      const bytes = 30 * MB;
      const file = join(rig.hostRig.folder, "asleep");
      writeFileSync(file, Buffer.concat([...pattern(5, bytes)]));
      const upload = rig.guest.sh(
        `nc -N ${OUTSIDE} ${rig.services.ports.stall} <'${file}'`,
        STALL_SECONDS * 1000 + 60_000,
      );
      const from = url(OUTSIDE, `/bytes?n=${bytes}&seed=6`);
      const download = rig.guest.sh(
        `curl -sS '${from}' | { sleep ${STALL_SECONDS}; sha256sum; }`,
        STALL_SECONDS * 1000 + 60_000,
      );
      await sleep(STALL_SECONDS * 1000);
      rig.services.resumeStalled();
      expect((await upload).stdout).toBe(patternSha256(5, bytes));
      expect((await download).stdout.slice(0, 64)).toBe(patternSha256(6, bytes));
    },
    STALL_SECONDS * 1000 + 70_000,
  );
});
