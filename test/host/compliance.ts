/** One suite for all `HostNet`s: what `core/host-net.ts` promises, line by line. */
import { createHash, randomBytes } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type {
  AcceptedTcp,
  Endpoint,
  HostIcmpError,
  HostPingEvents,
  HostTcp,
  HostTcpEvents,
  HostUdpEvents,
} from "../../src/core/host-net.ts";
import type { Slab } from "../../src/core/link.ts";
import type { Far, Rig } from "./rig.ts";

/** Set while the code under test is being called: nothing may call back now. */
let inside = false;

function call<T>(f: () => T): T {
  inside = true;
  try {
    return f();
  } finally {
    inside = false;
  }
}

/** Writes down what a connection tells. */
class Recorder implements HostTcpEvents {
  readonly log: string[] = [];
  readonly #chunks: Buffer[] = [];
  bytes = 0;
  drains = 0;
  onBytes: () => void = () => {};
  onDrained: () => void = () => {};

  get received(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  get over(): boolean {
    return this.log.some((line) => line.startsWith("close"));
  }

  #note(line: string): void {
    this.log.push(inside ? `${line} INSIDE A CALL` : line);
  }

  onConnect(): void {
    this.#note("connect");
  }

  onData(bytes: Uint8Array, at: number, len: number): void {
    if (inside) this.#note("data");
    this.#chunks.push(Buffer.from(bytes.subarray(at, at + len)));
    this.bytes += len;
    this.onBytes();
  }

  onEnd(): void {
    this.#note("end");
  }

  onDrain(): void {
    if (inside) this.#note("drain");
    this.drains++;
    this.onDrained();
  }

  onClose(code: string | null): void {
    this.#note(`close ${code}`);
  }
}

class TestSlab implements Slab {
  readonly bytes: Uint8Array;
  scarce = false;
  pins = 0;
  everPinned = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  pin(): void {
    this.pins++;
    this.everPinned++;
  }

  unpin(): void {
    this.pins--;
  }
}

function slabOf(text: string): TestSlab {
  return new TestSlab(Buffer.from(text));
}

