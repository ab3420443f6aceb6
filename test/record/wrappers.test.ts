/** A network that is recorded has what one that is not recorded has: its wrappers leave nothing out. */
import { expect, it } from "vitest";
import type { HostTcpEvents } from "../../src/core/host-net.ts";
import { BlockWriter, readEntries } from "../../src/record/codec.ts";
import { tcpEvents } from "../../src/record/host.ts";
import { EndJson, Recorder } from "../../src/record/recorder.ts";

it("a host socket asks how much it may read, and the question is recorded: it may cause something", () => {
  const block = new BlockWriter();
  const recorder = new Recorder({ block, entry: (name, values) => block.entry(name, values), ended() {} }, true);
  const asked: boolean[] = [];
  const events: HostTcpEvents = {
    onConnect() {},
    readMost(more) {
      asked.push(more);
      return 512;
    },
    onData() {},
    onEnd() {},
    onDrain() {},
    onClose() {},
  };
  expect(tcpEvents(recorder, 7, events).readMost?.(true)).toBe(512);
  expect(asked).toEqual([true]);
  expect([...readEntries(block.take())]).toEqual([{ name: "readMost", values: [7, 1] }]);
  const { readMost: _, ...without } = events;
  expect(tcpEvents(recorder, 7, without).readMost).toBeUndefined();
});

it("a datagram's end becomes JSON once, as long as its socket says the same end", () => {
  const ends = new EndJson();
  const [a, b] = [
    { host: "10.0.2.2", port: 53 },
    { host: "10.0.2.2", port: 54 },
  ];
  const text = (end: object): string => new TextDecoder().decode(ends.of(end));
  expect(ends.of(a)).toBe(ends.of(a));
  expect([text(a), text(b), text(a)]).toEqual([a, b, a].map((end) => JSON.stringify(end)));
});
