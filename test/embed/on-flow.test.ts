/** What `onFlow` may decide about TCP, UDP, ICMP and DNS, seen from a guest. The world is on this machine's loopback. */
import dgram from "node:dgram";
import { once } from "node:events";
import http from "node:http";
import type net from "node:net";
import type { Duplex } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { resolveName } from "../../src/cli/guest/dns.ts";
import { httpGet } from "../../src/cli/guest/http.ts";
import { ipv4FromText } from "../../src/core/address.ts";
import { DEFAULT_LIMITS } from "../../src/core/limits.ts";
import { FlowHook } from "../../src/embed/flow-hook.ts";
import type { Flow, FlowVerdict, NetworkOptions } from "../../src/index.ts";
import { DNS_A, dnsReply } from "../../src/wire/dns.ts";
import { ETH_IPV4, ethType } from "../../src/wire/ethernet.ts";
import { ipv4ToString } from "../../src/wire/ipv4.ts";
import { answerWith } from "../support/dns.ts";
import { type Behaviour, UdpServer } from "../support/dns-server.ts";
import { embeddedGuest } from "../support/embedded-guest.ts";
import { PacketScript } from "../support/packet-script.ts";
import { type Lan, startLan } from "./lan.ts";

/** Addresses for documentation: nobody is there. */
const FAR = "198.51.100.7";
const GATEWAY = "10.0.2.2";

/** Every name is FAR. */
const A_RECORD: Behaviour = (query) => [dnsReply(query, 0, query.length, 0, [Uint8Array.of(198, 51, 100, 7)], 300)];

let web: http.Server;
let webPort: number;
let dns: UdpServer;
let echo: dgram.Socket;

beforeAll(async () => {
  web = http.createServer((request, response) => response.end(`you asked ${request.headers.host}`));
  web.listen(0, "127.0.0.1");
  await once(web, "listening");
  webPort = (web.address() as net.AddressInfo).port;
  dns = await UdpServer.open(A_RECORD);
  echo = dgram.createSocket("udp4");
  echo.on("message", (bytes, from) => echo.send(`echo ${bytes}`, from.port, from.address));
  echo.bind(0, "127.0.0.1");
  await once(echo, "listening");
});
afterAll(async () => {
  web.close();
  web.closeAllConnections();
  echo.close();
  await dns.close();
});

/** A network that asks `decide`, and the flows that it has asked about. */
async function lan(
  decide: (flow: Flow) => FlowVerdict | Promise<FlowVerdict>,
  options: NetworkOptions = {},
): Promise<Lan & { readonly asked: Flow[] }> {
  const asked: Flow[] = [];
  const dnsUpstream = [`${dns.endpoint.host}:${dns.endpoint.port}`];
  const onFlow = (flow: Flow): FlowVerdict | Promise<FlowVerdict> => {
    asked.push(flow);
    return decide(flow);
  };
  return Object.assign(await startLan({ dnsUpstream, onFlow, ...options }), { asked });
}

/** How dialling ends: "connected", or as the guest's TCP tells it. */
function dial(guest: Lan["guest"], host: string, port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = guest.connect(ipv4FromText(host), port, {
      onConnect: () => {
        socket.abort();
        resolve("connected");
      },
      onClose: (end) => resolve(String(end)),
    });
  });
}

/** The answer to one datagram, "unreachable CODE" or "silence". */
async function ask(guest: Lan["guest"], host: string, port: number, text: string, wait = 200): Promise<string> {
  const socket = guest.udp();
  const answer = new Promise<string>((resolve) => {
    socket.onDatagram = (bytes, ip, from) => resolve(`${Buffer.from(bytes)} from ${ipv4ToString(ip)}:${from}`);
    socket.onUnreachable = (code) => resolve(`unreachable ${code}`);
    socket.send(Buffer.from(text), ipv4FromText(host), port);
  });
  const said = await Promise.race([answer, delay(wait, "silence")]);
  socket.close();
  return said;
}

