/** TFTP at the gateway's address, through the stack. */
import { expect, it } from "vitest";
import { FakeFiles } from "../support/fake-files.ts";
import { GUEST_IP, PacketScript } from "../support/packet-script.ts";

const GATEWAY = "10.0.2.2";
const RRQ = "\0\x01f\0octet\0";

function script(restrict = false): { s: PacketScript; files: FakeFiles } {
  const files = new FakeFiles();
  files.put("f", "hello");
  return { s: new PacketScript({ restrict }, files), files };
}

function udp(s: PacketScript, payload: string, dst = GATEWAY, dstPort = 69): void {
  s.send({ ip: { src: GUEST_IP, dst }, udp: { srcPort: 2000, dstPort }, payload });
}

it.each([false, true])("is served from port 69 of the gateway, restrict %s", (restrict) => {
  const { s, files } = script(restrict);
  udp(s, RRQ);
  files.run();
  s.expect({ ip: { src: GATEWAY, dst: GUEST_IP }, udp: { srcPort: 69, dstPort: 2000 }, payload: "\0\x03\0\x01hello" });
  udp(s, "\0\x04\0\x01");
  s.expectNothing();
  expect(s.events).toContainEqual({ type: "tftp", guest: GUEST_IP, file: "f", bytes: 5, error: null });
});

it("sends again by the stack's own clock", () => {
  const { s, files } = script();
  let woken = 0;
  s.stack.onPollAt = () => woken++;
  udp(s, RRQ);
  files.run();
  s.expect({ udp: { srcPort: 69 } });
  expect(woken).toBeGreaterThan(0);
  s.advance(1000);
  s.expect({ udp: { srcPort: 69 }, payload: "\0\x03\0\x01hello" });
});

it("blocks as large as they are asked for are not fragmented", () => {
  const { s, files } = script();
  files.put("f", new Uint8Array(3000));
  udp(s, "\0\x01f\0octet\0blksize\x009000\0");
  files.run();
  s.expect({ payload: "\0\x06blksize\x001468\0" });
  udp(s, "\0\x04\0\0");
  files.run();
  expect(s.expect({ ip: { mf: false, offset: 0 } }).payload).toHaveLength(1472);
  s.expectNothing();
});

it("is no business of other addresses and ports", () => {
  const { s, files } = script();
  udp(s, RRQ, "10.0.2.3");
  s.expect({ icmp: { type: 3, code: 3 } });
  udp(s, RRQ, GATEWAY, 70);
  udp(s, RRQ, "198.51.100.1");
  expect(files.asked).toEqual([]);
});

it("without a folder the port is the host's", () => {
  const s = new PacketScript();
  const far = s.host.udpFar({ host: "127.0.0.1", port: 69 });
  udp(s, RRQ);
  expect(far.received).toHaveLength(1);
});
