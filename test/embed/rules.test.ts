/** Rules against guests that try what they may not, seen from the guests. The world is on this machine's loopback. */
import dgram from "node:dgram";
import { once } from "node:events";
import http from "node:http";
import type net from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { resolveName } from "../../src/cli/guest/dns.ts";
import { httpGet } from "../../src/cli/guest/http.ts";
import type { TcpSocket } from "../../src/cli/guest/tcp.ts";
import { ipv4FromText } from "../../src/core/address.ts";
import {
  createNetwork,
  type FlowVerdict,
  type Network,
  type NetworkEvents,
  type NetworkOptions,
} from "../../src/index.ts";
import { dnsQname, dnsReply } from "../../src/wire/dns.ts";
import { ipv4ToString } from "../../src/wire/ipv4.ts";
import { UdpServer } from "../support/dns-server.ts";
import { type EmbeddedGuest, embeddedGuest } from "../support/embedded-guest.ts";

/** Addresses for documentation: nobody is there. */
const FAR = "198.51.100.7";
const GATEWAY = "10.0.2.2";
const ADDRESSES: Readonly<Record<string, number[]>> = {
  "deb.debian.test": [198, 51, 100, 7],
  "rebind.debian.test": [10, 0, 2, 2],
  "evil.test": [198, 51, 100, 66],
};

let web: http.Server;
let webPort: number;
let dns: UdpServer;
let network: Network;
let guests: EmbeddedGuest[];
let refusals: NetworkEvents["flowRefused"][0][];

beforeAll(async () => {
  web = http.createServer((request, response) => response.end(`you asked ${request.headers.host}`));
  web.listen(0, "127.0.0.1");
  await once(web, "listening");
  webPort = (web.address() as net.AddressInfo).port;
  dns = await UdpServer.open((query) => {
    const address = ADDRESSES[dnsQname(query, 0).toLowerCase()];
    return [dnsReply(query, 0, query.length, 0, address === undefined ? [] : [Uint8Array.from(address)], 300)];
  });
});
afterAll(async () => {
  web.close();
  web.closeAllConnections();
  await dns.close();
});
beforeEach(() => {
  guests = [];
  refusals = [];
  dns.seen.length = 0;
});
afterEach(async () => {
  for (const guest of guests) guest.stop();
  await network.close();
});

/** A network with these rules, and its first guest. What may go to the documentation's addresses comes to `web`. */
async function lan(rules: readonly string[], options: NetworkOptions = {}): Promise<EmbeddedGuest> {
  const dnsUpstream = [`${dns.endpoint.host}:${dns.endpoint.port}`];
  network = await createNetwork({ rules, dnsUpstream, onFlow, ...options });
  network.on("flowRefused", (refusal) => refusals.push(refusal));
  return another();
}

function onFlow({ proto, remote }: { proto: string; remote: { host: string } }): FlowVerdict {
  return proto === "tcp" && remote.host.startsWith("198.51.100.")
    ? { redirect: { host: "127.0.0.1", port: webPort } }
    : "allow";
}

async function another(): Promise<EmbeddedGuest> {
  const guest = await embeddedGuest(network, guests.length + 1);
  guests.push(guest);
  return guest;
}

async function udp({ guest }: EmbeddedGuest, host: string, port: number): Promise<string> {
  const socket = guest.udp();
  const answer = new Promise<string>((resolve) => {
    socket.onDatagram = (bytes) => resolve(String(Buffer.from(bytes)));
    socket.onUnreachable = (code) => resolve(`unreachable ${code}`);
    socket.send(Buffer.from("x"), ipv4FromText(host), port);
  });
  const said = await Promise.race([answer, delay(2000, "silence")]);
  socket.close();
  return said;
}

const APT = ["allow tcp *.debian.test:80", "default deny"];

