/** Runs a command in the first guest that gets a lease. `ssh.ts SOCKET USER KEYFILE COMMAND` */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { text } from "node:stream/consumers";
import { createNetwork, type GuestSocket } from "tslirp";
import ssh2 from "ssh2";

const [path = "/tmp/net.sock", username = "root", keyFile = "", command = "uname -a"] = process.argv.slice(2);

const net = await createNetwork();
const leased = once(net, "lease");
console.log("QEMU:", ...(await net.listen({ path })));
const [{ ip }] = await leased;

const client = new ssh2.Client();
client.connect({ sock: await dial(ip), username, privateKey: readFileSync(keyFile) });
await once(client, "ready");
const output = await new Promise<string>((resolve, reject) => {
  client.exec(command, (error, channel) => (error ? reject(error) : resolve(text(channel))));
});
console.log(`${ip}: ${output.trim()}`);
client.end();
await once(client, "close");
await net.close();

/** A guest that has its address does not listen yet. */
async function dial(host: string): Promise<GuestSocket> {
  for (let tries = 0; ; tries++) {
    try {
      return await net.connect({ host, port: 22, signal: AbortSignal.timeout(5_000) });
    } catch (error) {
      if (tries === 60) throw error;
      await delay(500);
    }
  }
}
