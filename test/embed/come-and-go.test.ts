/** Guests that come and go on a network that runs: whom a forward finds, whose a name is, who has an address. */
import net from "node:net";
import { afterEach, expect, it } from "vitest";
import { resolveName } from "../../src/cli/guest/dns.ts";
import { createNetwork, type Network, type NetworkOptions } from "../../src/index.ts";
import { ipv4ToString } from "../../src/wire/ipv4.ts";
import { type EmbeddedGuest, embeddedGuest } from "../support/embedded-guest.ts";

let network: Network;
const guests: EmbeddedGuest[] = [];

afterEach(async () => {
  for (const guest of guests.splice(0)) guest.stop();
  await network.close();
});

async function start(options: NetworkOptions = {}): Promise<void> {
  network = await createNetwork(options);
  await network.publish({ proto: "tcp", host: { host: "127.0.0.1", port: 0 }, guest: { host: null, port: 80 } });
}

/** A guest that tells whoever dials its port 80 its MAC's last byte. */
async function join(last: number, hostname?: string): Promise<EmbeddedGuest> {
  const joined = await embeddedGuest(network, last, hostname);
  guests.push(joined);
  joined.guest.listen(80, (socket) => ({
    onConnect: () => {
      socket.write(Uint8Array.of(48 + last));
      socket.end();
    },
  }));
  return joined;
}

function leave(guest: EmbeddedGuest): void {
  guests.splice(guests.indexOf(guest), 1);
  guest.stop();
}

/** What a client of the forward is told. */
async function told(): Promise<string> {
  const { address } = network.forwards()[0]!;
  const socket = net.connect("port" in address ? address.port : 0, "127.0.0.1");
  let text = "";
  socket.on("data", (bytes) => {
    text += String(bytes);
  });
  socket.on("error", () => {});
  await new Promise((resolve) => socket.once("close", resolve));
  return text;
}

it("a forward without an address leads to the guest that has the first lease and is there", async () => {
  await start();
  const one = await join(1);
  await join(2);
  expect(await told()).toBe("1");
  leave(one);
  expect(await told()).toBe("2");
  expect(network.leases().map(({ ip }) => ip)).toEqual(["10.0.2.15", "10.0.2.16"]);
  const again = await join(1);
  expect(ipv4ToString(again.guest.ip)).toBe("10.0.2.15");
  expect(await told()).toBe("1");
  const socket = await network.connect({ port: 80 });
  expect(await socket.toArray()).toEqual([Buffer.from("1")]);
});

it("forty machines, one after the other, each with a MAC of its own: each has an address, and the forward leads to it", async () => {
  await start();
  for (let i = 1; i <= 40; i++) {
    const machine = await join(i);
    expect(await told()).toBe(String.fromCharCode(48 + i));
    leave(machine);
  }
});

it("a guest that sets its address itself has the forward, whoever has leases", async () => {
  await start();
  const fixed = await embeddedGuest(network, 7, undefined, {
    ip: "10.0.2.15",
    prefix: 24,
    gateway: "10.0.2.2",
    dns: null,
  });
  guests.push(fixed);
  fixed.guest.listen(80, (socket) => ({ onConnect: () => socket.end() }));
  await fixed.guest.ping(fixed.guest.gateway, 1000);
  const other = await join(2);
  expect(ipv4ToString(other.guest.ip)).toBe("10.0.2.16");
  expect(await told()).toBe("");
  leave(fixed);
  expect(await told()).toBe("2");
});

it("a guest that changes its MAC behind its own cable goes on, and the forward leads to it", async () => {
  await start();
  const one = await join(1);
  const two = await join(2);
  one.guest.mac.set([0x52, 0x54, 0, 0, 0, 9]);
  expect(await one.guest.ping(one.guest.gateway, 1000)).toBeGreaterThanOrEqual(0);
  expect(network.leases()[0]).toMatchObject({ ip: "10.0.2.15", mac: "52:54:00:00:00:09" });
  expect(await told()).toBe("1");
  // But nobody else's.
  two.guest.configure({ ip: "10.0.2.15", prefix: 24, gateway: "10.0.2.2", dns: null });
  expect(await two.guest.ping(two.guest.gateway, 300).catch(() => -1)).toBe(-1);
  expect(await told()).toBe("1");
});

it("a name is given up by whoever is gone, and kept by whoever comes back first", async () => {
  await start();
  const one = await join(1, "web");
  await join(2, "web");
  expect(network.guestNamed("web")).toBe("10.0.2.15");
  leave(one);
  expect(network.guestNamed("web")).toBe("10.0.2.16");
  await join(1, "web");
  expect(network.guestNamed("web")).toBe("10.0.2.16");
  for (const guest of [...guests]) leave(guest);
  expect(network.guestNamed("web")).toBeNull();
});

it.each(["www.bank.example", "bank.example.", "wpad", "metadata.google.internal", "instance-data"])(
  "a guest that calls itself %s is not answered for in place of the world's",
  async (name) => {
    await start({ dnsUpstream: ["127.0.0.1:9"] });
    const one = await join(1);
    await join(2, name);
    // It is asked of the host's resolver, which is not there.
    await expect(resolveName(one.guest, name.replace(/\.$/, ""))).rejects.toThrow();
  },
);

it("guests that are kept apart do not reach each other by forwards, at whatever address of the host", async () => {
  await start({ isolate: true });
  await join(1);
  const two = await join(2);
  const { address } = network.forwards()[0]!;
  const port = "port" in address ? address.port : 0;
  expect(await two.dial(two.guest.gateway, port)).not.toBe("connected");
  // The owner does.
  expect(await told()).toBe("1");
});
