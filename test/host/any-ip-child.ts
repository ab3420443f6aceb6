/** Dials ports of its own at addresses that only a route makes this machine's, and prints how that went. */

import { createSocket } from "node:dgram";
import { once } from "node:events";
import net from "node:net";
import { NodeHostNet } from "../../src/host/net.ts";
import { dial } from "../support/dial.ts";
import { SeededRandom } from "../support/random.ts";

const ADDRESSES = ["192.0.2.1", "2001:db8::1"];

function udp(host: NodeHostNet, to: string, port: number, came: Promise<unknown>): Promise<string> {
  return new Promise((resolve) => {
    const family = to.includes(":") ? 6 : 4;
    const socket = host.openUdp(family, { onDatagram() {}, onUdpError: ({ code }) => resolve(code) });
    socket.send(Buffer.from("x"), 0, 1, { host: to, port }, 64, false);
    void came.then(() => resolve("sent"));
  });
}

const host = new NodeHostNet({ random: new SeededRandom() });
const server = net.createServer((socket) => socket.destroy()).listen(0);
await once(server, "listening");
const { port } = server.address() as net.AddressInfo;
const datagrams = createSocket("udp6").bind(port);
await once(datagrams, "listening");
const came = once(datagrams, "message");
const report: Record<string, object> = {};
const release = host.ownPorts.protect(port);
for (const address of ADDRESSES)
  report[address] = { tcp: await dial(host, address, port), udp: await udp(host, address, port, came) };
release();
const [first] = ADDRESSES as [string];
report.unheld = { tcp: await dial(host, first, port), udp: await udp(host, first, port, came) };
console.log(JSON.stringify(report));
process.exit();
