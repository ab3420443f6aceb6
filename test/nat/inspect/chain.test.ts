/** What stands between a flow and its host socket hands on everything, and tells the truth about what the host holds. */
import { describe, expect, it, test } from "vitest";
import { unshared } from "../../../src/core/byte-budget.ts";
import type { HostTcp, HostTcpEvents, Landing } from "../../../src/core/host-net.ts";
import type { Slab } from "../../../src/core/link.ts";
import { type ChainedFlow, InspectionChain } from "../../../src/nat/inspect/chain.ts";
import { Meter } from "../../../src/nat/rules/meters.ts";
import { ChunkPool } from "../../../src/proto/tcp/chunk-pool.ts";
import { SendBuffer } from "../../../src/proto/tcp/send-buffer.ts";
import { clientHello } from "../../support/client-hello.ts";

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
  refuses = false;

  readonly #buffer = new SendBuffer(new ChunkPool({ sendBytes: 1 << 28 }).of(null));

  constructor(links: { rate?: boolean; up?: boolean; names?: boolean; answers?: boolean }) {
    const env = { bytes: unshared(), clock: { now: () => 0 }, trace: { drop() {}, event() {} }, wake() {} };
    if (links.rate) {
      this.meters.push(new Meter({ text: "", up: RATE, down: RATE, conns: null, opens: null, queries: null }, 0));
    }
    if (links.up) {
      this.meters.push(new Meter({ text: "", up: RATE, down: null, conns: null, opens: null, queries: null }, 0));
    }
    const chain = new InspectionChain(env, 1_048_576, links.answers === true);
    chain.connect(this, this.meters, links.names ? () => !this.refuses : null, (events) => {
      this.events = events;
      return this.socket;
    });
  }

  landing(bytes: Uint8Array, at: number, len: number, most: number): Landing {
    this.#buffer.append(bytes, at, len);
    return this.#buffer.land(most);
  }

  landed(len: number): void {
    this.#buffer.landed(len);
    this.told.push(`landed ${len}`);
  }

  /** A read of a long transfer, as `host/tcp` does it; returns how many of its bytes were not copied from its buffer. */
  read(bytes: Uint8Array): number {
    const room = this.events.landing?.(bytes, 0, 512, bytes.length - 512) ?? null;
    if (room === null) {
      this.events.onData(bytes, 0, bytes.length);
      return 0;
    }
    const len = Math.min(room.len, bytes.length - 512);
    this.events.landed!(len);
    // The rest of a read that the room ended comes by the next one.
    if (512 + len < bytes.length) this.events.onData(bytes, 512 + len, bytes.length - 512 - len);
    return len;
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

describe("a long read lands in the flow's own memory, but for its beginning", () => {
  const LONG = new Uint8Array(262_144).fill(65);
  const response = (length: number): Uint8Array => Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n`);
  const heard = { names: true, answers: true } as const;

  it.each([
    ["nobody", {}],
    ["a rate from the guest", { up: true }],
    ["first bytes", { names: true }],
  ] as const)("past %s", (_, links) => {
    expect(new Flow(links).read(LONG)).toBe(LONG.length - 512);
  });
  it.each([
    ["TLS", clientHello({ names: ["www.good.test"] })],
    ["another protocol", Uint8Array.from([0, 1, 32, 3, 4, 5])],
  ])("past what knows HTTP's responses, of %s", (_, bytes) => {
    const flow = new Flow(heard);
    // The first of the host's records ends what a second hello could begin.
    flow.host!.write(slab(bytes), 0, bytes.length);
    flow.host!.write(slab(Uint8Array.from([23, 3, 3, 0, 1, 0])), 0, 6);
    expect(flow.read(LONG)).toBe(LONG.length - 512);
  });
  it("within an HTTP body, up to its end and no further", () => {
    const flow = new Flow(heard);
    flow.host!.write(slab(GET), 0, GET.length);
    const length = 2 * LONG.length + 100_000;
    const head = response(length);
    expect(flow.events.landing).toBeUndefined();
    flow.events.onData(head, 0, head.length);
    expect(flow.read(LONG)).toBe(LONG.length - 512);
    expect(flow.read(LONG)).toBe(LONG.length - 512);
    const last = Buffer.concat([LONG.subarray(0, 100_000), head, LONG.subarray(0, 70_000)]);
    expect(flow.read(last)).toBe(100_000 - 512);
  });
  it("not so while a rate holds the host's bytes up", () => {
    expect(new Flow({ rate: true }).read(LONG)).toBe(0);
  });
});

test("a refused request is answered behind a body that has landed", async () => {
  const flow = new Flow({ names: true, answers: true });
  flow.host!.write(slab(GET), 0, GET.length);
  const head = Buffer.from("HTTP/1.1 200 OK\r\nContent-Length: 262144\r\n\r\n");
  flow.events.onData(head, 0, head.length);
  expect(flow.read(new Uint8Array(262_144))).toBe(262_144 - 512);
  flow.refuses = true;
  flow.host!.write(slab(GET), 0, GET.length);
  await Promise.resolve();
  expect(flow.told.slice(-2)).toEqual([expect.stringMatching(/^data \d+$/), "close null"]);
});
