/** Urgent bytes of the host's (MSG_OOB) arrive in their place among the others (RFC 6093 section 3). */
import { once } from "node:events";
import { createRequire } from "node:module";
import net from "node:net";
import { expect, it } from "vitest";
import type { Endpoint, HostTcp, HostTcpEvents } from "../../src/core/host-net.ts";
import { libc } from "../../src/host/libc.ts";
import { NodeHostNet } from "../../src/host/net.ts";
import { SeededRandom } from "../support/random.ts";

const MSG_OOB = 1;
const c = libc();
const skipped = c === null ? " (SKIPPED: koffi)" : "";

const lib = c === null ? null : createRequire(import.meta.url)("koffi").load(null);

/** To the kernel at once each, so that their order is theirs. */
function sendEach(fd: number, pieces: readonly (readonly [string, number])[]): void {
  const send = lib.func("int64_t send(int, const void *, size_t, int)");
  for (const [text, flags] of pieces) expect(Number(send(fd, Buffer.from(text), text.length, flags))).toBe(text.length);
}

/** A client that has said all this and has ended before anybody can have accepted it. */
function hastyClient(port: number, pieces: readonly (readonly [string, number])[]): void {
  const name = Buffer.alloc(16);
  name.writeUInt16LE(2, 0);
  name.writeUInt16BE(port, 2);
  name.writeUInt32BE(0x7f000001, 4);
  const fd = lib.func("int socket(int, int, int)")(2, 1, 0);
  expect(lib.func("int connect(int, const void *, uint32_t)")(fd, name, 16)).toBe(0);
  sendEach(fd, pieces);
  lib.func("int close(int)")(fd);
}

/** What is read until the far end has ended. */
function reading(connect: (events: HostTcpEvents) => HostTcp): Promise<string> {
  return new Promise((resolve) => {
    let heard = "";
    const end = (): void => {
      tcp.reset();
      resolve(heard);
    };
    const tcp: HostTcp = connect({
      onConnect: () => tcp.resume(),
      onData: (bytes, at, len) => void (heard += Buffer.from(bytes.subarray(at, at + len)).toString("latin1")),
      onEnd: end,
      onDrain() {},
      onClose: end,
    });
  });
}

const PIECES = [
  ["before", 0],
  ["!", MSG_OOB],
  ["after", 0],
] as const;

it.skipIf(c === null)(`an urgent byte of a server's is in line${skipped}`, async () => {
  const server = net.createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  const host = new NodeHostNet({ random: new SeededRandom(1) });
  const heard = reading((events) => host.connectTcp({ host: "127.0.0.1", port }, events));
  const [far] = (await once(server, "connection")) as [net.Socket];
  far.on("error", () => {});
  sendEach((far as unknown as { _handle: { fd: number } })._handle.fd, PIECES);
  far.end();
  expect(await heard).toBe("before!after");
  server.close();
});

it.skipIf(c === null).each([
  ["between others", PIECES, "before!after"],
  [
    "first of all, and several",
    [
      ["!", MSG_OOB],
      ["?", MSG_OOB],
      ["x", 0],
      ["!", MSG_OOB],
    ] as const,
    "!?x!",
  ],
])(
  `urgent bytes of a forward's client are in line, sent before anybody has accepted it: %s${skipped}`,
  async (_what, pieces, words) => {
    const host = new NodeHostNet({ random: new SeededRandom(1) });
    let taken = (_words: Promise<string>): void => {};
    const heard = new Promise<string>((resolve) => {
      taken = resolve as typeof taken;
    });
    const listener = await host.listenTcp({ host: "127.0.0.1", port: 0 }, (client) =>
      taken(
        reading((events) => {
          const tcp = client.accept(events);
          tcp.resume();
          return tcp;
        }),
      ),
    );
    hastyClient((listener.address as Endpoint).port, pieces);
    expect(await heard).toBe(words);
    listener.close();
  },
);
