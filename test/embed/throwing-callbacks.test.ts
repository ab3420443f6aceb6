/** A user's function that throws inside a call of the network's: who learns of it, and that nothing else changes. */
import { once } from "node:events";
import { Duplex, PassThrough } from "node:stream";
import { expect, it } from "vitest";
import { ipv4FromText } from "../../src/core/address.ts";
import { createNetwork, type MemoryCable } from "../../src/index.ts";
import { startLan } from "./lan.ts";

/** ARP of a guest's: who has 10.0.2.2? */
const arp = (last = "56"): Buffer =>
  Buffer.from(`ffffffffffff5254001234${last}080600010800060400015254001234${last}0a00020f0000000000000a000202`, "hex");

/** How many answers one ARP question gets, the question being sent now. */
function answers(cable: MemoryCable, last?: string): number {
  let count = 0;
  cable.onFrame = (frame) => {
    if (frame[12] === 8 && frame[13] === 6) count++;
  };
  cable.send(arp(last));
  return count;
}

/** Resolves with the next uncaught exception, which the test runner does not see. */
async function uncaught(cause: () => void): Promise<unknown> {
  const others = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  try {
    const seen = new Promise((resolve) => void process.once("uncaughtException", resolve));
    cause();
    return await seen;
  } finally {
    for (const each of others) process.on("uncaughtException", each);
  }
}

it("send throws what onFrame throws, and the cable goes on", async () => {
  await using net = await createNetwork();
  const cable = net.cable();
  cable.onFrame = () => {
    throw new Error("mine");
  };
  for (let i = 0; i < 3; i++) expect(() => cable.send(arp())).toThrow("mine");
  expect(answers(cable)).toBe(1);
});

it("send throws what a watcher throws, and no frame is lost", async () => {
  await using net = await createNetwork();
  let got = 0;
  const cable = net.cable(() => got++);
  let seen = 0;
  const end = net.watch({
    frame() {
      seen++;
      throw new Error("mine");
    },
  });
  expect(() => cable.send(arp())).toThrow("mine");
  expect(got).toBeGreaterThan(0);
  expect(seen).toBe(got + 1);
  end();
  expect(answers(cable)).toBe(1);
});

it("a guest's onFrame that throws takes nothing from other guests", async () => {
  await using net = await createNetwork();
  const one = net.cable();
  net.cable(() => {
    throw new Error("the other's");
  });
  let got = 0;
  one.onFrame = () => got++;
  expect(() => one.send(arp())).toThrow("the other's");
  expect(got).toBeGreaterThan(0);
  expect(net.stats().framesIn).toBe(1);
});

it("an error outside of a send is an uncaught exception, and the cable goes on", async () => {
  await using net = await createNetwork();
  const cable = net.cable();
  expect(answers(cable)).toBe(1);
  const stream = new PassThrough();
  let thrown = 0;
  cable.onFrame = () => {
    if (thrown++ === 0) throw new Error("mine");
  };
  net.attach(stream);
  const frame = arp("57");
  const error = await uncaught(() => void stream.write(Buffer.concat([Buffer.from([0, 0, 0, frame.length]), frame])));
  expect(error).toMatchObject({ message: "mine" });
  expect(answers(cable)).toBe(1);
});

it("a stream whose write throws ends its cable, and other guests go on", async () => {
  await using net = await createNetwork();
  const stream = new Duplex({
    read() {},
    write() {
      throw new Error("its write");
    },
  });
  net.attach(stream);
  const frame = arp("57");
  const error = await uncaught(() => void stream.push(Buffer.concat([Buffer.from([0, 0, 0, frame.length]), frame])));
  expect(error).toMatchObject({ message: "its write" });
  if (!stream.closed) await once(stream, "close");
  expect(net.cables()).toEqual([]);
  expect(answers(net.cable())).toBe(1);
});

it("a listener of connect that throws holds up no byte of the connection", async () => {
  await using lan = await startLan();
  let text = "";
  const heard = new Promise<void>((resolve) => {
    lan.guest.listen(80, () => ({
      onData(bytes) {
        text += Buffer.from(bytes);
      },
      onEnd: resolve,
    }));
  });
  const error = await uncaught(() => {
    const socket = lan.net.createConnection({ port: 80 });
    socket.on("connect", () => {
      throw new Error("mine");
    });
    socket.end("hello");
  });
  expect(error).toMatchObject({ message: "mine" });
  await heard;
  expect(text).toBe("hello");
});

it("a listener of a connection's bytes that throws loses none of them", async () => {
  await using lan = await startLan();
  const server = await lan.net.listenGuest({ host: "10.0.2.100", port: 80 });
  const accepted = once(server, "connection");
  const guest = lan.guest.connect(ipv4FromText("10.0.2.100"), 80, {});
  const [socket] = await accepted;
  let text = "";
  let thrown = 0;
  socket.on("data", (bytes: Buffer) => {
    text += bytes;
    if (thrown++ === 0) throw new Error("mine");
  });
  const ended = once(socket, "end");
  const error = await uncaught(() => {
    for (const word of ["one ", "two ", "three"]) guest.write(Buffer.from(word));
    guest.end();
  });
  expect(error).toMatchObject({ message: "mine" });
  await ended;
  expect(text).toBe("one two three");
});
