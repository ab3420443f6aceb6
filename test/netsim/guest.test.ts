/** The reference guest against itself on an impaired wire: who judges the network must be right first. */
import { describe, expect, test } from "vitest";
import { Guest } from "../../src/cli/guest/guest.ts";
import type { TcpOptions } from "../../src/cli/guest/tcp-user.ts";
import { ipv4FromText } from "../../src/core/address.ts";
import { type Impairment, Simulation, Wire } from "./simulation.ts";
import { hash, Party, pattern } from "./transfer.ts";

const B = ipv4FromText("10.0.0.2");

function pair(seed: number, impairment: Impairment = {}, mtu = 1500) {
  const sim = new Simulation(seed);
  const wire = new Wire(sim, impairment);
  const make = (end: "a" | "b", host: number) => {
    const guest = new Guest({
      cable: wire[end],
      mac: new Uint8Array([2, 0, 0, 0, 0, host]),
      clock: sim,
      random: sim.random,
      mtu,
    });
    guest.configure({ ip: `10.0.0.${host}`, prefix: 24, gateway: null, dns: null });
    sim.pollables.push(guest);
    return guest;
  };
  return { sim, wire, a: make("a", 1), b: make("b", 2) };
}

function connect(net: ReturnType<typeof pair>, up: Uint8Array, down: Uint8Array, options: TcpOptions = {}) {
  const client = new Party(up);
  const server = new Party(down);
  net.b.listen(
    7,
    (socket) => {
      server.socket = socket;
      return server;
    },
    options,
  );
  client.socket = net.a.connect(B, 7, client, options);
  return { client, server };
}

const ROUGH: Impairment = { loss: 0.03, reorder: 0.1, duplicate: 0.03, delay: 5, holdBack: 8 };