describe("one domain and nothing else", () => {
  it("is fetched from by its name", async () => {
    const { guest } = await lan(APT);
    expect(String(Buffer.from((await httpGet(guest, "http://deb.debian.test/")).body))).toBe(
      "you asked deb.debian.test",
    );
    expect(refusals).toEqual([]);
  });
  it("other names are refused and never leave the host, so that queries carry nothing out", async () => {
    const { guest } = await lan(APT);
    await expect(resolveName(guest, "secret.evil.test")).rejects.toThrow("REFUSED");
    expect(dns.seen).toEqual([]);
    await expect
      .poll(() => refusals)
      .toMatchObject([
        {
          proto: "dns",
          host: "secret.evil.test",
          types: ["A"],
          rule: "default deny",
          guest: expect.stringContaining("10.0.2.15:"),
        },
      ]);
  });
  it("a bare address is refused by RST, and told with the rule", async () => {
    const { dial } = await lan(APT);
    expect(await dial(ipv4FromText(FAR), 80)).toBe("refused");
    await expect
      .poll(() => refusals)
      .toMatchObject([{ proto: "tcp", remote: `${FAR}:80`, host: null, direction: "out", rule: "default deny" }]);
    expect(network.stats().drops.denied).toBe(1);
  });
  it("so is another port of the domain", async () => {
    const { guest, dial } = await lan(APT);
    await resolveName(guest, "deb.debian.test");
    expect(await dial(ipv4FromText(FAR), 81)).toBe("refused");
    expect(await dial(ipv4FromText(FAR), 80)).toBe("connected");
  });
  it("and what another guest has resolved", async () => {
    const one = await lan(APT);
    const other = await another();
    await resolveName(one.guest, "deb.debian.test");
    expect(await other.dial(ipv4FromText(FAR), 80)).toBe("refused");
    expect(await one.dial(ipv4FromText(FAR), 80)).toBe("connected");
  });
  it("and a private address that a name of the domain leads to", async () => {
    const { guest, dial } = await lan([`allow *.debian.test`, "default deny"]);
    expect(ipv4ToString(await resolveName(guest, "rebind.debian.test"))).toBe(GATEWAY);
    expect(await dial(ipv4FromText(GATEWAY), webPort)).toBe("refused");
    await expect.poll(() => refusals[0]?.reason).toContain("a private address is not meant by");
  });
  it("UDP and ping are told by ICMP", async () => {
    const one = await lan(APT);
    expect(await udp(one, FAR, 53)).toBe("unreachable 13");
    await expect(one.guest.ping(ipv4FromText(FAR), 56, 150)).rejects.toThrow();
    expect(refusals.map(({ proto, remote }) => [proto, remote])).toEqual([
      ["udp", `${FAR}:53`],
      ["icmp", FAR],
    ]);
  });
});

describe("what rules would do is told for a guest as it is now", () => {
  it("its cable and its MAC are known by its address, and it may be asked for by either", async () => {
    for (const each of [await lan([]), await another()]) await each.guest.ping(ipv4FromText(GATEWAY));
    const [first = "", second = ""] = network.cables();
    expect(network.cableOf("10.0.2.16")).toBe(second);
    network.setRules([`deny tcp any guest cable:${first}`, "allow tcp any guest 52:54:00:00:00:02", "default deny"]);
    const rule = (of: string): string => network.explain(`tcp 198.51.100.7:80${of}`).rule;
    const [denied, allowed] = [`deny tcp any guest cable:${first}`, "allow tcp any guest 52:54:00:00:00:02"];
    expect(["", " guest 10.0.2.15", " guest 52:54:00:00:00:01", ` guest cable:${first}`].map(rule)).toEqual(
      Array(4).fill(denied),
    );
    expect([" guest 10.0.2.16", " guest 52:54:00:00:00:02", ` guest cable:${second}`].map(rule)).toEqual(
      Array(3).fill(allowed),
    );
    // Nobody is there: only what was asked by counts.
    expect(rule(" guest 10.0.2.99")).toBe("default deny");
    expect(rule(" guest cable:unix:/run/none#1")).toBe("default deny");
    expect(network.explain(`tcp x.test:80 guest cable:${first}`)).toMatchObject({ allow: false, rule: denied });
  });
});

describe("limits", () => {
  it("are each guest's own", async () => {
    const one = await lan(["limit any conns=1"], { onFlow: undefined });
    const other = await another();
    const gateway = ipv4FromText(GATEWAY);
    await new Promise<void>((onConnect) => one.guest.connect(gateway, webPort, { onConnect, onClose() {} }));
    expect(await one.dial(gateway, webPort)).toBe("refused");
    expect(await other.dial(gateway, webPort)).toBe("connected");
    expect(network.limits().map(({ refused }) => refused)).toEqual([1, 0]);
    await expect
      .poll(() => refusals)
      .toMatchObject([{ rule: "limit any conns=1", reason: "limit any conns=1: 1 at once" }]);
  });
});

