/** What stands between a flow and its host socket hands on everything, and tells the truth about what the host holds. */
import { describe, expect, it, test } from "vitest";
import { unshared } from "../../../src/core/byte-budget.ts";
import type { HostTcp, HostTcpEvents } from "../../../src/core/host-net.ts";
import type { Slab } from "../../../src/core/link.ts";
import { type ChainedFlow, InspectionChain } from "../../../src/nat/inspect/chain.ts";
import { Meter } from "../../../src/nat/rules/meters.ts";

const RATE = 125_000;
const WINDOW = 262_144;
const GET = Buffer.from("GET / HTTP/1.1\r\nHost: www.good.test\r\n\r\n");

/** A host socket that holds `backlog` bytes and notes what is asked of it. */
class Socket implements HostTcp {
  backlog = 0;
  readonly local = { host: "192.0.2.1", port: 5 };
  readonly calls: string[] = [];

  write(_slab: Slab, _at: number, len: number): void {
    this.calls.push(`write ${len}`);
  }

  writeMany(_slab: Slab, _at: Int32Array, len: Int32Array, count: number): void {
    this.calls.push(`writeMany ${len.subarray(0, count).join(" ")}`);
  }

  end(): void {
    this.calls.push("end");
  }

  pause(): void {
    this.calls.push("pause");
  }

  resume(): void {
    this.calls.push("resume");
  }

  reset(code?: string): void {
    this.calls.push(`reset ${code}`);
  }
}

/** A flow whose chain has the links that are asked for. */
class Flow implements ChainedFlow {
  readonly receiveLimit = WINDOW;
  readonly hostClosed = false;
  readonly socket = new Socket();
  readonly meters: Meter[] = [];
  readonly told: string[] = [];
  events!: HostTcpEvents;
  host: HostTcp | null = null;
  shown: string | null = null;
  bytesDown = 0;

  constructor(links: { rate?: boolean; names?: boolean }) {
    const env = { bytes: unshared(), clock: { now: () => 0 }, trace: { drop() {}, event() {} }, wake() {} };
    if (links.rate) {
      this.meters.push(new Meter({ text: "", up: RATE, down: RATE, conns: null, opens: null, queries: null }, 0));
    }
    new InspectionChain(env, 1_048_576, false).connect(this, this.meters, links.names ? () => true : null, (events) => {
      this.events = events;
      return this.socket;
    });
  }

  onConnect(): void {
    this.told.push("connect");
  }

  onData(_bytes: Uint8Array, _at: number, len: number): void {
    this.told.push(`data ${len}`);
  }

  onEnd(): void {
    this.told.push("end");
  }

  onDrain(): void {
    this.told.push("drain");
  }

  onClose(code: string | null): void {
    this.told.push(`close ${code}`);
  }
}

function slab(bytes: Uint8Array): Slab {
  return { bytes, scarce: false, pin() {}, unpin() {} };
}

const CHAINS = [
  ["nothing", {}],
  ["a rate", { rate: true }],
  ["first bytes", { names: true }],
  ["first bytes and a rate", { names: true, rate: true }],
] as const;

describe.each(CHAINS)("between a flow and its host stands: %s", (_, links) => {
  it("the backlog is the host's own, whatever narrows the window", () => {
    const flow = new Flow(links);
    expect(flow.host!.backlog).toBe(0);
    flow.socket.backlog = 5_000;
    expect(flow.host!.backlog).toBe(5_000);
    flow.meters[0]?.up?.take(10 * RATE);
    expect(flow.host!.backlog).toBe(5_000);
  });

  it("the window's cap is what the rate leaves", () => {
    const flow = new Flow(links);
    const cap = (): number => flow.host!.windowCap ?? Number.POSITIVE_INFINITY;
    const [meter] = flow.meters;
    if (meter === undefined) return expect(cap()).toBe(Number.POSITIVE_INFINITY);
    expect(cap()).toBe(Math.min(WINDOW, meter.up!.level(0)));
    meter.up!.take(10 * RATE);
    expect(cap()).toBe(0);
  });

  it("calls reach the host, and what it tells the flow", () => {
    const { host, socket, events, told } = new Flow(links);
    host!.pause();
    host!.resume();
    expect(host!.local).toBe(socket.local);
    events.onConnect();
    events.onData(new Uint8Array(7), 0, 7);
    events.onDrain();
    events.onEnd();
    host!.end();
    host!.reset("ETIMEDOUT");
    expect(socket.calls).toEqual(["pause", "resume", "end", "reset ETIMEDOUT"]);
    expect(told).toEqual(["connect", "data 7", "drain", "end"]);
  });

  it("long runs stay one call to the host once nobody reads them", () => {
    const flow = new Flow(links);
    const bytes = slab(GET);
    const tls = slab(Uint8Array.from([0, 1, 32, 3, 4, 5]));
    // No HTTP and no TLS: the check above allows it, and the chain is done with it.
    flow.host!.write(tls, 0, 6);
    flow.host!.writeMany!(bytes, Int32Array.of(0, 10), Int32Array.of(10, 20), 2);
    expect(flow.socket.calls).toEqual(["write 6", "writeMany 10 20"]);
    if (flow.meters.length > 0) expect(flow.meters[0]!.up!.level(0)).toBe(flow.meters[0]!.up!.burst - 36);
  });
});

test("long runs that are read on their way are read one by one", () => {
  const flow = new Flow({ names: true });
  flow.host!.writeMany!(slab(GET), Int32Array.of(0, 10), Int32Array.of(10, GET.length - 10), 2);
  expect(flow.socket.calls).toEqual([`write ${GET.length}`]);
  expect(flow.shown).toBe("www.good.test");
});

test("a flow that nobody looks at meets no link of the chain", () => {
  const flow = new Flow({});
  expect(flow.host).toBe(flow.socket);
});
