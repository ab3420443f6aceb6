/** Guests' names on a network that runs: answered by its DNS server, and forwarded to. */
import { once } from "node:events";
import net from "node:net";
import { afterEach, beforeEach, expect, it } from "vitest";
import { resolveName } from "../../src/cli/guest/dns.ts";
import { createNetwork, type Network } from "../../src/index.ts";
import { ipv4ToString } from "../../src/wire/ipv4.ts";
import { type EmbeddedGuest, embeddedGuest } from "../support/embedded-guest.ts";

let network: Network;
let guests: EmbeddedGuest[];

beforeEach(() => {
  guests = [];
});
afterEach(async () => {
  for (const guest of guests) guest.stop();
  await network.close();
});

async function join(hostname?: string): Promise<EmbeddedGuest> {
  const guest = await embeddedGuest(network, guests.length + 1, hostname);
  guests.push(guest);
  return guest;
}

/** What a client of the host's is told at this port. */
async function told(port: number): Promise<string> {
  const socket = net.connect(port, "127.0.0.1");
  let text = "";
  socket.on("data", (bytes) => {
    text += String(bytes);
  });
  socket.on("error", (error: NodeJS.ErrnoException) => {
    text += error.code;
  });
  await new Promise((resolve) => socket.once("close", resolve));
  return text;
}

it("guests find each other by name, also where nothing leaves and rules refuse the rest", async () => {
  network = await createNetwork({ rules: ["default deny"] });
  const one = await join("one");
  await join("two");
  expect(ipv4ToString(await resolveName(one.guest, "two.internal"))).toBe("10.0.2.16");
  await expect(resolveName(one.guest, "three.internal")).rejects.toThrow("REFUSED");
  expect(network.guestNamed("two")).toBe("10.0.2.16");
});

it("a forward leads to the guest that has the name when a client comes, and to nobody before", async () => {
  network = await createNetwork();
  await join("one");
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  const [forward] = await network.publish(`web:${port}:80`);
  expect(forward!.rule.guest).toEqual({ host: null, port: 80, name: "web" });
  expect(await told(port)).toBe("ECONNRESET");
  const web = await join("web");
  web.guest.listen(80, (socket) => {
    return {
      onConnect: () => {
        socket.write(Buffer.from("web's"));
        socket.end();
      },
    };
  });
  expect(await told(port)).toBe("web's");
});
