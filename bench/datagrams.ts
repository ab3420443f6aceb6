/** Datagrams through the host's sockets on loopback, from one mapping to another: sent together, and read. */
import type { HostUdp } from "../src/core/host-net.ts";
import { NodeHostNet } from "../src/host/net.ts";
import { HostRandom } from "../src/host/random.ts";
import { type Case, same } from "./case.ts";

/** As many as a socket has room for, of either size. */
const BURST = 32;
const HOST = "127.0.0.1";

export function datagramCases(): Case[] {
  return [64, 1_400].map(fromMappingToMapping);
}

function fromMappingToMapping(size: number): Case {
  const net = new NodeHostNet({ random: new HostRandom(), notice() {} });
  const bytes = new Uint8Array(size).fill(1);
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
