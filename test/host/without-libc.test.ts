/** Where there is no C library, Node's own sockets do the same work: queries to resolvers, writes to hosts. */
import { once } from "node:events";
import net, { type AddressInfo } from "node:net";
import { afterEach, expect, it, vi } from "vitest";
import type { Slab } from "../../src/core/link.ts";
import { NodeDns } from "../../src/host/dns.ts";
import { NodeHostNet } from "../../src/host/net.ts";
import { DNS_A } from "../../src/wire/dns.ts";
import { answer, query } from "../support/dns.ts";
import { UdpServer } from "../support/dns-server.ts";
import { SeededRandom } from "../support/random.ts";

vi.mock(import("../../src/host/libc.ts"), async (original) => ({ ...(await original()), libc: () => null }));

const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const one of cleanup.splice(0).reverse()) await one();
});

it("queries get their answers, many at once, and a refusal ends one at once", async () => {
  const server = await UdpServer.open((q) => [new Uint8Array(3), answer(q)]);
  const dead = await UdpServer.open(() => []);
  const { endpoint: nowhere } = dead;
  await dead.close();
  const dns = new NodeDns({ upstreams: [server.endpoint] });
  const refused = new NodeDns({ upstreams: [nowhere], firstMs: 60_000, totalMs: 60_000 });
  cleanup.push(() => server.close(), dns.close.bind(dns), refused.close.bind(refused));
  const ask = (of: NodeDns, q: Uint8Array): Promise<Uint8Array | null> =>
    new Promise((done) => of.query(q, false, done));
  const queries = Array.from({ length: 200 }, (_, i) => query(`n${i}.test`, DNS_A, i));
  expect(await Promise.all(queries.map((q) => ask(dns, q)))).toEqual(queries.map((q) => answer(q)));
  expect(dns.counters.ignored).toBe(200);
  expect(await ask(refused, queries[0]!)).toBe(null);
});

it("what is written to a host arrives, also more than the kernel takes at once, and the slab is free afterwards", async () => {
  const whole = Buffer.alloc(3_000_000);
  for (let i = 0; i < whole.length; i += 4) whole.writeUInt32LE(i, i);
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanup.push(() => server.close());
  const host = new NodeHostNet({ random: new SeededRandom(1) });
  const accepted = once(server, "connection") as Promise<[net.Socket]>;
  const tcp = await new Promise<ReturnType<NodeHostNet["connectTcp"]>>((done) => {
    const nothing = (): void => {};
    const events = { onData: nothing, onEnd: nothing, onDrain: nothing, onClose: nothing, onConnect: () => done(made) };
    const made = host.connectTcp({ host: "127.0.0.1", port: (server.address() as AddressInfo).port }, events);
  });
  const [far] = await accepted;
  let pins = 0;
  const slab: Slab = { bytes: whole, scarce: false, pin: () => void pins++, unpin: () => void pins-- };
  for (let at = 0; at < whole.length; at += 100_000) tcp.write(slab, at, 100_000);
  tcp.end();
  const heard: Buffer[] = [];
  for await (const chunk of far) heard.push(chunk as Buffer);
  expect(Buffer.concat(heard).equals(whole)).toBe(true);
  expect(pins).toBe(0);
  far.destroy();
  tcp.reset();
});
