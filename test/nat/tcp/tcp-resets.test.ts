/** A full cable holds up the end of a connection, and does not swallow it. */
import { describe, expect, test } from "vitest";
import { dialled, ROLES } from "../../proto/tcp/roles.ts";

describe.each(ROLES)("%s: a host's reset that finds the cable full", (_name, connect) => {
  test("reaches the guest when the cable has room, once", async () => {
    const { script, tcp, far } = await connect();
    script.cable.stall(true);
    far.reset();
    script.expectNothing();
    expect(script.stack.gauges()).toMatchObject({ tcpFlows: 0, timers: 0 });
    script.cable.stall(false);
    tcp.expect({ flags: "RST ACK", seq: 1, ack: 1 });
    script.expectNothing();
    script.cable.stall(true);
    script.cable.stall(false);
    script.expectNothing();
  });

  test("is forgotten with the cable", async () => {
    const { script, far } = await connect();
    script.cable.stall(true);
    far.reset();
    script.expectNothing();
    script.cable.close();
    script.advance(10_000);
    script.expectNothing();
  });
});

test("no more than so many are owed; what is beyond is counted", () => {
  const { script, far } = dialled();
  const others = Array.from({ length: 4_200 }, (_, i) => {
    const tcp = script.tcp({ srcPort: 2_000 + i });
    tcp.send({ flags: "SYN", seq: 0, options: { mss: 1460 } });
    tcp.expect({ flags: "SYN ACK" });
    tcp.send({ flags: "ACK", seq: 1, ack: 1 });
    return script.host.dialled.at(-1)!;
  });
  script.cable.stall(true);
  for (const each of [far, ...others]) each.reset();
  script.expectNothing();
  script.cable.stall(false);
  const sent = script.takeAll().length;
  expect(sent).toBeGreaterThanOrEqual(4_096);
  expect(script.dropped("cable-full")).toBe(4_201 - sent);
});
