/**
 * Datagrams, many together: through the host's sockets on loopback, from one mapping to another, sent and read; and
 * through `Stack` without any system call, from a guest's frames to its host socket's `send`, and from there to frames.
 */
import type { HostUdp, HostUdpEvents } from "../src/core/host-net.ts";
import { NodeHostNet } from "../src/host/net.ts";
import { HostRandom } from "../src/host/random.ts";
import { region } from "../src/wire/arena.ts";
import { ManualClock } from "../test/support/clock.ts";
import { encodeFrame } from "../test/support/frames.ts";
import { type Case, same } from "./case.ts";
import { DiscardingLink, stackOf } from "./guest.ts";

/** As many as a socket has room for, of either size. */
const BURST = 32;
const HOST = "127.0.0.1";

export function datagramCases(): Case[] {
  return [64, 1_400].flatMap((size) => [fromMappingToMapping(size), guestToHost(size), hostToGuest(size)]);
}

/** A stack whose guest has sent a burst to the far end. */
function guestOf(size: number) {
  const counts = { up: 0, down: 0 };
  const link = new DiscardingLink();
  link.onCommit = () => counts.down++;
  let events: HostUdpEvents | null = null;
  const stack = stackOf(
    new ManualClock(1_000),
    () => {
      throw new Error("no connection is dialled");
    },
    (reason) => {
      throw new Error(`dropped: ${reason}`);
    },
    null,
    (_family, its) => {
      events = its;
      return { send: () => void counts.up++, close() {} };
    },
  );
  const frame = encodeFrame({
    eth: { src: "52:54:00:12:34:56", dst: "52:55:0a:00:02:02" },
    ip: { src: "10.0.2.15", dst: "198.51.100.1" },
    udp: { srcPort: 1_000, dstPort: 80 },
    payload: new Uint8Array(size).fill(1),
  });
  const slab = { bytes: region(BURST * frame.length), scarce: false, pin() {}, unpin() {} };
  for (let i = 0; i < BURST; i++) slab.bytes.set(frame, i * frame.length);
  const send = (): void => {
    for (let i = 0; i < BURST; i++) stack.receive(link, slab, i * frame.length, frame.length);
    stack.batchEnd(link);
  };
  stack.attached(link);
  send();
  return { counts, send, events: events as unknown as HostUdpEvents };
}

function guestToHost(size: number): Case {
  const { counts, send } = guestOf(size);
  return {
    suite: "datagrams",
    name: `${BURST} datagrams of ${size} bytes through the stack, guest to host`,
    per: BURST,
    bytes: size,
    call: send,
    check: (calls) => same("datagrams sent", counts.up, (calls + 1) * BURST),
  };
}

function hostToGuest(size: number): Case {
  const { counts, events } = guestOf(size);
  const bytes = region(size).fill(2);
  const from = { host: "198.51.100.1", port: 80 };
  return {
    suite: "datagrams",
    name: `${BURST} datagrams of ${size} bytes through the stack, host to guest`,
    per: BURST,
    bytes: size,
    call() {
      for (let i = 0; i < BURST; i++) events.onDatagram(bytes, 0, size, from);
    },
    check: (calls) => same("frames", counts.down, calls * BURST),
  };
}

function fromMappingToMapping(size: number): Case {
  const net = new NodeHostNet({ random: new HostRandom(), notice() {} });
  const bytes = region(size).fill(1);
  let seen = 0;
  let heard: () => void = () => {};
  const onUdpError = (): void => {};
  const receiver = net.openUdp(4, {
    onDatagram() {
      if (++seen % BURST === 0) heard();
    },
    onUdpError,
  });
  const sender = net.openUdp(4, { onDatagram() {}, onUdpError });
  let port: Promise<number> | null = null;
  return {
    suite: "datagrams",
    name: `${BURST} datagrams of ${size} bytes through loopback, sent and read`,
    per: BURST,
    bytes: size,
    deferred: true,
    async call() {
      port ??= portOf(net, receiver);
      const to = { host: HOST, port: await port };
      const all = new Promise<void>((resolve) => {
        heard = resolve;
      });
      net.cork();
      for (let i = 0; i < BURST; i++) sender.send(bytes, 0, size, to, 64, false);
      net.uncork();
      await all;
    },
    check(calls) {
      same("datagrams read", seen, calls * BURST);
      receiver.close();
      sender.close();
    },
  };
}

/** The port of a mapping's own, as somebody sees it whom it sends to. */
async function portOf(net: NodeHostNet, mapping: HostUdp): Promise<number> {
  let tell: (port: number) => void = () => {};
  const seen = new Promise<number>((resolve) => {
    tell = resolve;
  });
  const far = await net.bindUdp(
    { host: HOST, port: 0 },
    { onDatagram: (_bytes, _at, _len, from) => tell(from.port), onUdpError() {} },
  );
  if (!("port" in far.address)) throw new Error("a UDP socket has a port");
  mapping.send(Uint8Array.of(0), 0, 1, far.address, 64, false);
  const port = await seen;
  far.close();
  return port;
}
