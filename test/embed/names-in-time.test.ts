/** A name whose addresses are others with each answer, and good for a second, as those of content networks are. */
import { once } from "node:events";
import http from "node:http";
import type net from "node:net";
import { expect, it, test } from "vitest";
import { resolveName } from "../../src/cli/guest/dns.ts";
import { httpGet } from "../../src/cli/guest/http.ts";
import { createNetwork } from "../../src/index.ts";
import { dnsReply } from "../../src/wire/dns.ts";
import { UdpServer } from "../support/dns-server.ts";
import { embeddedGuest } from "../support/embedded-guest.ts";

/** For documentation: nobody is there. */
const NETS = [
  [192, 0, 2],
  [198, 51, 100],
  [203, 0, 113],
];
const CLIENTS = 8;
const ROUNDS = 30;

it("eight clients that resolve and fetch at once are refused nothing", async () => {
  const web = http.createServer((request, response) => response.end(`you asked ${request.headers.host}`));
  web.listen(0, "127.0.0.1");
  await once(web, "listening");
  const { port } = web.address() as net.AddressInfo;
  let asked = 0;
  const dns = await UdpServer.open((query) => {
    const n = ++asked;
    return [dnsReply(query, 0, query.length, 0, [Uint8Array.of(...NETS[n % 3]!, (n / 3) & 255)], 1)];
  });
  const network = await createNetwork({
    rules: ["allow tcp www.cdn.test:80", "default deny"],
    dnsUpstream: [`${dns.endpoint.host}:${dns.endpoint.port}`],
    onFlow: ({ proto }) => (proto === "tcp" ? { redirect: { host: "127.0.0.1", port } } : "allow"),
  });
  const refusals: unknown[] = [];
  network.on("flowRefused", (refusal) => refusals.push(refusal));
  const guests = await Promise.all(Array.from({ length: CLIENTS }, (_, i) => embeddedGuest(network, i + 1)));
  const addresses = new Map(guests.map((one) => [one, new Set<number>()]));
  await Promise.all(
    guests.map(async (one) => {
      for (let i = 0; i < ROUNDS; i++) {
        const answer = await httpGet(one.guest, "http://www.cdn.test/");
        expect(String(Buffer.from(answer.body))).toBe("you asked www.cdn.test");
        addresses.get(one)!.add(await resolveName(one.guest, "www.cdn.test"));
      }
      // Addresses that it was told long ago, in its own cache.
      for (const ip of addresses.get(one)!) expect(await one.dial(ip, 80)).toBe("connected");
    }),
  );
  expect(refusals).toEqual([]);
  expect([...addresses.values()].every(({ size }) => size > ROUNDS / 2)).toBe(true);
  for (const { stop } of guests) stop();
  await network.close();
  await dns.close();
  web.close();
  web.closeAllConnections();
});

test.each(["0", "60-", "3600-60", "a", "60-86401", "1-2-3"])("nameTtl %j is refused in one line", async (nameTtl) => {
  await expect(createNetwork({ nameTtl })).rejects.toThrow(/^nameTtl: got .*expected seconds from 1 to 86400/);
});

test.each(["1", "60-3600"])("nameTtl %j is taken", async (nameTtl) => {
  await (await createNetwork({ nameTtl })).close();
});
