/** A guest whose snapshot is restored goes on with connections as they were: those are reset, and new ones are fine. */
import { describe, expect, test } from "vitest";
import { dialled, OPTIONS, ROLES } from "./roles.ts";

const STAMPED = { options: { ...OPTIONS, timestamps: [1_000, 0] as const } };

describe.each(ROLES)("%s", (_name, connect) => {
  test("a guest that waits for bytes it once had is reset after three seconds, and the host is told", async () => {
    const { script, tcp, far } = await connect();
    far.send("abc");
    tcp.expect({ seq: 1 }, "abc");
    tcp.send({ flags: "ACK", seq: 1, ack: 4 });
    // Set back to before "abc": what follows is a hole for it.
    far.send("def");
    tcp.expect({ seq: 4 }, "def");
    tcp.send({ flags: "ACK", seq: 1, ack: 1 });
    for (let i = 0; i < 3; i++) {
      script.advance(1_100);
      script.takeAll();
      tcp.send({ flags: "ACK", seq: 1, ack: 1 });
    }
    tcp.expect({ flags: "RST ACK" });
    expect(far.closed).toBe("ECONNRESET");
    expect(script.dropped("tcp-set-back")).toBe(1);
    expect(script.stack.gauges()).toMatchObject({ tcpFlows: 0, sendBytes: 0, timers: 0 });
    // What it then says is answered so that it believes it, and what is new works.
    script.takeAll();
    tcp.send({ flags: "ACK", seq: 1, ack: 1 });
    tcp.expect({ flags: "RST", seq: 1 });
    const next = script.tcp({ srcPort: 61_000, dstPort: 80 });
    next.establish();
  });

  test("one that says again what it has said, and has no timestamps, is reset when it has read less than we sent", async () => {
    const { script, tcp, far } = await connect();
    tcp.send({ flags: "ACK", seq: 1, ack: 1 }, "ask");
    tcp.expect({ ack: 4 });
    far.send("answer");
    tcp.expect({ seq: 1 }, "answer");
    tcp.send({ flags: "ACK", seq: 4, ack: 7 });
    for (let i = 0; i < 4; i++) {
      tcp.send({ flags: "ACK", seq: 1, ack: 1 }, "ask");
      script.advance(1_100);
    }
    expect(far.closed).toBe("ECONNRESET");
    expect(far.text).toBe("ask");
  });

  test("two ends that find each other's ACKs old answer no more than eight a second when that is all there is", async () => {
    const { script, tcp } = await connect(STAMPED);
    tcp.send({ flags: "ACK", seq: 1, ack: 1, options: { timestamps: [5_000, 0] } });
    script.takeAll();
    let answers = 0;
    for (let i = 0; i < 200; i++) {
      tcp.send({ flags: "ACK", seq: 1, ack: 1, options: { timestamps: [2_000, 0] } });
      answers += script.takeAll().length;
    }
    expect(answers).toBe(64 + 8);
    expect(script.dropped("tcp-paws")).toBe(200);
  });

  test("one whose clock has gone back is reset, whatever it sends", async () => {
    const { script, tcp, far } = await connect(STAMPED);
    tcp.send({ flags: "ACK", seq: 1, ack: 1, options: { timestamps: [900_000, 0] } }, "abc");
    tcp.expect({ ack: 4 });
    for (let i = 0; i < 4; i++) {
      tcp.send({ flags: "ACK", seq: 4, ack: 1, options: { timestamps: [2_000 + 1_100 * i, 0] } }, "another time");
      script.advance(1_100);
    }
    expect(far.closed).toBe("ECONNRESET");
    expect(far.text).toBe("abc");
    expect(script.dropped("tcp-set-back")).toBe(1);
  });

  test("old segments on a line that reorders are no such thing, however many, while one of the present is among them", async () => {
    const { script, tcp, far } = await connect(STAMPED);
    far.send("abc");
    tcp.expect({ seq: 1 }, "abc");
    for (let i = 0; i < 20; i++) {
      const now = 10_000 + 1_000 * i;
      tcp.send({ flags: "ACK", seq: 1, ack: 4, options: { timestamps: [now, 0] } });
      for (let k = 0; k < 5; k++)
        tcp.send({ flags: "ACK", seq: 1, ack: 1, options: { timestamps: [now - 50 - k, 0] } });
      script.advance(1_000);
    }
    expect(far.closed).toBe(undefined);
    expect(script.dropped("tcp-set-back")).toBe(0);
    expect(script.dropped("tcp-paws")).toBe(100);
  });
});

test("a guest that has rebooted and dials from the same port has its new connection", async () => {
  const { script, tcp, far } = await dialled();
  far.send("abc");
  tcp.expect({ seq: 1 }, "abc");
  // RFC 9293 section 3.10.7.4, figure 9: the SYN is challenged, the guest answers with a RST, and dials again.
  tcp.send({ flags: "SYN", seq: 5_000_000 });
  tcp.expect({ flags: "ACK", ack: 1 });
  tcp.send({ flags: "RST", seq: 1 });
  expect(far.closed).toBe("ECONNRESET");
  script.takeAll();
  script.tcp({ srcPort: tcp.srcPort, dstPort: tcp.dstPort, isn: 77 }).establish();
});
