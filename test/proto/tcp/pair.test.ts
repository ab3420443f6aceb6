import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { CLOSED, ESTABLISHED } from "../../../src/proto/tcp/types.ts";
import { Pair, type Peer, seeded, type WireOptions } from "../../support/tcb-pair.ts";

function bytes(n: number, seed: number): Uint8Array {
  const r = seeded(seed);
  const out = new Uint8Array(n);
  for (let i = 0; i < n; i++) out[i] = r() * 256;
  return out;
}

function sha(parts: Uint8Array[]): string {
  const h = createHash("sha256");
  for (const p of parts) h.update(p);
  return h.digest("hex");
}

/** Feeds `data` as the send buffer has room, then closes. */
function feed(pair: Pair, peer: Peer, data: Uint8Array, chunk = 20_000): () => void {
  let at = 0;
  return () => {
    while (at < data.length && peer.tcb.state >= ESTABLISHED && peer.tcb.sendBuffer.length < 200_000) {
      const n = Math.min(chunk, data.length - at);
      peer.tcb.send(data, at, n, pair.now);
      at += n;
    }
    if (at === data.length && peer.tcb.state >= ESTABLISHED) peer.tcb.close(pair.now);
  };
}

function transfer(options: WireOptions, n: number): Pair {
  const pair = new Pair(options);
  const up = bytes(n, 7);
  const down = bytes(n, 8);
  const feedA = feed(pair, pair.a, up);
  const feedB = feed(pair, pair.b, down);
  pair.run(() => {
    feedA();
    feedB();
    return pair.a.tcb.state === CLOSED && pair.b.tcb.state === CLOSED;
  });
  expect(sha(pair.b.received)).toBe(sha([up]));
  expect(sha(pair.a.received)).toBe(sha([down]));
  expect(pair.a.events).toContain("closed");
  expect(pair.b.events).toContain("closed");
  expect(pair.a.chunks.used).toBe(0);
  expect(pair.b.chunks.used).toBe(0);
  return pair;
}

describe("two endpoints", () => {
  test("exchange a megabyte each way without a retransmission on a clean wire", () => {
    const pair = transfer({}, 1 << 20);
    expect(pair.a.tcb.retransmissions + pair.b.tcb.retransmissions).toBe(0);
  });

  test("pass 2^32 in both sequence spaces", () => {
    transfer({ iss: [0xffff_0000 | 0, 0x7fff_0000] }, 1 << 20);
  });

  for (const loss of [0.01, 0.05, 0.2]) {
    for (let seed = 1; seed <= 5; seed++) {
      test(`lose nothing on a wire that loses ${loss * 100} % (seed ${seed})`, () => {
        transfer({ loss, seed, delay: 0.2, jitter: 0.1 }, 300_000);
      });
    }
  }

  test("lose nothing on a wire that reorders and duplicates", () => {
    for (let seed = 1; seed <= 5; seed++) transfer({ duplicate: 0.1, jitter: 2, delay: 0.1, seed }, 300_000);
  });

  test("lose nothing to a slow reader with a small buffer", () => {
    for (let seed = 1; seed <= 3; seed++) transfer({ receive: 5000, drain: 700, loss: 0.02, seed }, 100_000);
  });

  test("carry 65480-byte segments", () => {
    transfer({ mss: 65_480 }, 4 << 20);
  });
});

describe.each([
  ["cut on the way", "cut"],
  ["whole", "whole"],
] as const)("two endpoints whose long segments arrive %s", (_name, arrives) => {
  const offload = 65_000;

  test("exchange a megabyte each way without a retransmission, in far fewer segments", () => {
    const pair = transfer({ offload, arrives }, 1 << 20);
    expect(pair.a.tcb.retransmissions + pair.b.tcb.retransmissions).toBe(0);
    if (arrives === "whole") expect(pair.sent).toBeLessThan(400);
  });

  for (const loss of [0.01, 0.05, 0.2]) {
    test(`lose nothing on a wire that loses ${loss * 100} %`, () => {
      for (let seed = 1; seed <= 3; seed++)
        transfer({ offload, arrives, loss, seed, delay: 0.2, jitter: 0.1 }, 300_000);
    });
  }

  test("lose nothing on a wire that reorders and duplicates", () => {
    for (let seed = 1; seed <= 3; seed++)
      transfer({ offload, arrives, duplicate: 0.1, jitter: 2, delay: 0.1, seed }, 300_000);
  });

  test("lose nothing to a slow reader with a small buffer", () => {
    for (let seed = 1; seed <= 3; seed++)
      transfer({ offload, arrives, receive: 5000, drain: 700, loss: 0.02, seed }, 100_000);
  });

  test("pass 2^32 in both sequence spaces", () => {
    transfer({ offload, arrives, iss: [0xffff_0000 | 0, 0x7fff_0000] }, 1 << 20);
  });
});
