/** Pings from the namespace it runs in, and prints what came of it as JSON: see `icmp.test.ts`. */
import { readFileSync } from "node:fs";
import type { HostPingEvents } from "../../src/core/host-net.ts";
import { NodeHostNet } from "../../src/host/net.ts";
import { HostRandom } from "../../src/host/random.ts";

export interface Report {
  /** For the log. */
  readonly notices: readonly string[];
  /** "sequence length from", sorted. */
  readonly replies: readonly string[];
  /** "sequence code to". */
  readonly errors: readonly string[];
  /** Open when the answers had come. */
  readonly sockets: number;
}

/** Ping sockets of this namespace, where nobody else has any. */
function pingSockets(): number {
  return ["icmp", "icmp6"].reduce((sum, name) => {
    const lines = readFileSync(`/proc/self/net/${name}`, "utf8").trim().split("\n");
    return sum + lines.length - 1;
  }, 0);
}

const notices: string[] = [];
const replies: string[] = [];
const errors: string[] = [];
const net = new NodeHostNet({ random: new HostRandom(), notice: (text) => notices.push(text) });
const PATIENCE_MS = 8_000;
const EXPECTED = 6;

const events: HostPingEvents = {
  onReply(seq, bytes, at, len, from) {
    for (let i = 0; i < len; i++)
      if (bytes[at + i] !== (i & 255)) throw new Error(`byte ${i} of reply ${seq} is wrong`);
    replies.push(`${seq} ${len} ${from}`);
  },
  onPingError(seq, to, error) {
    errors.push(`${seq} ${error.code} ${to}`);
  },
};
const v4 = net.openPing(4, events);
const v6 = net.openPing(6, events);
const data = Uint8Array.from({ length: 65_507 }, (_, i) => i & 255);
v4.send(1, data, 0, 0, 1, true, "127.0.0.1");
v4.send(2, data, 0, 56, 255, true, "127.0.0.1");
v4.send(3, data, 0, 8_000, 64, false, "127.0.0.1");
v4.send(4, data, 0, 65_507, 64, false, "127.0.0.1");
v6.send(5, data, 0, 56, 64, true, "::1");
v4.send(6, data, 0, 56, 64, true, "192.0.2.9");

const until = performance.now() + PATIENCE_MS;
while (replies.length + errors.length < EXPECTED && notices.length === 0 && performance.now() < until) {
  await new Promise((resolve) => setTimeout(resolve, 5));
}
const sockets = pingSockets();
const report: Report = { notices, replies: replies.sort(), errors, sockets };
v4.close();
v6.close();
process.stdout.write(JSON.stringify(report));
