/** Acknowledgements wait for the end of the next turn of the event loop, and go with what the host has said by then. */
import { expect, test } from "vitest";
import type { FakeFar } from "../../support/fake-host.ts";
import { PacketScript, type TcpScript } from "../../support/packet-script.ts";

interface Connected {
  readonly script: PacketScript;
  readonly tcp: TcpScript;
  readonly far: FakeFar;
}

/** A connection through a network that knows turns, with nothing under way. */
function connected(script: PacketScript = new PacketScript({}, null, true), srcPort = 1_000): Connected {
  const tcp = script.tcp({ srcPort });
  tcp.send({ flags: "SYN", seq: 0 });
  script.turn();
  tcp.expect({ flags: "SYN ACK", seq: 0, ack: 1 });
  tcp.send({ flags: "ACK", seq: 1, ack: 1 });
  while (script.turn());
  script.expectNothing();
  return { script, tcp, far: script.host.dialled.at(-1)! };
}

test("what the host answers in the next turn carries the acknowledgement", () => {
  const { script, tcp, far } = connected();
  tcp.send({ flags: "ACK", seq: 1, ack: 1 }, "request");
  expect(far.text).toBe("request");
  script.turn();
  script.expectNothing();
  far.send("answer");
  script.turn();
  tcp.expect({ flags: "ACK", seq: 1, ack: 8 }, "answer");
  while (script.turn());
  script.expectNothing();
});

test("a host that says nothing does not keep it longer, nor the loop awake", () => {
  const { script, tcp } = connected();
  tcp.send({ flags: "ACK", seq: 1, ack: 1 }, "request");
  expect(script.turn()).toBe(true);
  script.expectNothing();
  expect(script.turn()).toBe(true);
  tcp.expect({ flags: "ACK", seq: 1, ack: 8 });
  expect(script.turn()).toBe(false);
  script.expectNothing();
});

test("more from the guest does not put it off", () => {
  const { script, tcp } = connected();
  tcp.send({ flags: "ACK", seq: 1, ack: 1 }, "one");
  script.turn();
  tcp.send({ flags: "ACK", seq: 4, ack: 1 }, "two");
  script.turn();
  tcp.expect({ flags: "ACK", seq: 1, ack: 7 });
  while (script.turn());
  script.expectNothing();
});

test("the host's FIN acknowledges the guest's", () => {
  const { script, tcp, far } = connected();
  tcp.send({ flags: "FIN ACK", seq: 1, ack: 1 });
  script.turn();
  expect(far.ended).toBe(true);
  far.end();
  script.turn();
  tcp.expect({ flags: "FIN ACK", seq: 1, ack: 2 });
  tcp.send({ flags: "ACK", seq: 2, ack: 2 });
  while (script.turn());
  script.expectNothing();
  expect(script.stack.flows()).toEqual([]);
});

test("one connection's answer does not hurry another's acknowledgement", () => {
  const one = connected();
  const { script } = one;
  const two = connected(script, 1_001);
  one.tcp.send({ flags: "ACK", seq: 1, ack: 1 }, "one");
  two.far.send("two");
  script.turn();
  two.tcp.expect({ flags: "ACK", seq: 1, ack: 1 }, "two");
  script.expectNothing();
  one.far.send("answer");
  script.turn();
  one.tcp.expect({ flags: "ACK", seq: 1, ack: 4 }, "answer");
  script.expectNothing();
});

test("what arrived out of order is acknowledged by the next turn all the same", () => {
  const { script, tcp } = connected();
  tcp.send({ flags: "ACK", seq: 4, ack: 1 }, "two");
  script.turn();
  script.turn();
  tcp.expect({ flags: "ACK", seq: 1, ack: 1 });
  script.expectNothing();
});

test("a connection that ends with one owed sends none", () => {
  const { script, tcp, far } = connected();
  tcp.send({ flags: "ACK", seq: 1, ack: 1 }, "request");
  script.turn();
  far.reset();
  script.turn();
  tcp.expect({ flags: "RST ACK" });
  while (script.turn());
  script.expectNothing();
});
