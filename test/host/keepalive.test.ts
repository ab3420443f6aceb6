/** A far end that is gone without a word is missed: the kernel asks it after two hours of silence. */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import net from "node:net";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { AcceptedTcp, Endpoint, HostTcp } from "../../src/core/host-net.ts";
import { NodeHostNet } from "../../src/host/net.ts";
import { SeededRandom } from "../support/random.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout"] });
});
afterEach(() => {
  vi.useRealTimers();
});

const none = (): void => {};
const nobody = { onConnect: none, onData: none, onEnd: none, onDrain: none, onClose: none };

/** The kernel's timer of the connection from `local` to `remote` (proc(5)): 02 is keepalive's. */
function timerOf(local: number, remote: number): string | undefined {
  const hex = (port: number): string => `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const rows = readFileSync("/proc/net/tcp", "utf8").split("\n");
  const fields = rows.map((line) => line.trim().split(/\s+/));
  const found = fields.find((f) => f[1]?.endsWith(hex(local)) && f[2]?.endsWith(hex(remote)));
  return found?.[5]?.slice(0, 2);
}

it.skipIf(process.platform !== "linux").each([true, false])(
  "connections that last have keepalive, dialled and accepted (C library: %s)",
  async (libc) => {
    const host = new NodeHostNet({ random: new SeededRandom(1), libc });
    let take = (_tcp: HostTcp): void => {};
    const accepted = new Promise<HostTcp>((resolve) => {
      take = resolve;
    });
    const listener = await host.listenTcp({ host: "127.0.0.1", port: 0 }, (offer: AcceptedTcp) =>
      take(offer.accept(nobody)),
    );
    const { port } = listener.address as Endpoint;
    let connected = none;
    const stands = new Promise<void>((resolve) => {
      connected = resolve;
    });
    const dialled = host.connectTcp({ host: "127.0.0.1", port }, { ...nobody, onConnect: () => connected() });
    await stands;
    const far = await accepted;
    const from = dialled.local!.port;
    expect([timerOf(from, port), timerOf(port, from)]).toEqual(["00", "00"]);
    vi.advanceTimersByTime(120_000);
    expect([timerOf(from, port), timerOf(port, from)]).toEqual(["02", "02"]);
    // And then the process rests.
    expect(vi.getTimerCount()).toBe(0);
    dialled.reset();
    far.reset();
    listener.close();
  },
);

it("keepalive wakes nobody once all connections are over or have it", async () => {
  const server = net.createServer((socket) => void socket.on("error", none).resume());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const host = new NodeHostNet({ random: new SeededRandom(1) });
  const { port } = server.address() as net.AddressInfo;
  const tcp = host.connectTcp({ host: "127.0.0.1", port }, nobody);
  tcp.reset();
  vi.advanceTimersByTime(60_000);
  expect(vi.getTimerCount()).toBe(0);
  server.close();
});
