/** A network whose guest is behind descriptor 3, until that is gone; what runs in the guest is served a greeting. */
import { createNetwork } from "../../src/index.ts";

const net = await createNetwork();
await net.listenGuest({ host: "10.0.2.100", port: 80 }, (socket) => socket.end("hello from descriptor 3"));
await net.attachFd(3);
await net.close();
