import { expect, test } from "vitest";
import { ESTABLISHED } from "../../../src/proto/tcp/types.ts";
import { Pair } from "../../support/tcb-pair.ts";

const GIB = 2 ** 30;
/** Not a power of two, so that a slip by a round number of bytes shows. */
const PERIOD = 65_521;
const PATTERN = new Uint8Array(4 * PERIOD).map((_, i) => ((i % PERIOD) * 31 + ((i % PERIOD) >> 8)) & 255);

test("more than 4 GiB pass through one connection, both ways, every byte compared", () => {
  const pair = new Pair({ mss: 65_480, iss: [-100_000, 0x7fff_0000] });
  const total = 4 * GIB + 12_345_678;
  const peers = [pair.a, pair.b].map((peer) => ({ peer, sent: 0, right: true }));
  for (const end of peers) {
    let at = 0;
    end.peer.deliver = (slab, from, len) => {
      const offset = at % PERIOD;
      const same = Buffer.compare(PATTERN.subarray(offset, offset + len), slab.bytes.subarray(from, from + len)) === 0;
      end.right &&= same;
      at += len;
      end.peer.receivedBytes = at;
    };
  }
  pair.run(() => {
    for (const end of peers) {
      const { tcb } = end.peer;
      while (tcb.state >= ESTABLISHED && tcb.sendBuffer.length < 300_000 && end.sent < total) {
        const n = Math.min(2 * PERIOD, total - end.sent);
        tcb.send(PATTERN, end.sent % PERIOD, n, pair.now);
        end.sent += n;
      }
    }
    return peers.every((end) => end.peer.receivedBytes === total);
  });
  for (const end of peers) expect(end.right).toBe(true);
  expect(pair.a.tcb.retransmissions + pair.b.tcb.retransmissions).toBe(0);
}, 120_000);
