import { createNetwork, type Network } from "tslirp";

const net = await createNetwork();
const capture = net.capture("run.pcapng", { filter: "tcp or udp port 53", snapLength: 200 });
net.on("drop", ({ reason, count }) => console.log(`${count} dropped: ${reason}`));
net.impair([{ delay: 20, loss: 0.01, direction: "down" }], 1); // the same seed loses the same frames

console.table(net.flows().map(({ proto, guest, remote, state }) => ({ proto, guest, remote, state })));
console.log(net.stats().tcpFlows, "connections");
await capture.stop(); // resolves when all is written

// Below is the test's.
export const network: Network = net;