function hash(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/**
 * Writes as a cable does: `views` pieces at a time, each behind a gap, through a slab that is overwritten at once unless
 * it is pinned.
 */
function writeAll(tcp: HostTcp, bytes: Uint8Array, piece: number, views = 1): TestSlab[] {
  const slabs: TestSlab[] = [];
  const ats = new Int32Array(views);
  const lens = new Int32Array(views);
  for (let at = 0; at < bytes.length; ) {
    let slab = slabs.find((s) => s.pins === 0);
    if (slab === undefined) slabs.push((slab = new TestSlab(new Uint8Array(views * (piece + 7)))));
    const { bytes: memory } = slab;
    let count = 0;
    for (; count < views && at < bytes.length; count++) {
      ats[count] = count * (piece + 7) + 7;
      lens[count] = Math.min(piece, bytes.length - at);
      memory.set(bytes.subarray(at, at + lens[count]!), ats[count]);
      at += lens[count]!;
    }
    call(() => (views === 1 ? tcp.write(slab, ats[0]!, lens[0]!) : tcp.writeMany!(slab, ats, lens, count)));
    if (slab.pins === 0) memory.fill(0xdd);
  }
  return slabs;
}

export function compliance(name: string, makeRig: () => Promise<Rig>): void {
  describe(`HostNet: ${name}`, () => {
    let rig: Rig;
    let handlesBefore = 0;

    beforeEach(async () => {
      rig = await makeRig();
      handlesBefore = rig.handles();
    });
    afterEach(() => rig.close());

    /** A connection that is open and reads. */
    async function connect(): Promise<{ tcp: HostTcp; near: Recorder; far: Far }> {
      const server = await rig.serve();
      const near = new Recorder();
      const tcp = call(() => rig.net.connectTcp(server.at, near));
      await rig.until(() => near.log.length > 0 && server.far.length > 0);
      expect(near.log).toEqual(["connect"]);
      near.log.length = 0;
      call(() => tcp.resume());
      return { tcp, near, far: server.far[0]! };
    }

    /** A connection whose far end has stopped reading, with a backlog. */
    async function stalled(): Promise<{ tcp: HostTcp; near: Recorder; far: Far; sent: Buffer; slabs: TestSlab[] }> {
      const { tcp, near, far } = await connect();
      far.stall();
      const sent = randomBytes(16 * 1_048_576);
      const slabs = writeAll(tcp, sent, 65_536);
      expect(tcp.backlog).toBeGreaterThan(0);
      return { tcp, near, far, sent, slabs };
    }

    describe("TCP, dialling", () => {
      it("says when it is connected, and from where", async () => {
        const server = await rig.serve();
        const near = new Recorder();
        const tcp = call(() => rig.net.connectTcp(server.at, near));
        expect(near.log).toEqual([]);
        await rig.until(() => near.log.length > 0);
        expect(near.log).toEqual(["connect"]);
        expect(tcp.local?.port).toBeGreaterThan(0);
        await rig.until(() => server.far.length === 1);
        call(() => tcp.reset());
      });

      it("says that it is refused", async () => {
        const near = new Recorder();
        call(() => rig.net.connectTcp(rig.refused, near));
        await rig.until(() => near.over);
        await rig.quiet();
        expect(near.log).toEqual(["close ECONNREFUSED"]);
      });

      it("says that there is no way", async () => {
        const near = new Recorder();
        call(() => rig.net.connectTcp(rig.unreachable, near));
        await rig.until(() => near.over);
        expect(near.log.join()).toMatch(/^close (ENETUNREACH|EHOSTUNREACH)$/);
      });

      it("calls nothing back when it is reset before the answer", async () => {
        const { at } = await rig.serve();
        const near = new Recorder();
        const tcp = call(() => rig.net.connectTcp(at, near));
        call(() => tcp.reset());
        await rig.quiet();
        expect(near.log).toEqual([]);
      });

      it("carries what was written and ended before the answer", async () => {
        const server = await rig.serve();
        const near = new Recorder();
        const tcp = call(() => rig.net.connectTcp(server.at, near));
        const slab = slabOf("early");
        call(() => tcp.write(slab, 0, 5));
        slab.bytes.fill(0);
        call(() => tcp.end());
        await rig.until(() => server.far[0]?.ended === true);
        expect(Buffer.from(server.far[0]!.received).toString()).toBe("early");
        call(() => tcp.reset());
      });

      it("holds a hundred connections at once", async () => {
        const server = await rig.serve();
        const nears = Array.from({ length: 100 }, () => new Recorder());
        const tcps = nears.map((near) => call(() => rig.net.connectTcp(server.at, near)));
        await rig.until(() => nears.every((near) => near.log.length > 0) && server.far.length === 100);
        for (const [i, tcp] of tcps.entries()) {
          call(() => tcp.resume());
          call(() => tcp.write(slabOf(`number ${i}`), 0, `number ${i}`.length));
        }
        await rig.until(() => server.far.every((f) => f.received.length >= 8));
        for (const f of server.far) f.send(f.received);
        await rig.until(() => nears.every((near) => near.bytes >= 8));
        for (const [i, near] of nears.entries()) expect(near.received.toString()).toBe(`number ${i}`);
        for (const f of server.far) f.end();
        for (const tcp of tcps) call(() => tcp.end());
        await rig.until(() => nears.every((near) => near.over));
        for (const near of nears) expect(near.log).toEqual(["connect", "end", "close null"]);
      });
    });

    describe("TCP, data", () => {
      it("goes both ways unharmed", async () => {
        const { tcp, near, far } = await connect();
        const up = randomBytes(3_000_000);
        const down = randomBytes(3_000_000);
        far.send(down);
        writeAll(tcp, up, 70_001);
        await rig.until(() => near.bytes >= down.length && far.received.length >= up.length);
        expect(hash(near.received)).toBe(hash(down));
        expect(hash(far.received)).toBe(hash(up));
        call(() => tcp.reset());
      });

      it("does not come before the first resume", async () => {
        const server = await rig.serve();
        const near = new Recorder();
        const tcp = call(() => rig.net.connectTcp(server.at, near));
        await rig.until(() => server.far.length === 1 && near.log.length === 1);
        server.far[0]!.send("too early");
        await rig.quiet();
        expect(near.bytes).toBe(0);
        call(() => tcp.resume());
        await rig.until(() => near.bytes === 9);
        call(() => tcp.reset());
      });

      it("stops at pause and goes on at resume", async () => {
        const { tcp, near, far } = await connect();
        far.send("one");
        await rig.until(() => near.bytes === 3);
        call(() => tcp.pause());
        far.send("two");
        await rig.quiet();
        expect(near.bytes).toBe(3);
        call(() => tcp.resume());
        await rig.until(() => near.bytes === 6);
        expect(near.received.toString()).toBe("onetwo");
        call(() => tcp.reset());
      });

      it("stops when paused from within onData", async () => {
        const { tcp, near, far } = await connect();
        near.onBytes = () => tcp.pause();
        far.send(new Uint8Array(4_000_000));
        await rig.until(() => near.bytes > 0);
        const first = near.bytes;
        await rig.quiet();
        expect(near.bytes).toBe(first);
        expect(first).toBeLessThan(4_000_000);
        near.onBytes = () => {};
        call(() => tcp.resume());
        await rig.until(() => near.bytes === 4_000_000);
        call(() => tcp.reset());
      });

      it("waits for a far end that does not read, and says when it goes on", async () => {
        const { tcp, near, far, sent, slabs } = await stalled();
        expect(slabs.filter((s) => s.pins > 0).length).toBeLessThanOrEqual(1);
        const backlogs = [tcp.backlog];
        near.onDrained = () => backlogs.push(tcp.backlog);
        await rig.quiet();
        expect(tcp.backlog).toBeGreaterThan(0);
        far.unstall();
        await rig.until(() => far.received.length === sent.length && backlogs.at(-1) === 0);
        // Told only when there is less.
        expect(backlogs).toEqual([...new Set(backlogs)].sort((a, b) => b - a));
        expect(hash(far.received)).toBe(hash(sent));
        expect(slabs.every((s) => s.pins === 0)).toBe(true);
        call(() => tcp.reset());
      });

      it("takes several views of a slab together, at once and as the far end reads", async () => {
        const { tcp, far } = await connect();
        const sent = randomBytes(17_000_000);
        const soon = writeAll(tcp, sent.subarray(0, 1_000_000), 65_483, 3);
        await rig.until(() => far.received.length === 1_000_000 && tcp.backlog === 0);
        far.stall();
        const late = writeAll(tcp, sent.subarray(1_000_000), 65_483, 3);
        expect(tcp.backlog).toBeGreaterThan(0);
        expect(late.filter((s) => s.pins > 0)).toHaveLength(1);
        far.unstall();
        await rig.until(() => far.received.length === sent.length && tcp.backlog === 0);
        expect(hash(far.received)).toBe(hash(sent));
        expect([...soon, ...late].every((s) => s.pins === 0)).toBe(true);
        call(() => tcp.reset());
      });

      it("pins nothing where slabs are scarce", async () => {
        const { tcp, far } = await connect();
        far.stall();
        const slab = new TestSlab(randomBytes(65_536));
        slab.scarce = true;
        const expected = createHash("sha256");
        for (let i = 0; i < 256; i++) {
          slab.bytes.fill(i);
          expected.update(slab.bytes);
          call(() => tcp.write(slab, 0, slab.bytes.length));
        }
        expect(tcp.backlog).toBeGreaterThan(0);
        slab.bytes.fill(0xdd);
        expect(slab.everPinned).toBe(0);
        far.unstall();
        await rig.until(() => far.received.length === 256 * 65_536);
        expect(hash(far.received)).toBe(expected.digest("hex"));
        call(() => tcp.reset());
      });
    });

    describe("TCP, ending in order", () => {
      it("lets us write after the far end's FIN", async () => {
        const { tcp, near, far } = await connect();
        far.send("bye");
        far.end();
        await rig.until(() => near.log.length > 0);
        expect(near.received.toString()).toBe("bye");
        expect(near.log).toEqual(["end"]);
        writeAll(tcp, Buffer.from("still here"), 100);
        await rig.until(() => far.received.length === 10);
        expect(near.log).toEqual(["end"]);
        call(() => tcp.end());
        await rig.until(() => near.over);
        expect(near.log).toEqual(["end", "close null"]);
        await rig.until(() => far.closed === null);
      });

      it("lets the far end write after our FIN", async () => {
        const { tcp, near, far } = await connect();
        writeAll(tcp, Buffer.from("bye"), 100);
        call(() => tcp.end());
        await rig.until(() => far.ended);
        expect(Buffer.from(far.received).toString()).toBe("bye");
        far.send("still here");
        await rig.until(() => near.bytes === 10);
        expect(near.log).toEqual([]);
        far.end();
        await rig.until(() => near.over);
        expect(near.log).toEqual(["end", "close null"]);
      });

      it("sends the FIN after the backlog", async () => {
        const { tcp, near, far, sent } = await stalled();
        call(() => tcp.end());
        await rig.quiet();
        expect(far.ended).toBe(false);
        far.unstall();
        await rig.until(() => far.ended);
        expect(hash(far.received)).toBe(hash(sent));
        far.end();
        await rig.until(() => near.over);
        expect(near.log).toEqual(["end", "close null"]);
      });

      it("ignores what is asked of it afterwards", async () => {
        const { tcp, near, far } = await connect();
        far.end();
        call(() => tcp.end());
        call(() => tcp.end());
        call(() => tcp.write(slabOf("late"), 0, 4));
        await rig.until(() => near.over);
        call(() => {
          tcp.write(slabOf("late"), 0, 4);
          tcp.end();
          tcp.pause();
          tcp.resume();
          tcp.reset();
        });
        await rig.quiet();
        expect(near.log).toEqual(["end", "close null"]);
        expect(tcp.backlog).toBe(0);
        expect(far.received.length).toBe(0);
      });
    });

    describe("TCP, breaking", () => {
      it("tells the far end's reset", async () => {
        const { near, far } = await connect();
        far.reset();
        await rig.until(() => near.over);
        await rig.quiet();
        expect(near.log).toEqual(["close ECONNRESET"]);
      });

      it("tells a reset that comes with the last bytes", async () => {
        const { near, far } = await connect();
        far.send("cut sho");
        far.reset();
        await rig.until(() => near.over || near.log.length > 0);
        await rig.quiet();
        expect(near.log).toEqual(["close ECONNRESET"]);
      });

      it("shows our reset as a reset", async () => {
        const { tcp, near, far } = await connect();
        writeAll(tcp, Buffer.from("half a"), 100);
        await rig.until(() => far.received.length === 6);
        call(() => tcp.reset());
        await rig.until(() => far.closed !== undefined);
        expect([far.closed, far.ended]).toEqual(["ECONNRESET", false]);
        expect(near.log).toEqual([]);
      });

      it("shows our reset as a reset, with a backlog too", async () => {
        const { tcp, near, far, slabs } = await stalled();
        call(() => tcp.reset());
        expect(slabs.every((s) => s.pins === 0)).toBe(true);
        far.unstall();
        await rig.until(() => far.closed !== undefined);
        expect([far.closed, far.ended]).toEqual(["ECONNRESET", false]);
        expect([near.log, near.drains]).toEqual([[], 0]);
      });

      it("shows our reset as a reset while a FIN waits behind a backlog", async () => {
        const { tcp, far, sent } = await stalled();
        call(() => tcp.end());
        await rig.quiet();
        call(() => tcp.reset());
        far.unstall();
        await rig.until(() => far.closed !== undefined);
        expect([far.closed, far.ended]).toEqual(["ECONNRESET", false]);
        expect(far.received.length).toBeLessThan(sent.length);
      });

      it("can be reset right after the end", async () => {
        const { tcp, near, far } = await connect();
        call(() => {
          tcp.end();
          tcp.reset();
        });
        await rig.until(() => far.ended || far.closed !== undefined);
        await rig.quiet();
        expect(near.log).toEqual([]);
        far.reset();
      });

      it("calls nothing back after a reset", async () => {
        const { tcp, near, far } = await connect();
        far.send("too late");
        far.end();
        call(() => tcp.reset());
        await rig.quiet();
        expect([near.log, near.bytes]).toEqual([[], 0]);
        expect(tcp.backlog).toBe(0);
      });

      it("can be reset from within onData", async () => {
        const { tcp, near, far } = await connect();
        near.onBytes = () => tcp.reset();
        far.send(new Uint8Array(1_000_000));
        await rig.until(() => near.bytes > 0);
        const first = near.bytes;
        await rig.quiet();
        expect(near.bytes).toBe(first);
        expect(near.log).toEqual([]);
      });
    });

    describe("TCP, listening", () => {
      const anyPort: Endpoint = { host: "127.0.0.1", port: 0 };

      it("shows a client, which says nothing before resume", async () => {
        const offers: AcceptedTcp[] = [];
        const near = new Recorder();
        let tcp: HostTcp | null = null;
        const listener = await rig.net.listenTcp(anyPort, (offer) => {
          offers.push(offer);
          tcp = offer.accept(near);
        });
        const far = rig.dial(listener.address);
        far.send("hello");
        await rig.until(() => tcp !== null);
        await rig.quiet();
        expect(near.bytes).toBe(0);
        expect(offers[0]!.remote.port).toBeGreaterThan(0);
        expect(offers[0]!.remote.host).toMatch(/^[\d.]+$/);
        call(() => tcp!.resume());
        await rig.until(() => near.bytes === 5);
        writeAll(tcp!, Buffer.from("world"), 100);
        await rig.until(() => far.received.length === 5);
        far.end();
        await rig.until(() => near.log.length > 0);
        call(() => tcp!.end());
        await rig.until(() => near.over);
        expect(near.log).toEqual(["end", "close null"]);
        listener.close();
      });

      it("carries much both ways on an accepted connection", async () => {
        const near = new Recorder();
        let tcp: HostTcp | null = null;
        const listener = await rig.net.listenTcp(anyPort, (offer) => {
          tcp = offer.accept(near);
        });
        const far = rig.dial(listener.address);
        await rig.until(() => tcp !== null);
        call(() => tcp!.resume());
        const up = randomBytes(3_000_000);
        const down = randomBytes(3_000_000);
        far.send(down);
        writeAll(tcp!, up, 50_000);
        await rig.until(() => near.bytes === down.length && far.received.length === up.length);
        expect(hash(near.received)).toBe(hash(down));
        expect(hash(far.received)).toBe(hash(up));
        call(() => tcp!.reset());
        await rig.until(() => far.closed === "ECONNRESET");
        listener.close();
      });

      it("resets a client that nobody takes", async () => {
        const listener = await rig.net.listenTcp(anyPort, () => {});
        const far = rig.dial(listener.address);
        await rig.until(() => far.closed !== undefined);
        expect([far.closed, far.ended]).toEqual(["ECONNRESET", false]);
        listener.close();
      });

      it("says that a port is taken", async () => {
        const listener = await rig.net.listenTcp(anyPort, () => {});
        await expect(rig.net.listenTcp(listener.address, () => {})).rejects.toMatchObject({ code: "EADDRINUSE" });
        listener.close();
        await rig.quiet();
        (await rig.net.listenTcp(listener.address, () => {})).close();
      });
    });

    describe("UDP", () => {
      const DATAGRAM = Buffer.from("a datagram");

      class UdpRecorder implements HostUdpEvents {
        readonly got: string[] = [];
        readonly from: Endpoint[] = [];
        readonly errors: string[] = [];

        onDatagram(bytes: Uint8Array, at: number, len: number, from: Endpoint): void {
          this.got.push(Buffer.from(bytes.subarray(at, at + len)).toString() + (inside ? " INSIDE A CALL" : ""));
          this.from.push(from);
        }

        onUdpError({ code }: HostIcmpError, to: Endpoint): void {
          this.errors.push(`${code} ${to.host}:${to.port}${inside ? " INSIDE A CALL" : ""}`);
        }
      }

      it("goes there and back", async () => {
        const far = await rig.udpFar();
        const near = new UdpRecorder();
        const udp = call(() => rig.net.openUdp(4, near));
        const reused = Buffer.from("xa datagramx");
        call(() => udp.send(reused, 1, 10, far.at, 64, true));
        reused.fill(0);
        await rig.until(() => far.received.length === 1);
        expect(Buffer.from(far.received[0]!.bytes)).toEqual(DATAGRAM);
        far.send("an answer", far.received[0]!.from);
        far.send("", far.received[0]!.from);
        await rig.until(() => near.got.length === 2);
        expect(near.got).toEqual(["an answer", ""]);
        expect(near.from[0]).toEqual(far.at);
        call(() => udp.close());
      });

      it("has one port, whatever it speaks with", async () => {
        const fars = await Promise.all(Array.from({ length: 7 }, () => rig.udpFar()));
        const near = new UdpRecorder();
        const udp = call(() => rig.net.openUdp(4, near));
        for (let round = 0; round < 3; round++)
          for (const f of fars) call(() => udp.send(DATAGRAM, 0, 10, f.at, 64, true));
        await rig.until(() => fars.every((f) => f.received.length === 3));
        const ports = new Set(fars.flatMap((f) => f.received.map((d) => d.from.port)));
        expect(ports.size).toBe(1);
        for (const [i, f] of fars.entries()) f.send(`from ${i}`, f.received[0]!.from);
        await rig.until(() => near.got.length === 7);
        expect([...near.got].sort()).toEqual(fars.map((_, i) => `from ${i}`));
        for (const [i, from] of near.from.entries()) expect(from).toEqual(fars[Number(near.got[i]!.slice(5))]!.at);
        call(() => udp.close());
      });

      it("hears from somebody it never spoke to", async () => {
        const far = await rig.udpFar();
        const third = await rig.udpFar();
        const near = new UdpRecorder();
        const udp = call(() => rig.net.openUdp(4, near));
        call(() => udp.send(DATAGRAM, 0, 10, far.at, 64, true));
        await rig.until(() => far.received.length === 1);
        third.send("you do not know me", far.received[0]!.from);
        await rig.until(() => near.got.length === 1);
        expect(near.from).toEqual([third.at]);
        call(() => udp.close());
      });

      it("says who refuses, and goes on", async () => {
        const far = await rig.udpFar();
        const near = new UdpRecorder();
        const udp = call(() => rig.net.openUdp(4, near));
        const { host, port } = rig.refused;
        for (let i = 1; i <= 2; i++) {
          call(() => udp.send(DATAGRAM, 0, 10, rig.refused, 64, true));
          await rig.until(() => near.errors.length === i);
        }
        expect(near.errors).toEqual([`ECONNREFUSED ${host}:${port}`, `ECONNREFUSED ${host}:${port}`]);
        call(() => udp.send(DATAGRAM, 0, 10, far.at, 64, true));
        await rig.until(() => far.received.length === 1);
        call(() => udp.close());
      });

      it("says that there is no way", async () => {
        const near = new UdpRecorder();
        const udp = call(() => rig.net.openUdp(4, near));
        call(() => udp.send(DATAGRAM, 0, 10, rig.unreachable, 64, true));
        await rig.until(() => near.errors.length > 0);
        expect(near.errors.join()).toMatch(/^E[A-Z]+ /);
        call(() => udp.close());
      });

      it("carries what waited together whole, and each socket's in order, to wherever it goes", async () => {
        const fars = await Promise.all(Array.from({ length: 3 }, () => rig.udpFar()));
        const nears = [new UdpRecorder(), new UdpRecorder()];
        const udps = nears.map((near) => call(() => rig.net.openUdp(4, near)));
        const expected = fars.map(() => udps.map((): string[] => []));
        const reused = Buffer.alloc(9_003);
        // Runs of a length, shorter and longer ones between, by turns of sockets and destinations and not.
        const sizes = [64, 64, 64, 20, 64, 1_400, 1_400, 1_400, 1, 0, 9_000, 9_000, 300];
        call(() => rig.net.cork());
        for (let i = 0; i < 90; i++) {
          const [u, f, len] = [(i >> 4) & 1, i < 30 ? 0 : i % 3, sizes[i % sizes.length]!];
          reused.fill(i);
          call(() => udps[u]!.send(reused, 3, len, fars[f]!.at, 64, false));
          expected[f]![u]!.push(`${len} of ${len === 0 ? "nothing" : i}`);
        }
        reused.fill(0xee);
        call(() => rig.net.uncork());
        await rig.until(() => fars.reduce((sum, f) => sum + f.received.length, 0) === 90);
        for (const [f, far] of fars.entries()) {
          const ports = [...new Set(far.received.map((d) => d.from.port))];
          expect(ports.length).toBe(2);
          const got = ports.map((port) =>
            far.received
              .filter((d) => d.from.port === port)
              .map(({ bytes }) => {
                expect(bytes.every((byte) => byte === bytes[0])).toBe(true);
                return `${bytes.length} of ${bytes[0] ?? "nothing"}`;
              }),
          );
          expect(got.sort()).toEqual(expected[f]!.sort());
        }
        for (const udp of udps) call(() => udp.close());
      });

      it("says of what waited which was refused, and sends the rest", async () => {
        const far = await rig.udpFar();
        const near = new UdpRecorder();
        const udp = call(() => rig.net.openUdp(4, near));
        const { host, port } = rig.refused;
        call(() => {
          rig.net.cork();
          for (const to of [rig.refused, far.at, rig.unreachable, far.at, far.at])
            udp.send(DATAGRAM, 0, 10, to, 64, true);
          rig.net.uncork();
        });
        await rig.until(() => far.received.length === 3 && near.errors.length === 2);
        expect(near.errors).toContain(`ECONNREFUSED ${host}:${port}`);
        expect(near.errors.filter((e) => e.endsWith(` ${rig.unreachable.host}:${rig.unreachable.port}`)).length).toBe(
          1,
        );
        call(() => udp.close());
      });

      it("sends what waits before it closes", async () => {
        const far = await rig.udpFar();
        const udp = call(() => rig.net.openUdp(4, new UdpRecorder()));
        call(() => {
          rig.net.cork();
          udp.send(DATAGRAM, 0, 10, far.at, 64, true);
          udp.close();
          rig.net.uncork();
        });
        await rig.until(() => far.received.length === 1);
      });

      it("loses what goes to port 0", async () => {
        const far = await rig.udpFar();
        const near = new UdpRecorder();
        const udp = call(() => rig.net.openUdp(4, near));
        call(() => udp.send(DATAGRAM, 0, 10, { host: far.at.host, port: 0 }, 64, true));
        call(() => udp.send(DATAGRAM, 0, 10, far.at, 64, true));
        await rig.until(() => far.received.length === 1);
        expect(near.errors).toEqual([]);
        call(() => udp.close());
      });

      it("calls nothing back after close", async () => {
        const far = await rig.udpFar();
        const near = new UdpRecorder();
        const udp = call(() => rig.net.openUdp(4, near));
        call(() => udp.send(DATAGRAM, 0, 10, far.at, 64, true));
        await rig.until(() => far.received.length === 1);
        far.send("too late", far.received[0]!.from);
        call(() => udp.send(DATAGRAM, 0, 10, rig.refused, 64, true));
        call(() => udp.close());
        call(() => udp.close());
        call(() => udp.send(DATAGRAM, 0, 10, far.at, 64, true));
        await rig.quiet();
        expect([near.got, near.errors]).toEqual([[], []]);
        expect(far.received.length).toBe(1);
      });

      it("serves a forward's clients from its fixed port", async () => {
        const clients = await Promise.all([rig.udpFar(), rig.udpFar()]);
        const near = new UdpRecorder();
        const udp = await rig.net.bindUdp({ host: "127.0.0.1", port: 0 }, near);
        const at = udp.address as Endpoint;
        expect(at.port).toBeGreaterThan(0);
        for (const [i, c] of clients.entries()) c.send(`client ${i}`, at);
        await rig.until(() => near.got.length === 2);
        for (const [i, from] of near.from.entries()) {
          const text = `for ${near.got[i]}`;
          call(() => udp.send(Buffer.from(text), 0, text.length, from, 64, true));
        }
        await rig.until(() => clients.every((c) => c.received.length === 1));
        for (const [i, c] of clients.entries()) {
          expect(Buffer.from(c.received[0]!.bytes).toString()).toBe(`for client ${i}`);
          expect(c.received[0]!.from.port).toBe(at.port);
        }
        call(() => udp.close());
      });

      it("says that a port is taken", async () => {
        const near = new UdpRecorder();
        const udp = await rig.net.bindUdp({ host: "127.0.0.1", port: 0 }, near);
        await expect(rig.net.bindUdp(udp.address as Endpoint, near)).rejects.toMatchObject({ code: "EADDRINUSE" });
        udp.close();
      });
    });

    describe("ping", () => {
      class PingRecorder implements HostPingEvents {
        readonly replies: string[] = [];
        readonly errors: string[] = [];

        onReply(seq: number, bytes: Uint8Array, at: number, len: number, from: string): void {
          const data = hash(bytes.subarray(at, at + len)).slice(0, 8);
          this.replies.push(`${seq} ${len} ${data} from ${from}${inside ? " INSIDE A CALL" : ""}`);
        }

        onPingError(seq: number, to: string, { code }: HostIcmpError): void {
          this.errors.push(`${seq} ${code} ${to}${inside ? " INSIDE A CALL" : ""}`);
        }
      }

      function reply(seq: number, data: Uint8Array, from: string): string {
        return `${seq} ${data.length} ${hash(data).slice(0, 8)} from ${from}`;
      }

      it("gives back sequence number and data of every size", async (test) => {
        const to = rig.echoes ?? test.skip("no means of pinging here");
        const near = new PingRecorder();
        const ping = call(() => rig.net.openPing(4, near));
        const datas = [0, 1, 56, 1472, 8_000].map((size) => randomBytes(size));
        for (const [i, data] of datas.entries()) {
          const reused = Buffer.concat([Buffer.from("x"), data]);
          call(() => ping.send(65_535 - i, reused, 1, data.length, 64, false, to));
          reused.fill(0);
        }
        await rig.until(() => near.replies.length === datas.length);
        expect(near.replies.sort()).toEqual(datas.map((data, i) => reply(65_535 - i, data, to)).sort());
        expect(near.errors).toEqual([]);
        call(() => ping.close());
      });

      it("tells several identifiers apart", async (test) => {
        const to = rig.echoes ?? test.skip("no means of pinging here");
        const nears = Array.from({ length: 4 }, () => new PingRecorder());
        const pings = nears.map((near) => call(() => rig.net.openPing(4, near)));
        for (const [i, ping] of pings.entries())
          call(() => ping.send(7, Buffer.from(`number ${i}`), 0, 8, 64, false, to));
        await rig.until(() => nears.every((near) => near.replies.length > 0));
        for (const [i, near] of nears.entries())
          expect(near.replies).toEqual([reply(7, Buffer.from(`number ${i}`), to)]);
        for (const ping of pings) call(() => ping.close());
      });

      it("calls nothing back after close", async (test) => {
        const to = rig.echoes ?? test.skip("no means of pinging here");
        const near = new PingRecorder();
        const ping = call(() => rig.net.openPing(4, near));
        call(() => ping.send(1, Buffer.from("hello"), 0, 5, 64, false, to));
        call(() => ping.close());
        call(() => ping.close());
        call(() => ping.send(2, Buffer.from("hello"), 0, 5, 64, false, to));
        await rig.quiet();
        expect([near.replies, near.errors]).toEqual([[], []]);
      });
    });

    it("leaves nothing open", async () => {
      const { tcp, near, far } = await connect();
      const { near: broken, far: breaking } = await connect();
      const { tcp: dropped } = await stalled();
      const listener = await rig.net.listenTcp({ host: "127.0.0.1", port: 0 }, (offer) => {
        const tcp = offer.accept(new Recorder());
        tcp.end();
        tcp.reset();
      });
      const client = rig.dial(listener.address);
      const udp = rig.net.openUdp(4, { onDatagram() {}, onUdpError() {} });
      const peer = await rig.udpFar();
      udp.send(Buffer.from("x"), 0, 1, peer.at, 64, true);
      const bound = await rig.net.bindUdp({ host: "127.0.0.1", port: 0 }, { onDatagram() {}, onUdpError() {} });
      await rig.until(() => peer.received.length === 1 && (client.ended || client.closed !== undefined));
      breaking.reset();
      far.end();
      tcp.end();
      dropped.reset();
      listener.close();
      udp.close();
      bound.close();
      await rig.until(() => near.over && broken.over);
      await rig.close();
      await rig.until(() => rig.handles() <= handlesBefore);
    });
  });
}