describe("TCP between two guests", () => {
  const variants: [string, TcpOptions][] = [
    ["all options", {}],
    ["no SACK", { sack: false }],
    ["no timestamps", { timestamps: false }],
    ["no options at all", { sack: false, timestamps: false, windowScale: false }],
  ];
  for (const [name, options] of variants) {
    test(`both directions arrive whole over a rough wire: ${name}`, () => {
      for (let seed = 1; seed <= 4; seed++) {
        const net = pair(seed, ROUGH);
        const up = pattern(400_000, seed);
        const down = pattern(300_000, seed + 100);
        const { client, server } = connect(net, up, down, options);
        net.sim.run(() => client.done && server.done);
        expect(hash(...server.received)).toBe(hash(up));
        expect(hash(...client.received)).toBe(hash(down));
        expect([client.log, server.log]).toEqual(Array(2).fill(["connect", "end", "close null"]));
        expect(client.socket!.stats.retransmissions).toBeGreaterThan(0);
        expect(net.a.connections + net.b.connections).toBe(0);
      }
    });
  }

  test("a clean wire sees no retransmission and hardly a short segment", () => {
    const net = pair(1);
    const up = pattern(1_000_000, 1);
    const { client, server } = connect(net, up, new Uint8Array(0));
    net.sim.run(() => client.done && server.done);
    expect(hash(...server.received)).toBe(hash(up));
    expect(client.socket!.stats.retransmissions).toBe(0);
    expect(client.socket!.stats.segments).toBeLessThan((up.length / 1448) * 1.02);
  });

  test("one lost segment is sent again at the third duplicate acknowledgement, not at a time-out", () => {
    const net = pair(1);
    let full = 0;
    net.wire.filter = (frame, fromA) => fromA && frame.length > 1400 && ++full === 5;
    const { client, server } = connect(net, pattern(100_000, 1), new Uint8Array(0));
    net.sim.run(() => client.done && server.done);
    expect(client.socket!.stats).toMatchObject({ fastRetransmits: 1, timeouts: 0, retransmissions: 1 });
  });

  test("the pause between retransmissions doubles, and the connection is given up", () => {
    const net = pair(1);
    const times: number[] = [];
    const { client } = connect(net, pattern(100, 1), new Uint8Array(0));
    client.socket!.events = client;
    net.sim.run(() => client.log.length > 0);
    net.wire.filter = (_frame, fromA) => {
      if (fromA) times.push(net.sim.now());
      return true;
    };
    net.sim.run(() => client.done);
    expect(client.log.at(-1)).toBe("close timeout");
    const gaps = times.slice(1).map((t, i) => t - times[i]!);
    for (let i = 2; i < 6; i++) expect(gaps[i]! / gaps[i - 1]!).toBeCloseTo(2, 1);
    expect(times.length).toBe(12);
  });

  test("a reader that pauses closes the window; probes go on, and all arrives when it reads again", () => {
    const net = pair(3, { loss: 0.02 });
    const up = pattern(600_000, 1);
    const { client, server } = connect(net, up, new Uint8Array(0), { receiveBuffer: 50_000 });
    net.sim.run(() => server.received.length > 0);
    server.socket!.pause();
    const before = server.socket!.bytesReceived;
    net.sim.pass(120_000);
    expect(server.socket!.bytesReceived).toBe(before);
    expect(client.socket!.stats.probes).toBeGreaterThan(3);
    server.socket!.resume();
    net.sim.run(() => client.done && server.done);
    expect(hash(...server.received)).toBe(hash(up));
  });

  test("a half-closed connection still carries the other direction", () => {
    const net = pair(1);
    const client = new Party(pattern(10, 1));
    const server = new Party(pattern(50_000, 2));
    net.b.listen(7, (socket) => {
      server.socket = socket;
      return {
        onEnd: () => server.onWritable(),
        onWritable: () => server.onWritable(),
        onClose: (end) => server.onClose(end),
      };
    });
    client.socket = net.a.connect(B, 7, client);
    net.sim.run(() => client.done);
    expect(hash(...client.received)).toBe(hash(pattern(50_000, 2)));
    expect(client.log).toEqual(["connect", "end", "close null"]);
  });

  test("a closed port refuses; an abort resets the other end", () => {
    const net = pair(1);
    const refused = new Party(new Uint8Array(0));
    refused.socket = net.a.connect(B, 9, refused);
    net.sim.run(() => refused.done);
    expect(refused.log).toEqual(["close refused"]);

    const { client, server } = connect(net, pattern(10, 1), new Uint8Array(0));
    server.onWritable = () => {};
    net.sim.run(() => server.received.length > 0);
    client.socket!.abort();
    net.sim.run(() => server.done);
    expect(server.log.at(-1)).toBe("close reset");
    expect(net.b.connections).toBe(0);
  });

  test("sequence numbers wrap", () => {
    const net = pair(5, { loss: 0.01 });
    net.sim.random.u32 = () => 0xffff_ff00;
    const up = pattern(200_000, 1);
    const down = pattern(200_000, 2);
    const { client, server } = connect(net, up, down);
    net.sim.run(() => client.done && server.done);
    expect(hash(...server.received)).toBe(hash(up));
    expect(hash(...client.received)).toBe(hash(down));
  });

  test("jumbo segments", () => {
    const net = pair(6, { loss: 0.02 }, 65_520);
    const up = pattern(3_000_000, 1);
    const { client, server } = connect(net, up, new Uint8Array(0), { receiveBuffer: 1_048_576, sendBuffer: 1_048_576 });
    net.sim.run(() => client.done && server.done);
    expect(hash(...server.received)).toBe(hash(up));
  });
});

describe("beside TCP", () => {
  test("ping measures the round trip and rejects when nobody answers", async () => {
    const { sim, a } = pair(1, { delay: 3 });
    expect(await sim.settle(a.ping(B))).toBe(12); // ARP there and back, then the echo
    expect(await sim.settle(a.ping(B))).toBe(6);
    await expect(sim.settle(a.ping(ipv4FromText("10.0.0.9")))).rejects.toThrow("no echo reply");
  });

  test("datagrams go both ways", () => {
    const { sim, a, b } = pair(1);
    const echo = b.udp(7);
    echo.onDatagram = (bytes, ip, port) => echo.send(bytes, ip, port);
    const socket = a.udp();
    const got: string[] = [];
    socket.onDatagram = (bytes) => got.push(new TextDecoder().decode(bytes));
    socket.send(new TextEncoder().encode("hello"), B, 7);
    sim.run(() => got.length > 0);
    expect(got).toEqual(["hello"]);
  });
});