describe("TCP", () => {
  it("is allowed, and the flow is known by the name that the guest had resolved", async () => {
    await using net = await lan(({ proto, host }) =>
      proto === "dns" || host === "www.test" ? redirectWeb(proto) : "deny",
    );
    expect((await httpGet(net.guest, `http://www.test:80/`)).body.toString()).toBeTruthy();
    expect(net.asked.map(({ proto, host }) => [proto, host])).toEqual([
      ["dns", "www.test"],
      ["tcp", "www.test"],
    ]);
    expect(net.asked[1]).toMatchObject({ remote: { host: FAR, port: 80 }, hosts: ["www.test"], qtype: 0 });
  });

  it("has every name that led to its address, by aliases or not, for as long as the answer is good", async () => {
    const clock = vi.spyOn(performance, "now");
    const hour = 3_600_000;
    dns.behaviour = (query) => [
      answerWith(
        query,
        ["shop.test", 600, "edge.cdn.test"],
        ["edge.cdn.test", 600, "node7.cdn.test"],
        ["node7.cdn.test", 600, [192, 0, 2, 55]],
      ),
    ];
    try {
      await using net = await lan(({ proto }) => (proto === "dns" ? "allow" : "deny"));
      expect(ipv4ToString(await resolveName(net.guest, "Shop.test"))).toBe("192.0.2.55");
      expect(await dial(net.guest, "192.0.2.55", 80)).toBe("refused");
      expect(net.asked[1]).toMatchObject({ host: "shop.test", hosts: ["shop.test"] });
      dns.behaviour = (query) => [answerWith(query, ["edge.cdn.test", 600, [192, 0, 2, 55]])];
      await resolveName(net.guest, "edge.cdn.test");
      await dial(net.guest, "192.0.2.55", 80);
      expect(net.asked[3]).toMatchObject({ host: "edge.cdn.test" });
      expect(net.asked[3]!.hosts.toSorted()).toEqual(["edge.cdn.test", "shop.test"]);
      const began = performance.now();
      clock.mockImplementation(() => began + hour);
      await dial(net.guest, "192.0.2.55", 81);
      expect(net.asked[4]).toMatchObject({ host: undefined, hosts: [] });
    } finally {
      clock.mockRestore();
      dns.behaviour = A_RECORD;
    }
  });

  it("knows no name of an address that was not resolved", async () => {
    await using net = await lan(() => "deny");
    expect(await dial(net.guest, FAR, 80)).toBe("refused");
    expect(net.asked).toMatchObject([{ proto: "tcp", host: undefined, hosts: [] }]);
    expect(net.net.stats().drops.denied).toBe(1);
    expect(net.net.flows()).toEqual([]);
  });

  it("allow is no more than would have been without asking", async () => {
    await using net = await lan(() => "allow");
    expect(await dial(net.guest, "127.0.0.1", webPort)).toBe("refused");
    expect(await dial(net.guest, GATEWAY, webPort)).toBe("connected");
  });

  it("waits for a promise, and sends the guest nothing meanwhile", async () => {
    let settle = (_: FlowVerdict): void => {};
    await using net = await lan(() => new Promise((resolve) => (settle = resolve)));
    const end = dial(net.guest, GATEWAY, webPort);
    await delay(20);
    expect(net.net.flows()).toMatchObject([{ proto: "tcp", state: "HELD" }]);
    settle("allow");
    expect(await end).toBe("connected");
  });

  it("is denied by silence", async () => {
    await using net = await lan(() => ({ deny: "drop" }));
    expect(await Promise.race([dial(net.guest, FAR, 80), delay(150, "silence")])).toBe("silence");
    expect(net.net.stats().tcpFlows).toBe(0);
  });

  it("is denied by ICMP", async () => {
    await using net = await lan(() => ({ deny: "icmp" }));
    const codes: number[] = [];
    const { cable } = net;
    const inner = cable.onFrame;
    cable.onFrame = (frame) => {
      if (frame[23] === 1) codes.push(frame[34]!, frame[35]!);
      inner?.(frame);
    };
    void dial(net.guest, FAR, 80);
    await delay(50);
    // Destination unreachable, administratively prohibited.
    expect(codes).toEqual([3, 13]);
  });

  it("is redirected, also where the guest could not have gone", async () => {
    await using net = await lan(() => ({ redirect: { host: "127.0.0.1", port: webPort } }), { restrict: true });
    expect(String(Buffer.from((await httpGet(net.guest, `http://${GATEWAY}:81/`)).body))).toBe(
      `you asked ${GATEWAY}:81`,
    );
  });

  it("is redirected to what listenGuest serves", async () => {
    await using net = await lan(() => ({ redirect: { host: "10.0.2.100", port: 7 } }));
    await net.net.listenGuest({ host: "10.0.2.100", port: 7 }, (socket) => web.emit("connection", socket));
    expect(String(Buffer.from((await httpGet(net.guest, `http://${FAR}/`)).body))).toBe(`you asked ${FAR}`);
  });

  it("is taken over as a Duplex", async () => {
    await using net = await lan(() => (socket) => web.emit("connection", socket));
    expect(String(Buffer.from((await httpGet(net.guest, `http://${FAR}/`)).body))).toBe(`you asked ${FAR}`);
    expect(net.net.stats().drops.denied).toBe(0);
  });

  it.each([
    [
      "throws",
      () => {
        throw new Error("no idea");
      },
      "no idea",
    ],
    ["rejects", () => Promise.reject(new Error("no idea")), "no idea"],
    ["answers nonsense", () => "perhaps" as FlowVerdict, "onFlow: got"],
    ["does not answer", () => new Promise<FlowVerdict>(() => {}), "did not answer within 50 ms"],
  ])("is refused, and flowError says so, when onFlow %s", async (_what, decide, message) => {
    await using net = await lan(decide, { onFlowTimeout: 50 });
    const error = once(net.net, "flowError");
    expect(await dial(net.guest, GATEWAY, webPort)).toBe("refused");
    expect((await error)[0].message).toContain(message);
  });

  it("holds no more flows of one guest than one may have; another's are asked about, and its own once some are answered", async () => {
    const answers: ((verdict: FlowVerdict) => void)[] = [];
    await using net = await lan(() => new Promise((resolve) => answers.push(resolve)), {
      limits: { heldFlows: 4, heldFlowsPerGuest: 2 },
    });
    const other = await embeddedGuest(net.net, 2);
    const far = ipv4FromText(GATEWAY);
    const hosts = (): string[] => net.asked.map(({ guest }) => guest.host);
    for (let i = 0; i < 5; i++) void dial(net.guest, GATEWAY, webPort);
    await vi.waitUntil(() => net.net.stats().drops["gate-busy"] === 3);
    void other.dial(far, webPort);
    await vi.waitUntil(() => net.asked.length === 3);
    expect(new Set(hosts()).size).toBe(2);
    for (const allow of answers.splice(0)) allow("allow");
    await vi.waitUntil(() => net.net.flows().length >= 1);
    void dial(net.guest, GATEWAY, webPort);
    await vi.waitUntil(() => net.asked.length === 4);
    expect(net.net.stats().drops["gate-busy"]).toBe(3);
    other.stop();
  });

  it("is dropped beyond the bound, and counted", async () => {
    await using net = await lan(() => new Promise(() => {}), { limits: { heldFlows: 3 } });
    for (let i = 0; i < 5; i++) void dial(net.guest, GATEWAY, webPort);
    await delay(20);
    expect(net.asked).toHaveLength(3);
    expect(net.net.stats().drops["gate-busy"]).toBe(2);
    const { signal } = net.asked[0]!;
    await net.net.close();
    expect(signal.aborted).toBe(true);
  });
});

