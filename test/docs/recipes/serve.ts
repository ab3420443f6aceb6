import http from "node:http";
import { createNetwork, type Network } from "tslirp";

const net = await createNetwork();
const web = http.createServer((request, response) => response.end(`hello ${request.socket.remoteAddress}\n`));
await net.listenGuest({ host: "10.0.2.100", port: 80 }, (socket) => web.emit("connection", socket));

const clock = await net.bindGuestUdp({ host: "10.0.2.100", port: 37 });
clock.on("message", (_question, from) => clock.send(new Date().toISOString(), from.port, from.address));

// Below is the test's.
export const network: Network = net;