describe("addresses that are closed by themselves", () => {
  it.each(["169.254.169.254", "168.63.129.16"])("%s stays closed, also with everything allowed", async (metadata) => {
    const { dial } = await lan(["allow any", "allow 0.0.0.0/0", "default allow"], { onFlow: undefined });
    expect(await dial(ipv4FromText(metadata), 80)).toBe("refused");
    await expect.poll(() => refusals[0]?.rule).toContain("built in");
  });
  it("a rule that names it lets it through", async () => {
    const { guest } = await lan(["allow tcp 169.254.169.254:80", "default deny"], { onFlow: undefined });
    let ended = false;
    const socket = guest.connect(ipv4FromText("169.254.169.254"), 80, {
      onConnect() {},
      onClose: () => (ended = true),
    });
    await delay(20);
    // Nobody may be there, but the host has been asked to dial.
    expect(refusals).toEqual([]);
    if (!ended) expect(network.flows()).toMatchObject([{ proto: "tcp", remote: "169.254.169.254:80" }]);
    socket.abort();
  });
});

describe("what comes in", () => {
  it("is let through unless a rule refuses it", async () => {
    const one = await lan(["deny in any port 23", "default deny"]);
    one.guest.listen(22, () => ({}));
    one.guest.listen(23, () => ({}));
    (await network.connect({ host: "10.0.2.15", port: 22 })).on("error", () => {});
    await expect(network.connect({ host: "10.0.2.15", port: 23 })).rejects.toThrow();
    await expect
      .poll(() => refusals)
      .toMatchObject([{ direction: "in", guest: "10.0.2.15:23", rule: "deny in any port 23" }]);
  });
});

describe("other rules while the network runs", () => {
  it("end what may not go on, and touch nothing else", async () => {
    const { guest } = await lan(["default allow"], { onFlow: undefined });
    const ends: string[] = [];
    const sockets: TcpSocket[] = [];
    const second = http.createServer().listen(0, "127.0.0.1");
    await once(second, "listening");
    const secondPort = (second.address() as net.AddressInfo).port;
    let got = "";
    for (const port of [webPort, secondPort]) {
      await new Promise<void>((resolve) => {
        const socket = guest.connect(ipv4FromText(GATEWAY), port, {
          onConnect: () => resolve(),
          onData: (bytes) => {
            got += String(Buffer.from(bytes));
          },
          onClose: (end) => ends.push(`${port} ${end}`),
        });
        sockets.push(socket);
      });
    }
    network.setRules([`allow tcp ${GATEWAY}:${webPort}`, "default deny"]);
    await expect.poll(() => ends).toEqual([`${secondPort} reset`]);
    await expect.poll(() => refusals).toMatchObject([{ remote: `${GATEWAY}:${secondPort}`, rule: "default deny" }]);
    sockets[0]!.write(Buffer.from("GET / HTTP/1.1\r\nHost: still.test\r\n\r\n"));
    await expect.poll(() => got).toContain("you asked still.test");
    second.close();
    second.closeAllConnections();
  });
  it("open what was refused, at once", async () => {
    const echo = dgram.createSocket("udp4").bind(0, "127.0.0.1");
    await once(echo, "listening");
    echo.on("message", (_bytes, from) => echo.send("echo", from.port, from.address));
    const one = await lan(["default deny"], { onFlow: undefined });
    const { port } = echo.address();
    const socket = one.guest.udp();
    const said: string[] = [];
    socket.onDatagram = (bytes) => said.push(String(Buffer.from(bytes)));
    socket.onUnreachable = (code) => said.push(`unreachable ${code}`);
    const send = (): void => socket.send(Buffer.from("x"), ipv4FromText(GATEWAY), port);
    send();
    await expect.poll(() => said).toEqual(["unreachable 13"]);
    network.setRules([`allow udp ${GATEWAY}`, "default deny"]);
    send();
    await expect.poll(() => said).toEqual(["unreachable 13", "echo"]);
    socket.close();
    echo.close();
  });
  it("that are wrong change nothing", async () => {
    const { dial } = await lan(["default deny"], { onFlow: undefined });
    expect(() => network.setRules(["allow everything please", "default allow"])).toThrow("rules: got");
    expect(await dial(ipv4FromText(GATEWAY), webPort)).toBe("refused");
  });
  it("come to a network that had none", async () => {
    const { dial } = await lan([], { rules: undefined, onFlow: undefined });
    expect(await dial(ipv4FromText(GATEWAY), webPort)).toBe("connected");
    network.setRules(["default deny"]);
    expect(await dial(ipv4FromText(GATEWAY), webPort)).toBe("refused");
    network.setRules([]);
    expect(await dial(ipv4FromText(GATEWAY), webPort)).toBe("connected");
  });
});