describe("UDP", () => {
  it("is allowed, and every datagram that waited arrives", async () => {
    await using net = await lan(() => "allow");
    expect(await ask(net.guest, GATEWAY, echo.address().port, "a")).toBe(
      `echo a from ${GATEWAY}:${echo.address().port}`,
    );
    expect(net.net.flows()).toMatchObject([{ proto: "udp", remote: `${GATEWAY}:${echo.address().port}` }]);
  });

  it("is asked about once for each address and port", async () => {
    await using net = await lan(() => "allow");
    const socket = net.guest.udp();
    for (const port of [1, 2, 1, 2, 1]) socket.send(Buffer.from("x"), ipv4FromText(GATEWAY), port);
    await delay(20);
    expect(net.asked.map(({ remote }) => remote.port)).toEqual([1, 2]);
  });

  it("is denied by ICMP or by silence, and not asked about again at once", async () => {
    await using net = await lan(({ remote }) => ({ deny: remote.port === 1 ? "reset" : "drop" }));
    expect(await ask(net.guest, FAR, 1, "x")).toBe("unreachable 13");
    expect(await ask(net.guest, FAR, 2, "x")).toBe("silence");
    const socket = net.guest.udp();
    for (let i = 0; i < 4; i++) socket.send(Buffer.from("x"), ipv4FromText(FAR), 2);
    await delay(20);
    expect(net.asked).toHaveLength(3);
    expect(net.net.stats().drops.denied).toBe(6);
  });

  it("is redirected, and the answer comes from where the guest had asked", async () => {
    await using net = await lan(() => ({ redirect: { host: "127.0.0.1", port: echo.address().port } }));
    expect(await ask(net.guest, FAR, 9, "b")).toBe(`echo b from ${FAR}:9`);
  });

  it("is taken over, a Buffer for each datagram", async () => {
    await using net = await lan(() => (socket) => socket.on("data", (bytes) => socket.write(`taken ${bytes}`)));
    expect(await ask(net.guest, FAR, 9, "c")).toBe(`taken c from ${FAR}:9`);
  });

  it("tells the taker when the flow is over, and the other way round", async () => {
    let taken: Duplex | null = null;
    await using net = await lan(() => (socket) => void (taken = socket));
    await ask(net.guest, FAR, 9, "d", 20);
    expect(net.net.stats().udpFlows).toBe(1);
    taken!.destroy();
    await once(taken!, "close");
    expect(net.net.stats().udpFlows).toBe(0);
    await ask(net.guest, FAR, 9, "e", 20);
    const closed = once(taken!, "close");
    await net.net.close();
    await closed;
  });
});

