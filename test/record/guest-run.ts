/** A run that touches every seam, of the little guest within the process, recorded. */
import { writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { expect } from "vitest";
import { dhcp } from "../../src/cli/guest/dhcp.ts";
import { Guest } from "../../src/cli/guest/guest.ts";
import { httpGet } from "../../src/cli/guest/http.ts";
import { tftpGet } from "../../src/cli/guest/tftp.ts";
import { runOnTimers } from "../../src/cli/guest/timers.ts";
import { HostClock } from "../../src/host/clock.ts";
import { HostRandom } from "../../src/host/random.ts";
import { createNetwork, type NetworkOptions } from "../../src/index.ts";

const MAC = new Uint8Array([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
const FILE = 50_000;
const body = Buffer.alloc(300_000, "what the guest fetches; ");

/** What the guest finds: a page on the host's loopback, and a file in `folder`. */
export async function serveGuest(folder: string): Promise<Server> {
  writeFileSync(path.join(folder, "file"), body.subarray(0, FILE));
  const server = createServer((_, response) => response.end(body));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

/** A guest boots, reads a file, fetches pages of the host and of the process, is sent a datagram, and goes. */
export async function recordGuest(
  file: string,
  payload: boolean,
  folder: string,
  server: Server,
  options: NetworkOptions = {},
): Promise<void> {
  const net = await createNetwork({
    ...options,
    tftp: folder,
    hostfwd: ["tcp:127.0.0.1:0-:7"],
    record: { file, payload },
  });
  const cable = net.cable();
  const guest = new Guest({ cable, mac: MAC, clock: new HostClock(), random: new HostRandom() });
  const stop = runOnTimers(guest);
  try {
    await dhcp(guest);
    await guest.ping(guest.gateway);
    expect((await tftpGet(guest, guest.gateway, "file")).length).toBe(FILE);
    const { body: fetched } = await httpGet(guest, `http://10.0.2.2:${(server.address() as AddressInfo).port}/`);
    expect(Buffer.from(fetched).equals(body)).toBe(true);
    net.leases();
    net.flows();
    const udp = await net.bindGuestUdp({ host: "10.0.2.100", port: 5000 });
    udp.send("to a guest", 9, "10.0.2.15");
    // Served within the process: by an address, and by a verdict that takes the connection over.
    await net.listenGuest({ host: "10.0.2.100", port: 80 }, (socket) => {
      socket.once("data", () => socket.end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"));
    });
    expect((await httpGet(guest, "http://10.0.2.100/")).body.length).toBe(2);
    net.setRules(["deny tcp 10.9.9.9", "default allow"]);
    await net.publish("tcp:127.0.0.1:0-:8");
    await new Promise((resolve) => setTimeout(resolve, 20));
  } finally {
    stop();
    cable.close();
    await net.close();
  }
}
