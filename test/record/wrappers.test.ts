/** A network that is recorded has what one that is not recorded has: its wrappers leave nothing out. */
import { expect, it } from "vitest";
import type { HostTcpEvents, Landing } from "../../src/core/host-net.ts";
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

it("reads land where the flow has room just then, and their lengths are recorded; with payload none does", () => {
  const told: string[] = [];
  let room: Landing | null = null;
  const events: HostTcpEvents = {
    onConnect() {},
    get landing() {
      return room === null ? undefined : () => room;
    },
    landed: (len) => void told.push(`landed ${len}`),
    onData() {},
    onEnd() {},
    onDrain() {},
    onClose() {},
  };
  const block = new BlockWriter();
  const sink = { block, entry: block.entry.bind(block), ended() {} };
  const recorded = tcpEvents(new Recorder(sink, false), 7, events);
  const bytes = new Uint8Array(4);
  expect(recorded.landing).toBeUndefined();
  room = { chunks: [new Uint8Array(9)], first: 0, at: 0, len: 9 };
  expect(recorded.landing!(bytes, 0, 4, 100)).toBe(room);
  recorded.landed!(6);
  const { landing } = recorded;
  room = null;
  expect(landing!(bytes, 0, 4, 100)).toBeNull();
  room = { chunks: [], first: 0, at: 0, len: 0 };
  expect(tcpEvents(new Recorder(sink, true), 7, events).landing).toBeUndefined();
  expect(told).toEqual(["landed 6"]);
  expect([...readEntries(block.take())]).toEqual([{ name: "landed", values: [7, 4, 100, 6] }]);
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
