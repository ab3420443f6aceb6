/** The guests of `bench/guests.ts`: `ADDRESS COUNT FIRST`, a WebSocket's address or a UNIX path, and the first one's number. */

import { once } from "node:events";
import net from "node:net";
import { framedCable } from "../test/embed/framed-cable.ts";
import { embeddedGuest } from "../test/support/embedded-guest.ts";
import { webSocketPlug } from "../test/support/web-socket-plug.ts";

const [address = "", count = "1", first = "0"] = process.argv.slice(2);
for (let i = Number(first); i < Number(first) + Number(count); i++) {
  if (address.startsWith("ws:")) await embeddedGuest(await webSocketPlug(address), i & 255);
  else {
    const socket = net.connect(address);
    await once(socket, "connect");
    await embeddedGuest(
      { cable: () => Object.assign(framedCable(socket), { close: () => void socket.destroy() }) },
      i & 255,
    );
  }
}
console.log("ready");
