// Run with few descriptors: what does a host say that has no more sockets, and does its listener live on?
import fs from "node:fs";
import net from "node:net";
import { NodeHostNet } from "../../src/host/net.ts";
import { HostRandom } from "../../src/host/random.ts";

const host = new NodeHostNet({ random: new HostRandom() });
const turns = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
};
let accepts = 0;
const nobody = { onConnect() {}, onData() {}, onEnd() {}, onDrain() {} };
const listener = await host.listenTcp({ host: "127.0.0.1", port: 0 }, (offer) => {
  accepts++;
  offer.accept({ ...nobody, onClose() {} }).resume();
});
const at = listener.address as { host: string; port: number };

/** Connects, and tells how the attempt ended; "connected" is reset at once. */
function dial(): Promise<string | null> {
  return new Promise((resolve) => {
    const tcp = host.connectTcp(at, {
      ...nobody,
      onConnect() {
        tcp.reset();
        resolve("connected");
      },
      onClose: resolve,
    });
  });
}

/** Sends a datagram, and tells the errors that come of it. */
async function say(): Promise<string[]> {
  const errors: string[] = [];
  const udp = host.openUdp(4, { onDatagram() {}, onUdpError: ({ code }) => errors.push(code) });
  udp.send(new Uint8Array(1), 0, 1, at, 64, false);
  await turns(2);
  udp.close();
  return errors;
}

// What is loaded at the first use is loaded now.
const first = await dial();
await say();
await turns(100);
const held: number[] = [];
try {
  for (;;) held.push(fs.openSync("/dev/null", "r"));
} catch {
  // No descriptor is left.
}
const codes = [first, await dial(), await dial()];
const udp = await say();
// One for a client, and none for us to accept it with.
fs.closeSync(held.pop()!);
const early = net.connect(at.port, at.host).on("error", () => {});
await turns(100);
early.destroy();
for (const fd of held) fs.closeSync(fd);
await turns(100);
const before = accepts;
const client = net.connect(at.port, at.host);
while (accepts === before) await turns(1);
client.destroy();
process.send!({ codes, udp, served: true });
