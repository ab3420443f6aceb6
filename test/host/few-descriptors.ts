// Run with few descriptors: what does a host say that has no more sockets, and does its listener live on?
import net from "node:net";
import { NodeHostNet } from "../../src/host/net.ts";
import { HostRandom } from "../../src/host/random.ts";

const host = new NodeHostNet({ random: new HostRandom() });
let accepts = 0;
const nobody = { onConnect() {}, onData() {}, onEnd() {}, onDrain() {} };
const listener = await host.listenTcp({ host: "127.0.0.1", port: 0 }, (offer) => {
  accepts++;
  offer.accept({ ...nobody, onClose() {} }).resume();
});
const at = listener.address as { host: string; port: number };
const codes = new Set<string | null>();
const tcps = Array.from({ length: 80 }, () => host.connectTcp(at, { ...nobody, onClose: (code) => codes.add(code) }));
while (codes.size === 0) await new Promise((resolve) => setImmediate(resolve));
for (let i = 0; i < 100; i++) await new Promise((resolve) => setImmediate(resolve));
const udpErrors: string[] = [];
const udp = host.openUdp(4, { onDatagram() {}, onUdpError: ({ code }) => udpErrors.push(code) });
udp.send(new Uint8Array(1), 0, 1, at, 64, false);
await new Promise((resolve) => setImmediate(resolve));
for (const tcp of tcps) tcp.reset();
udp.close();
for (let i = 0; i < 100; i++) await new Promise((resolve) => setImmediate(resolve));
const before = accepts;
const client = net.connect(at.port, at.host);
while (accepts === before) await new Promise((resolve) => setImmediate(resolve));
client.destroy();
// Connections that were accepted and dropped for want of descriptors show as resets.
codes.delete("ECONNRESET");
process.send!({ codes: [...codes], udp: udpErrors, served: true });
