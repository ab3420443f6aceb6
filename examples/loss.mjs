/** What a bad line costs: a guest downloads from http://10.0.2.100/ while frames are lost. `loss.mjs SOCKET [LOSS] [SEED]` */
import http from "node:http";
import { createNetwork } from "tslirp";

const [path = "/tmp/net.sock", loss = "0.02", seed = "1"] = process.argv.slice(2);
const body = Buffer.alloc(2_000_000, "some bytes, again and again. ");

const server = http.createServer((_request, response) => {
  const started = performance.now();
  response.end(body, () => console.log(`sent within ${Math.round(performance.now() - started)} ms`));
});

const net = await createNetwork();
await net.listenGuest({ host: "10.0.2.100", port: 80 }, (socket) => server.emit("connection", socket));
// The same seed and the same traffic lose the same frames.
net.impair([{ loss: Number(loss) }], Number(seed));
net.on("flowClose", ({ guest, bytesDown, retransmissions }) => {
  console.log(`${guest}: ${bytesDown} bytes, ${retransmissions} segments sent again`);
});
console.log("QEMU:", ...(await net.listen({ path })));

process.once("SIGTERM", () => net.close());
