/** Urgent bytes of the host's (MSG_OOB) arrive in their place among the others (RFC 6093 section 3). */
import { once } from "node:events";
import { createRequire } from "node:module";
import net from "node:net";
import { expect, it } from "vitest";
import { libc } from "../../src/host/libc.ts";
import { NodeHostNet } from "../../src/host/net.ts";
import { SeededRandom } from "../support/random.ts";

const MSG_OOB = 1;
const c = libc();

it.skipIf(c === null)(`an urgent byte is in line${c === null ? " (SKIPPED: koffi)" : ""}`, async () => {
  const send = createRequire(import.meta.url)("koffi")
    .load(null)
    .func("int64_t send(int, const void *, size_t, int)");
  const server = net.createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  const host = new NodeHostNet({ random: new SeededRandom(1) });
  const none = (): void => {};
  let heard = "";
  let ended = none;
  const end = new Promise<void>((resolve) => {
    ended = resolve;
  });
  const tcp = host.connectTcp(
    { host: "127.0.0.1", port },
    {
      onConnect: () => tcp.resume(),
      onData: (bytes, at, len) => void (heard += Buffer.from(bytes.subarray(at, at + len)).toString("latin1")),
      onEnd: () => ended(),
      onDrain: none,
      onClose: () => ended(),
    },
  );
  const [far] = (await once(server, "connection")) as [net.Socket];
  far.on("error", none);
  const { fd } = (far as unknown as { _handle: { fd: number } })._handle;
  // To the kernel at once each, so that their order is theirs.
  for (const [text, flags] of [
    ["before", 0],
    ["!", MSG_OOB],
    ["after", 0],
  ] as const)
    expect(Number(send(fd, Buffer.from(text), text.length, flags))).toBe(text.length);
  far.end();
  await end;
  expect(heard).toBe("before!after");
  tcp.reset();
  server.close();
});
