import { createNetwork, type Network } from "tslirp";

const net = await createNetwork({ hostfwd: ["unix:ssh.sock-:22"] });
net.on("lease", ({ ip, mac, hostname }) => console.log(`${hostname ?? mac} has ${ip}`));
net.on("flowClose", ({ guest, bytesUp, bytesDown }) => console.log(`${guest}: ${bytesUp} up, ${bytesDown} down`));

const qemuArgs = await net.listen({ path: "net.sock" });
console.log("qemu-system-x86_64 disk.img", ...qemuArgs);
// … and when all is done:
process.once("SIGTERM", () => net.close());

// Below is the test's.
export const network: Network = net;
