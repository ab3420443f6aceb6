/**
 * A hang, recorded, for the session in docs/recording.md: a network with a fault put in on purpose, which does not notice that a
 * guest opens a window that was closed, so that what waits for it waits for ever.
 */
import { createServer } from "node:net";
import { ipv4FromText } from "../../src/core/address.ts";
import { createNetwork } from "../../src/index.ts";
import { TcpNat } from "../../src/nat/tcp/tcp-nat.ts";
import { ACK, tcpFlags, tcpSrc, tcpWindow } from "../../src/wire/tcp.ts";
import { embeddedGuest } from "../support/embedded-guest.ts";

/** What the guest keeps while its program does not read, and what it is sent. */
const WINDOW = 2_920;
const SENT = 12_000;

/** Puts the fault in. Returns what takes it out again, and whether a window has been closed. */
function withoutWindowUpdates(): { restore(): void; hasClosed(): boolean } {
  const sound = TcpNat.prototype.receive;
  const closed = new Set<number>();
  TcpNat.prototype.receive = function (guest, slab, dstAt, at, ...rest) {
    const { bytes } = slab;
    const port = tcpSrc(bytes, at);
    if (closed.has(port) && tcpFlags(bytes, at) === ACK) return;
    if (tcpFlags(bytes, at) === ACK && tcpWindow(bytes, at) === 0) closed.add(port);
    sound.call(this, guest, slab, dstAt, at, ...rest);
  };
  return {
    restore: () => {
      TcpNat.prototype.receive = sound;
    },
    hasClosed: () => closed.size > 0,
  };
}

/** A guest boots, pings, is sent something, does not read for a while, and gets nothing once it does. */
export async function recordHang(file: string): Promise<void> {
  const server = createServer((socket) => socket.on("error", () => {}).end("x".repeat(SENT)));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const fault = withoutWindowUpdates();
  const net = await createNetwork({ ipv6: false, record: { file, payload: false } });
  const { guest, stop } = await embeddedGuest(net, 1, "web");
  try {
    await guest.ping(guest.gateway);
    let received = 0;
    const socket = guest.connect(
      ipv4FromText("10.0.2.2"),
      (server.address() as { port: number }).port,
      { onData: (bytes) => void (received += bytes.length), onConnect: () => socket.pause() },
      { receiveBuffer: WINDOW, windowScale: false, timestamps: false },
    );
    while (!fault.hasClosed()) await new Promise((resolve) => setTimeout(resolve, 5));
    socket.resume();
    await new Promise((resolve) => setTimeout(resolve, 100));
    if (received >= SENT) throw new Error("nothing hangs");
    await net.stopRecording();
  } finally {
    fault.restore();
    stop();
    await net.close();
    server.close();
  }
}
