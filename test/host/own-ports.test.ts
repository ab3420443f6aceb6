/** Ports of this process that are nobody's to reach from a guest, though the host's loopback is. */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import net from "node:net";
import { describe, expect, test } from "vitest";
import { libc } from "../../src/host/libc.ts";
import { NodeHostNet } from "../../src/host/net.ts";
import { SeededRandom } from "../support/random.ts";

/** How a connect ends: "connected" or its code. */
function dial(host: NodeHostNet, to: string, port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = host.connectTcp(
      { host: to, port },
      {
        onConnect: () => {
          socket.reset();
          resolve("connected");
        },
        onData() {},
        onEnd() {},
        onDrain() {},
        onClose: resolve,
      },
    );
  });
}

describe.each([
  ["the C library's sockets", true],
  ["Node's sockets", false],
])("with %s", (_name, useLibc) => {
  test.skipIf(useLibc && libc() === null)("a protected UDP port gets nothing, until it is let go", async () => {
    const host = new NodeHostNet({ random: new SeededRandom(), libc: useLibc });
    const server = createSocket("udp4").bind(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address();
    const unprotect = host.ownPorts.protect(port);
    const errors: string[] = [];
    let told = (): void => {};
    const refused = new Promise<void>((resolve) => {
      told = resolve;
    });
    const socket = host.openUdp(4, {
      onDatagram() {},
      onUdpError: (error) => {
        errors.push(error.code);
        told();
      },
    });
    const to = { host: "127.0.0.1", port };
    const heard = once(server, "message");
    socket.send(Buffer.from("first"), 0, 5, to, 64, false);
    await refused;
    expect(errors).toEqual(["ECONNREFUSED"]);
    unprotect();
    socket.send(Buffer.from("second"), 0, 6, to, 64, false);
    expect(String((await heard)[0])).toBe("second");
    socket.close();
    server.close();
  });
});

test.each(["127.0.0.1", "127.1.2.3", "::1", "0.0.0.0", "::ffff:127.0.0.1"])(
  "a protected TCP port is refused at %s",
  async (address) => {
    const host = new NodeHostNet({ random: new SeededRandom() });
    const server = net.createServer((socket) => socket.destroy()).listen(0);
    await once(server, "listening");
    const { port } = server.address() as net.AddressInfo;
    host.ownPorts.protect(port);
    expect(await dial(host, address, port)).toBe("ECONNREFUSED");
    server.close();
  },
);

test("an uplink's end protected twice is let go when both have let go, each once", () => {
  const { ownPorts } = new NodeHostNet({ random: new SeededRandom() });
  const [first, second] = [ownPorts.protectEnd("192.0.2.1", 4789), ownPorts.protectEnd("192.0.2.1", 4789)];
  first();
  first();
  expect(ownPorts.has("192.0.2.1", 4789)).toBe(true);
  second();
  expect(ownPorts.has("192.0.2.1", 4789)).toBe(false);
});

test("a port protected twice is let go when both have let go", async () => {
  const { ownPorts } = new NodeHostNet({ random: new SeededRandom() });
  const [first, second] = [ownPorts.protect(80), ownPorts.protect(80)];
  first();
  first();
  expect(ownPorts.has("127.0.0.1", 80)).toBe(true);
  second();
  expect(ownPorts.has("127.0.0.1", 80)).toBe(false);
});
