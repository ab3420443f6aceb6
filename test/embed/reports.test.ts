/** Public bug reports of other user-mode networks, replayed: each names the report. */
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import net from "node:net";
import { afterEach, beforeEach, expect, it } from "vitest";
import { resolveName } from "../../src/cli/guest/dns.ts";
import { endpointText, ipv4FromText } from "../../src/core/address.ts";
import { createNetwork, type Network, type NetworkOptions } from "../../src/index.ts";
import { ipv4ToString } from "../../src/wire/ipv4.ts";
import { answer, query } from "../support/dns.ts";
import { UdpServer } from "../support/dns-server.ts";
import { type EmbeddedGuest, embeddedGuest } from "../support/embedded-guest.ts";

let network: Network;
let guest: EmbeddedGuest;
let ends: (() => unknown)[];

beforeEach(() => {
  ends = [];
});
afterEach(async () => {
  guest.stop();
  await network.close();
  for (const end of ends) await end();
});

async function begin(options: NetworkOptions = {}): Promise<void> {
  network = await createNetwork(options);
  guest = await embeddedGuest(network);
}

async function host(): Promise<Socket> {
  const socket = createSocket("udp4").bind(0, "127.0.0.1");
  await once(socket, "listening");
  ends.push(() => new Promise<void>((resolve) => socket.close(resolve)));
  return socket;
}

it("slirp4netns 227: an empty datagram passes both ways, and is no reason to spin", async () => {
  await begin();
  const server = await host();
  server.on("message", (bytes, from) => server.send(bytes, from.port, from.address));
  const socket = guest.guest.udp();
  const answered = new Promise<number>((resolve) => {
    socket.onDatagram = (bytes) => resolve(bytes.length);
  });
  socket.send(new Uint8Array(0), ipv4FromText("10.0.2.2"), server.address().port);
  expect(await answered).toBe(0);
  expect(network.stats().drops["udp-malformed"]).toBe(0);
});

it("slirp4netns 354: host port 0 is taken, and told", async () => {
  await begin();
  const [forward] = await network.publish("tcp:127.0.0.1:0-:22");
  expect((forward!.address as { port: number }).port).toBeGreaterThan(0);
});

it("rootlesskit 438, dosbox-staging 4256: IPv4 guests resolve where the host's name servers have IPv6 only", async () => {
  const server = await UdpServer.open((q) => [answer(q)], "::1");
  ends.push(() => server.close());
  await begin({ dnsUpstream: [endpointText(server.endpoint)] });
  expect(ipv4ToString(await resolveName(guest.guest, "a.test"))).toBe("192.0.2.1");
});

it("moby 6388: a resolver on the host's loopback serves guests that may not reach that themselves", async () => {
  const server = await UdpServer.open((q) => [answer(q)]);
  ends.push(() => server.close());
  await begin({ dnsUpstream: [endpointText(server.endpoint)], hostLoopback: false });
  expect(ipv4ToString(await resolveName(guest.guest, "a.test"))).toBe("192.0.2.1");
});

it("gvisor-tap-vsock 235: a name without data stays one, with the authority that says so", async () => {
  const soa = [0xc0, 12, 0, 6, 0, 1, 0, 0, 0, 60, 0, 22, 0, 0, ...new Array(20).fill(1)];
  const server = await UdpServer.open((q) => {
    const bytes = Uint8Array.from([...q, ...soa]);
    bytes[2]! |= 0x80;
    bytes[9] = 1;
    return [bytes];
  });
  ends.push(() => server.close());
  await begin({ dnsUpstream: [endpointText(server.endpoint)] });
  const socket = guest.guest.udp();
  const answered = new Promise<Uint8Array>((resolve) => {
    socket.onDatagram = (bytes) => resolve(bytes.slice());
  });
  const asked = query("a.test", 28);
  socket.send(asked, guest.guest.dns, 53);
  const got = await answered;
  expect([...got.subarray(4, 12)]).toEqual([0, 1, 0, 0, 0, 1, 0, 0]);
  expect([...got.subarray(asked.length)]).toEqual(soa);
});

it("podman 8742: one port published for TCP and for UDP are two forwards, and neither takes the other away", async () => {
  await begin();
  const [tcp] = await network.publish("tcp:127.0.0.1:0-:53");
  const { port } = tcp!.address as { port: number };
  await network.publish(`127.0.0.1:${port}:53/udp`);
  expect(network.forwards().map(({ rule }) => rule.proto)).toEqual(["tcp", "udp"]);
  network.unpublish(tcp!);
  expect(network.forwards().map(({ rule }) => rule.proto)).toEqual(["udp"]);
});

it("macemu 208: what FTP says of addresses passes as it is", async () => {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  ends.push(() => new Promise((resolve) => server.close(resolve)));
  const { port } = server.address() as net.AddressInfo;
  await begin({ onFlow: (flow) => (flow.proto === "tcp" ? { redirect: { host: "127.0.0.1", port } } : "allow") });
  const line = "PORT 10,0,2,15,7,138\r\n";
  const socket = guest.guest.connect(ipv4FromText("198.51.100.1"), 21, {
    onConnect: () => void socket.write(Buffer.from(line)),
  });
  const [client] = (await once(server, "connection")) as [net.Socket];
  const [bytes] = (await once(client, "data")) as [Buffer];
  expect(bytes.toString()).toBe(line);
  client.destroy();
});

it("lima 4501: a guest's DHCP client takes no port of the host's", async () => {
  await begin();
  expect(network.leases()).toHaveLength(1);
  expect(network.forwards()).toEqual([]);
  expect(network.stats().udpFlows).toBe(0);
});

it("UTM 7123: two machines of one network reach each other", async () => {
  await begin();
  const other = await embeddedGuest(network, 2);
  ends.push(() => other.stop());
  other.guest.listen(80, () => ({}));
  expect(await guest.dial(other.guest.ip, 80)).toBe("connected");
});