describe("ICMP echo", () => {
  it("is allowed: the requests that waited go out, and their replies come back from where the guest had asked", async () => {
    const asked: Flow[] = [];
    const onFlow = (flow: Flow): FlowVerdict => {
      asked.push(flow);
      return "allow";
    };
    const told = { failed() {}, busy() {}, cableOf: () => null };
    const hook = new FlowHook({ onFlow, timeout: 1_000, limits: DEFAULT_LIMITS, ...told });
    const script = new PacketScript({}, null, false, hook);
    const ping = (seq: number): void =>
      script.send({ ip: { dst: FAR }, icmp: { type: 8, id: 9, seq }, payload: `${seq}` });
    script.host.answerPing = () => "answer";
    ping(1);
    ping(2);
    script.expectNothing();
    await delay(0);
    for (const seq of [1, 2]) script.expect({ ip: { src: FAR }, icmp: { type: 0, id: 9, seq }, payload: `${seq}` });
    ping(3);
    script.expect({ ip: { src: FAR }, icmp: { type: 0, id: 9, seq: 3 }, payload: "3" });
    script.expectNothing();
    expect(asked).toMatchObject([{ proto: "icmp", guest: { host: "10.0.2.15" }, remote: { host: FAR, port: 0 } }]);
    expect(script.stack.flows()).toMatchObject([{ proto: "icmp", remote: FAR }]);
    hook.close();
  });

  it("is denied", async () => {
    await using net = await lan(() => "deny");
    await expect(net.guest.ping(ipv4FromText(FAR), 56, 150)).rejects.toThrow("no echo reply");
    expect(net.asked).toMatchObject([{ proto: "icmp", remote: { host: FAR, port: 0 } }]);
    expect(net.net.stats().drops.denied).toBe(1);
  });

  it("is denied by silence, which the guest cannot tell from nobody there", async () => {
    await using net = await lan(() => ({ deny: "drop" }));
    const told = packetsTo(net.cable);
    void net.guest.ping(ipv4FromText(FAR), 56, 1).catch(() => {});
    await vi.waitUntil(() => net.net.stats().drops.denied === 1, { timeout: 10_000 });
    expect(told()).toBe(0);
  });

  it("is redirected, and the reply comes from where the guest had asked", async () => {
    await using net = await lan(() => ({ redirect: { host: "127.0.0.1" } }));
    expect(await net.guest.ping(ipv4FromText(FAR), 33, 20_000)).toBeGreaterThan(0);
    expect(net.net.flows()).toMatchObject([{ proto: "icmp", remote: FAR, bytesUp: 41, bytesDown: 41 }]);
  });

  it("is taken over: the data of the request and of the reply", async () => {
    const seen: number[] = [];
    await using net = await lan(
      () => (socket) =>
        socket.on("data", (bytes) => {
          seen.push(bytes.length);
          socket.write(bytes);
        }),
    );
    expect(await net.guest.ping(ipv4FromText(FAR), 33)).toBeGreaterThan(0);
    expect(seen).toEqual([33]);
  });
});

