/** A far end that is gone without a word is missed: the kernel asks it after two hours of silence. */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import net from "node:net";
import { expect, it } from "vitest";
import { NodeHostNet } from "../../src/host/net.ts";
import { SeededRandom } from "../support/random.ts";

it.skipIf(process.platform !== "linux")("connections of the host have keepalive", async () => {
  const server = net.createServer((socket) => void socket.on("error", () => {}));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  const host = new NodeHostNet({ random: new SeededRandom(1) });
  let connected = (): void => {};
  const stands = new Promise<void>((resolve) => {
    connected = resolve;
  });
  const none = (): void => {};
  const events = { onConnect: () => connected(), onData: none, onEnd: none, onDrain: none, onClose: none };
  const tcp = host.connectTcp({ host: "127.0.0.1", port }, events);
  await stands;
  const remote = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const rows = readFileSync("/proc/net/tcp", "utf8").split("\n");
  const row = rows.map((line) => line.trim().split(/\s+/)).find((fields) => fields[2]?.endsWith(remote));
  // Timer 2 is keepalive's (proc(5)).
  expect(row?.[5]).toMatch(/^02:/);
  tcp.reset();
  server.close();
});
