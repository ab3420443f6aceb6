/** Guests' connections by way of proxies that stand on this machine's loopback. */
import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import { networkInterfaces } from "node:os";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { resolveName } from "../../src/cli/guest/dns.ts";
import { httpGet } from "../../src/cli/guest/http.ts";
import { parseProxy, resolveProxy } from "../../src/control/proxy-rules.ts";
import { ipv4FromText } from "../../src/core/address.ts";
import { dnsReply } from "../../src/wire/dns.ts";
import { startLan } from "../embed/lan.ts";
import { UdpServer } from "../support/dns-server.ts";

/** For documentation: nobody is there, so whoever connects went by the proxy. */
const FAR = "198.51.100.7";

/** What a proxy was asked for, and a way to say no. */
interface Proxy {
  readonly url: string;
  readonly asked: string[];
  refuse: boolean;
  close(): void;
}

let web: http.Server;
let webPort: number;
/** Where proxies lead to. */
let targetPort: number;
let dns: UdpServer;
const open: { close(): void }[] = [];

beforeEach(async () => {
  web = http.createServer((request, response) => response.end(`page for ${request.headers.host}`));
  web.listen(0, "127.0.0.1");
  await once(web, "listening");
  webPort = targetPort = (web.address() as net.AddressInfo).port;
  dns = await UdpServer.open((query) => [dnsReply(query, 0, query.length, 0, [Uint8Array.of(198, 51, 100, 7)], 60)]);
});
afterEach(async () => {
  for (const each of open.splice(0)) each.close();
  web.close();
  web.closeAllConnections();
  await dns.close();
});

