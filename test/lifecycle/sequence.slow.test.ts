/**
 * A hundred thousand connections one after the other, of every kind of ending in turn. What each leaves behind for a
 * while (TIME-WAIT, retransmissions to a guest that is gone) is there together with that of those after it.
 */
import { expect, test } from "vitest";
import { cable } from "../../src/attach/memory.ts";
import { resolveOptions } from "../../src/control/options.ts";
import { ipv4FromText } from "../../src/core/address.ts";
import { NO_TRACE } from "../../src/core/trace.ts";
import { Stack } from "../../src/stack.ts";
import { ACK, FIN, RST, SYN } from "../../src/wire/tcp.ts";
import { proves } from "../cases/proves.ts";
import { ManualClock } from "../support/clock.ts";
import { type Answer, type FakeFar, FakeHost } from "../support/fake-host.ts";
import { heldBytes } from "../support/heap.ts";
import { SeededRandom } from "../support/random.ts";
import { type RawConnection, RawGuest } from "../support/raw-guest.ts";

const TOTAL = 100_000;
const WARM_UP = 20_000;
/** Between one connection's beginning and the next one's. */
const STEP_MILLIS = 20;
/** Longer than anything waits for a guest or a host that says nothing. */
const LONG = 30 * 60_000;
const FAR = ipv4FromText("198.51.100.1");
const FORWARD = { host: "127.0.0.1", port: 8080 };
const GUEST_PORT = 80;
const QUESTION = 300;
const ANSWER = new Uint8Array(700);

class World {
  readonly clock = new ManualClock(1_000);
  readonly host = new FakeHost();
  readonly stack: Stack;
  readonly guest: RawGuest;
  #port = 1_024;

  constructor() {
    const { clock, host } = this;
    this.stack = new Stack(resolveOptions({ hostfwd: [`tcp:127.0.0.1:${FORWARD.port}-:${GUEST_PORT}`] }).stack, {
      ...{ host, clock, files: null, trace: NO_TRACE, random: new SeededRandom(1) },
      dns: { query: (_query, _tcp, onAnswer) => onAnswer(null), close() {} },
    });
    this.guest = new RawGuest(cable(this.stack));
  }