describe("DNS", () => {
  it("is asked by name and type, and allowed", async () => {
    await using net = await lan(() => "allow");
    expect(ipv4ToString(await resolveName(net.guest, "WWW.test"))).toBe(FAR);
    expect(net.asked).toMatchObject([
      { proto: "dns", host: "www.test", qtype: DNS_A, remote: { host: "10.0.2.3", port: 53 } },
    ]);
  });

  it("is refused", async () => {
    await using net = await lan(() => "deny");
    await expect(resolveName(net.guest, "www.test")).rejects.toThrow("REFUSED");
  });

  it("is met with silence", async () => {
    await using net = await lan(() => ({ deny: "drop" }));
    const told = packetsTo(net.cable);
    void resolveName(net.guest, "www.test").catch(() => {});
    await vi.waitUntil(() => net.net.stats().drops.denied > 0, { timeout: 10_000 });
    expect(told()).toBe(0);
  });

  it("is sent to another resolver", async () => {
    const other = await UdpServer.open((query) => [
      dnsReply(query, 0, query.length, 0, [Uint8Array.of(192, 0, 2, 9)], 1),
    ]);
    await using net = await lan(() => ({ redirect: other.endpoint }));
    expect(ipv4ToString(await resolveName(net.guest, "www.test"))).toBe("192.0.2.9");
    await other.close();
  });

  it("is answered by the taker, and the answer's name is known", async () => {
    await using net = await lan(({ proto }) =>
      proto === "dns"
        ? (socket) =>
            socket.once("data", (query: Buffer) =>
              socket.end(dnsReply(query, 0, query.length, 0, [Uint8Array.of(192, 0, 2, 77)], 1)),
            )
        : "deny",
    );
    expect(ipv4ToString(await resolveName(net.guest, "mine.test"))).toBe("192.0.2.77");
    expect(await dial(net.guest, "192.0.2.77", 1)).toBe("refused");
    expect(net.asked[1]).toMatchObject({ proto: "tcp", host: "mine.test" });
  });

  it("says SERVFAIL for a taker that goes without an answer", async () => {
    await using net = await lan(() => (socket) => void socket.destroy());
    await expect(resolveName(net.guest, "www.test")).rejects.toThrow("SERVFAIL");
  });
});

/** How many IP packets the guest has been sent from now on. */
function packetsTo(cable: Lan["cable"]): () => number {
  const { onFrame } = cable;
  let packets = 0;
  cable.onFrame = (frame) => {
    if (ethType(frame, 0) === ETH_IPV4) packets++;
    onFrame?.(frame);
  };
  return () => packets;
}

function redirectWeb(proto: string): FlowVerdict {
  return proto === "dns" ? "allow" : { redirect: { host: "127.0.0.1", port: webPort } };
}