/** Whatever it is asked for, it leads to the web server. */
async function httpProxy(): Promise<Proxy> {
  const server = http.createServer();
  const asked: string[] = [];
  const proxy = { asked, refuse: false, url: "", close: () => server.close() };
  server.on("connect", (request, client, head) => {
    client.on("error", () => {});
    asked.push(`${request.url} ${request.headers["proxy-authorization"] ?? ""}`.trim());
    if (proxy.refuse) return client.end("HTTP/1.1 502 Bad Gateway\r\n\r\n");
    const upstream = net.connect({ port: targetPort, host: "127.0.0.1", allowHalfOpen: true }, () => {
      client.write("HTTP/1.1 200 OK\r\n\r\n");
      upstream.write(head);
      upstream.pipe(client).pipe(upstream);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  open.push(proxy);
  proxy.url = `http://user:secret@127.0.0.1:${(server.address() as net.AddressInfo).port}`;
  return proxy;
}

/** SOCKS5 (RFC 1928) without authentication, for IPv4 addresses and names. */
async function socksProxy(greeting = ""): Promise<Proxy> {
  const asked: string[] = [];
  const proxy = { asked, refuse: false, url: "", close: () => void server.close() };
  const server = net.createServer({ allowHalfOpen: true }, async (client) => {
    client.on("error", () => {});
    await once(client, "data");
    client.write(Buffer.from([5, 0]));
    const [request] = (await once(client, "data")) as [Buffer];
    const name = request[3] === 3;
    const end = name ? 5 + request[4]! : 8;
    const host = name ? request.toString("latin1", 5, end) : request.subarray(4, 8).join(".");
    asked.push(`${host}:${request.readUInt16BE(end)}`);
    const reply = Buffer.from([5, proxy.refuse ? 5 : 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    if (proxy.refuse) return client.end(reply);
    const upstream = net.connect({ port: targetPort, host: "127.0.0.1", allowHalfOpen: true }, () => {
      // What the far end says first may come with the reply.
      client.write(Buffer.concat([reply, Buffer.from(greeting)]));
      upstream.pipe(client).pipe(upstream);
    });
    upstream.on("error", () => {});
    client.on("error", () => {});
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  open.push(proxy);
  proxy.url = `socks5://127.0.0.1:${(server.address() as net.AddressInfo).port}`;
  return proxy;
}

const upstreams = (): string[] => [`${dns.endpoint.host}:${dns.endpoint.port}`];

describe.each([
  ["SOCKS5", socksProxy, ""],
  ["HTTP CONNECT", httpProxy, " Basic dXNlcjpzZWNyZXQ="],
])("%s", (_kind, start, credentials) => {
  it("carries a connection, by the name that a rule about names has allowed", async () => {
    const proxy = await start();
    const rules = ["allow tcp www.test:88", "default deny"];
    await using lan = await startLan({ proxy: proxy.url, dnsUpstream: upstreams(), rules });
    const { body } = await httpGet(lan.guest, "http://www.test:88/");
    expect(Buffer.from(body).toString()).toBe("page for www.test:88");
    expect(proxy.asked).toEqual([`www.test:88${credentials}`]);
  });

  it("goes on carrying what the guest sends when the far end has ended", async () => {
    const proxy = await start();
    let uploaded = "";
    const far = net.createServer({ allowHalfOpen: true }, (socket) => {
      socket.end("say on");
      socket.on("data", (chunk) => {
        uploaded += chunk;
      });
      socket.on("end", () => done());
    });
    let done = (): void => {};
    const ended = new Promise<void>((resolve) => {
      done = resolve;
    });
    far.listen(0, "127.0.0.1");
    await once(far, "listening");
    open.push({ close: () => void far.close() });
    targetPort = (far.address() as net.AddressInfo).port;
    await using lan = await startLan({ proxy: proxy.url });
    const socket = lan.guest.connect(ipv4FromText(FAR), 80, {
      onEnd: () => {
        socket.write(new TextEncoder().encode("after the end"));
        socket.end();
      },
    });
    await ended;
    expect(uploaded).toBe("after the end");
  });

  it.each([
    ["no rules", undefined],
    ["a rule about addresses", [`allow tcp ${FAR}`, "allow dns any", "default deny"]],
    ["the default", ["deny tcp other.test", "default allow"]],
  ])("is given the address that was judged, not a name of the guest's, by %s", async (_, rules) => {
    const proxy = await start();
    await using lan = await startLan({ proxy: proxy.url, dnsUpstream: upstreams(), rules });
    expect((await httpGet(lan.guest, "http://www.test:88/")).status).toBe(200);
    expect(proxy.asked).toEqual([`${FAR}:88${credentials}`]);
  });

  it("is not given a name that no rule allows, though the guest was led there by it last", async () => {
    const proxy = await start();
    const rules = ["allow tcp www.test:88", "allow dns evil.test", "default deny"];
    await using lan = await startLan({ proxy: proxy.url, dnsUpstream: upstreams(), rules });
    await resolveName(lan.guest, "www.test");
    await resolveName(lan.guest, "evil.test");
    lan.guest.connect(ipv4FromText(FAR), 88, {});
    await vi.waitFor(() => expect(proxy.asked).toEqual([`www.test:88${credentials}`]));
  });

  it("is given the address where the guest has no name for it", async () => {
    const proxy = await start();
    await using lan = await startLan({ proxy: proxy.url });
    expect((await httpGet(lan.guest, `http://${FAR}/`)).status).toBe(200);
    expect(proxy.asked).toEqual([`${FAR}:80${credentials}`]);
  });

  it("says no, and so is the guest told", async () => {
    const proxy = await start();
    proxy.refuse = true;
    await using lan = await startLan({ proxy: proxy.url });
    await expect(httpGet(lan.guest, `http://${FAR}/`)).rejects.toThrow("refused");
    expect(lan.net.flows()).toEqual([]);
  });

  it("is gone, which a notice says once", async () => {
    const proxy = await start();
    proxy.close();
    await using lan = await startLan({ proxy: proxy.url });
    const notices: string[] = [];
    lan.net.on("notice", ({ text }) => notices.push(text));
    for (let i = 0; i < 2; i++) await expect(httpGet(lan.guest, `http://${FAR}/`)).rejects.toThrow("refused");
    expect(notices).toEqual([
      expect.stringMatching(/^the proxy at 127\.0\.0\.1:\d+ does not serve: nobody listens there$/),
    ]);
  });
});

it("by rules, and what is on this machine goes by none", async () => {
  const proxy = await socksProxy();
  const rules = [
    { match: "*.direct.test", proxy: "direct" },
    { match: "198.51.100.0/24:80", proxy: proxy.url },
  ];
  await using lan = await startLan({ proxy: rules, dnsUpstream: upstreams() });
  await resolveName(lan.guest, "www.direct.test");
  const dial = (port: number): void => void lan.guest.connect(ipv4FromText(FAR), port, {});
  dial(81);
  expect((await httpGet(lan.guest, `http://10.0.2.2:${webPort}/`)).status).toBe(200);
  expect(proxy.asked).toEqual([]);
});

it("is given the address, not the name, for a port that is one of our own listeners'", async () => {
  const proxy = await socksProxy();
  const rules = ["allow tcp www.test:89", "default deny"];
  await using lan = await startLan({ proxy: proxy.url, dnsUpstream: upstreams(), rules });
  lan.net.protectPort(89);
  expect((await httpGet(lan.guest, "http://www.test:89/")).status).toBe(200);
  expect(proxy.asked).toEqual([`${FAR}:89`]);
});

it("an own listener at an address of this machine is refused, and no proxy asked", async () => {
  const here = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .find(({ family, internal }) => family === "IPv4" && !internal)?.address;
  const proxy = await socksProxy();
  await using lan = await startLan({ proxy: proxy.url });
  lan.net.protectPort(89);
  // A machine with nothing but loopback has no such address.
  await expect(httpGet(lan.guest, `http://${here ?? "10.0.2.2"}:89/`)).rejects.toThrow("refused");
  expect(proxy.asked).toEqual([]);
});

it("the first bytes of a far end that speaks first come with the proxy's reply, and arrive", async () => {
  const proxy = await socksProxy("220 hello\r\n");
  await using lan = await startLan({ proxy: proxy.url });
  const said = new Promise<string>((resolve) => {
    lan.guest.connect(ipv4FromText(FAR), 25, { onData: (bytes) => resolve(Buffer.from(bytes).toString()) });
  });
  expect(await said).toBe("220 hello\r\n");
});

describe("rules", () => {
  it.each([
    ["socks5://h", "*", "1.2.3.4", 1, [], true],
    ["example.com=socks5://h", "", "1.2.3.4", 1, ["example.com"], true],
    ["example.com=socks5://h", "", "1.2.3.4", 1, ["www.example.com"], false],
    ["*.example.com=socks5://h", "", "1.2.3.4", 1, ["www.example.com"], true],
    ["*.example.com=socks5://h", "", "1.2.3.4", 1, ["example.com", "notexample.com"], false],
    ["10.0.0.0/8:443=direct", "", "10.1.2.3", 443, [], true],
    ["10.0.0.0/8:443=direct", "", "10.1.2.3", 80, [], false],
    ["10.0.0.0/8=direct", "", "fec0::1", 80, [], false],
    ["[2001:db8::1]:80=direct", "", "2001:db8::1", 80, [], true],
  ])("%s", (text, _match, host, port, names, fits) => {
    expect(parseProxy(text).fits({ host, port }, names)).toBe(fits);
  });

  it("are checked", () => {
    for (const text of ["ftp://x", "socks5://", "http://h/path", "x", "a b=direct", "10.0.0.0/99=direct", "*:0=direct"])
      expect(() => parseProxy(text), text).toThrow(/^proxy: got .*expected/);
    expect(resolveProxy({ proxy: "http://u%40:p@[::1]:3128" }).server).toEqual({
      ...{ kind: "http", host: "::1", port: 3128, user: "u@", password: "p" },
    });
  });
});