  /** A guest's SYN and what comes of it. */
  dial(answer: Answer = "accept"): { c: RawConnection; far: FakeFar } {
    const { guest, host } = this;
    host.answer = () => answer;
    this.#port = this.#port === 65_535 ? 1_024 : this.#port + 1;
    const c = guest.connect(this.#port, FAR, 443, 0);
    host.run();
    return { c, far: host.dialled.pop()! };
  }

  /** The same, established, with a question asked and answered. */
  talk(): { c: RawConnection; far: FakeFar } {
    const both = this.dial();
    this.guest.send(both.c, ACK, QUESTION);
    both.far.send(ANSWER);
    this.host.run();
    this.guest.send(both.c, ACK);
    return both;
  }

  /** A client of a forward, and the guest's end once its SYN is there. */
  client(): { c: RawConnection; far: FakeFar } {
    let c: RawConnection | null = null;
    this.guest.onSyn = (connection) => {
      c = connection;
      this.guest.connections.set(GUEST_PORT, connection);
    };
    const far = this.host.dial(FORWARD);
    this.host.run();
    return { c: c!, far };
  }

  pass(millis: number): void {
    const { clock, stack, host } = this;
    const end = clock.now() + millis;
    host.run();
    for (let next = stack.pollAt(); next <= end; next = stack.pollAt()) {
      clock.advance(Math.max(0, next - clock.now()));
      stack.poll(clock.now());
      host.run();
    }
    clock.advance(end - clock.now());
  }
}

/** Each runs a connection up to where nobody who lives has anything more to say. */
const ENDINGS: Readonly<Record<string, (world: World) => void>> = {
  "the guest's FIN, then the host's": (w) => {
    const { c, far } = w.talk();
    w.guest.send(c, FIN | ACK);
    far.end();
    w.host.run();
    w.guest.send(c, ACK);
  },
  "the host's FIN, then the guest's": (w) => {
    const { c, far } = w.talk();
    far.end();
    w.host.run();
    w.guest.send(c, ACK);
    w.guest.send(c, FIN | ACK);
  },
  "FINs that cross": (w) => {
    const { c, far } = w.talk();
    const before = c.ack;
    far.end();
    w.host.run();
    const after = c.ack;
    c.ack = before;
    w.guest.send(c, FIN | ACK);
    c.ack = after;
    w.guest.send(c, ACK);
  },
  "half-closed by the guest, and the host goes on": (w) => {
    const { c, far } = w.talk();
    w.guest.send(c, FIN | ACK, QUESTION);
    far.send(ANSWER);
    w.host.run();
    w.guest.send(c, ACK);
    far.end();
    w.host.run();
    w.guest.send(c, ACK);
  },
  "half-closed by the host, and the guest goes on": (w) => {
    const { c, far } = w.talk();
    far.end();
    w.host.run();
    w.guest.send(c, ACK, QUESTION);
    w.guest.send(c, FIN | ACK, QUESTION);
  },
  "the guest's RST": (w) => w.guest.send(w.talk().c, RST | ACK),
  "the host's RST": (w) => w.talk().far.reset(),
  "the guest's RST after its FIN": (w) => {
    const { c } = w.talk();
    w.guest.send(c, FIN | ACK);
    w.guest.send(c, RST | ACK);
  },
  "the host's RST after the guest's FIN": (w) => {
    const { c, far } = w.talk();
    w.guest.send(c, FIN | ACK);
    far.reset();
  },
  "the host's RST after its own FIN's answer": (w) => {
    const { c, far } = w.talk();
    far.end();
    w.host.run();
    w.guest.send(c, ACK);
    w.guest.send(c, RST | ACK);
  },
  "the guest's RST with a hole in what it sent": (w) => {
    const { c } = w.talk();
    const { seq } = c;
    c.seq = seq + 1_000;
    w.guest.send(c, ACK, QUESTION);
    c.seq = seq;
    w.guest.send(c, RST | ACK);
  },
  "a reader that stalls and then breaks": (w) => {
    const { c, far } = w.talk();
    far.stall();
    for (let i = 0; i < 60; i++) w.guest.send(c, ACK, 1_400);
    far.reset();
  },
  refused: (w) => void w.dial({ refuse: "ECONNREFUSED" }),
  unreachable: (w) => void w.dial({ refuse: "EHOSTUNREACH" }),
  "silence of the host": (w) => void w.dial({ refuse: "ETIMEDOUT" }),
  "the guest's RST while the host is dialled": (w) => w.guest.send(w.dial("hang").c, RST),
  "the guest's RST in answer to the SYN-ACK": (w) => w.guest.send(w.dial().c, RST),
  "the guest gone with data under way": (w) => {
    const { far } = w.talk();
    far.send(ANSWER);
  },
  "the guest gone before its ACK of the SYN-ACK": (w) => void w.dial(),
  "a forward's client that talks and ends": (w) => {
    const { c, far } = w.client();
    w.guest.send(c, SYN | ACK);
    far.send(ANSWER);
    far.end();
    w.host.run();
    w.guest.send(c, FIN | ACK, QUESTION);
  },
  "a forward that the guest refuses": (w) => w.guest.send(w.client().c, RST | ACK),
  "a forward's client that goes before the guest answers": (w) => w.client().far.reset(),
  "a forward to a guest that says nothing": (w) => void w.client(),
};

test(proves(
  "tcp.close.nothing-left",
  `${TOTAL} connections in sequence, of ${Object.keys(ENDINGS).length} kinds of ending: no entry, timer or socket is left, and memory is flat`,
), async () => {
  const world = new World();
  await world.stack.open();
  const endings = Object.values(ENDINGS);
  const listeners = world.host.open;
  const nothingLeft = (): void => {
    world.pass(LONG);
    world.guest.connections.clear();
    world.host.dialled.length = 0;
    expect(world.stack.gauges()).toEqual({
      ...{ tcpFlows: 0, udpFlows: 0, icmpFlows: 0, timers: 0 },
      ...{ sendBytes: 0, receiveBytes: 0, outOfOrderBytes: 0 },
    });
    expect(world.host.open).toBe(listeners);
  };
  const run = (from: number, to: number): void => {
    for (let i = from; i < to; i++) {
      endings[i % endings.length]!(world);
      world.pass(STEP_MILLIS);
    }
  };
  run(0, WARM_UP);
  nothingLeft();
  const before = heldBytes();
  run(WARM_UP, TOTAL);
  nothingLeft();
  // Twenty bytes a connection would be more.
  expect(heldBytes() - before).toBeLessThan(20 * (TOTAL - WARM_UP));
}, 60_000);

test.each(Object.entries(ENDINGS))("%s: nothing is left of it", async (_name, ending) => {
  const world = new World();
  await world.stack.open();
  const listeners = world.host.open;
  ending(world);
  world.pass(LONG);
  expect(world.stack.gauges()).toMatchObject({ tcpFlows: 0, timers: 0, sendBytes: 0 });
  expect(world.host.open).toBe(listeners);
});
