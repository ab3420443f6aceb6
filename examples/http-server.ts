/** An HTTP server that only guests can reach: http://10.0.2.100/ from within. `http-server.ts SOCKET` */
import http from "node:http";
import { createNetwork } from "tslirp";

const [path = "/tmp/net.sock"] = process.argv.slice(2);

const server = http.createServer((request, response) => {
  response.end(`hello ${request.socket.remoteAddress}, you asked for ${request.url}\n`);
});

const net = await createNetwork();
await net.listenGuest({ host: "10.0.2.100", port: 80 }, (socket) => server.emit("connection", socket));
console.log("QEMU:", ...(await net.listen({ path })));

process.once("SIGTERM", () => net.close());
