/** An AbortSignal wherever something waits or stays: what it ends, and what is said to one that is aborted already. */
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { Duplex, duplexPair } from "node:stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ConfigError, createNetwork, GuestNetworks, type Network } from "../../src/index.ts";
import { GUEST, startLan } from "./lan.ts";

const WHY = new Error("changed my mind");
const INSIDE = "10.0.2.100";

let folder: string;
let network: Network;
beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "tslirp-signals-"));
  network = await createNetwork();
});
afterAll(async () => {
  await network.close();
  rmSync(folder, { recursive: true });
});

/** Each call that takes a signal. */
const CALLS: Readonly<Record<string, (signal: AbortSignal) => unknown>> = {
  createNetwork: (signal) => createNetwork({ signal }),
  listen: (signal) => network.listen({ path: path.join(folder, "l.sock"), signal }),
  dial: (signal) => network.dial({ path: path.join(folder, "d.sock"), signal }),
  attach: async (signal) => network.attach(duplexPair()[0], { signal }),
  attachFd: async (signal) => network.attachFd(9999, { signal }),
  attachAccepted: async (signal) => network.attachAccepted(new net.Socket(), { signal }),
  connect: (signal) => network.connect({ host: GUEST, port: 80, signal }),
  createConnection: async (signal) => network.createConnection({ host: GUEST, port: 80, signal }),
  listenGuest: (signal) => network.listenGuest({ host: INSIDE, port: 80, signal }),
  bindGuestUdp: (signal) => network.bindGuestUdp({ host: INSIDE, port: 80, signal }),
  publish: (signal) => network.publish("tcp:127.0.0.1:0-:22", { signal }),
};

describe.each(Object.entries(CALLS))("%s", (_name, call) => {
  it("with a signal that is aborted does nothing and rejects with its reason", async () => {
    await expect(call(AbortSignal.abort(WHY))).rejects.toBe(WHY);
  });

  it("with something else for a signal says so", async () => {
    await expect(call("now" as never)).rejects.toThrow('signal: got "now"; expected an AbortSignal');
  });
});

it("a signal that stands in the place of something else is refused in one line", async () => {
  const signal = new AbortController().signal as never;
  const refused = async (call: () => unknown, line: string): Promise<void> => {
    const error = await Promise.resolve()
      .then(call)
      .catch((e: unknown) => e);
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as ConfigError).message).toContain(line);
  };
  await refused(
    () => network.listenGuest({ host: INSIDE, port: 80 }, { signal } as never),
    'onSocket: got {"signal":{}}; expected a function like (socket) => {}; a signal is { host, port, signal }',
  );
  await refused(
    () => network.publish("tcp:127.0.0.1:0-:22", signal),
    "options: got {}; expected the signal as { signal }",
  );
  await refused(() => network.attach(duplexPair()[0], signal), "expected the signal as { signal }");
  await refused(() => network.attachFd(9999, signal), "expected the signal as { signal }");
  await refused(() => network.attachAccepted(new net.Socket(), signal), "expected the signal as { signal }");
  await refused(
    () => network.listen({ path: path.join(folder, "x") }, { signal } as never),
    "a signal is { path, signal }",
  );
  await refused(() => network.connect(signal), "options: got {}; expected the signal as { signal }");
  expect(network.stats().tcpFlows).toBe(0);
  expect(network.forwards()).toEqual([]);
});

it("may end any number of things: Node takes none of them for a leak", async () => {
  const warnings: string[] = [];
  const warned = ({ name, message }: Error): void => void warnings.push(`${name}: ${message}`);
  process.on("warning", warned);
  try {
    const [each, all] = [new AbortController(), new AbortController()];
    const networks = await Promise.all(Array.from({ length: 12 }, () => createNetwork({ signal: all.signal })));
    const [first] = networks;
    for (let i = 0; i < 12; i++) {
      const { signal } = i % 2 === 0 ? each : new AbortController();
      await first!.publish(`tcp:127.0.0.1:0-:${i + 1}`, { signal });
      await first!.listen({ path: path.join(folder, `many-${i}.sock`), signal: each.signal });
      await first!.listenGuest({ host: INSIDE, port: 80 + i, signal: each.signal });
      await first!.bindGuestUdp({ host: INSIDE, port: 80 + i, signal: each.signal });
      first!.attach(duplexPair()[0], { signal: each.signal });
    }
    const guests = new GuestNetworks({ signal: all.signal });
    for (let i = 0; i < 12; i++) await guests.listenAt({ path: path.join(folder, `g-${i}.sock`) });
    // Warnings come in a turn of their own.
    await new Promise((resolve) => setImmediate(resolve));
    expect(warnings).toEqual([]);
    each.abort();
    expect(first!.forwards().length).toBe(6);
    all.abort();
    await Promise.all([guests, ...networks].map((network) => network.close()));
  } finally {
    process.off("warning", warned);
  }
});

it("closes the network", async () => {
  const abort = new AbortController();
  const other = await createNetwork({ signal: abort.signal });
  abort.abort();
  await expect(other.connect({ port: 80 })).rejects.toThrow("the network is closed");
  await other.close();
});

it("gives up to connect, with its reason, also where it is no Error", async () => {
  for (const [reason, error] of [
    [WHY, WHY],
    ["enough", new Error("enough")],
  ]) {
    const abort = new AbortController();
    const dialled = network.connect({ host: GUEST, port: 80, signal: abort.signal });
    abort.abort(reason);
    await expect(dialled).rejects.toEqual(error);
  }
  await expect.poll(() => network.stats().tcpFlows, { timeout: 10_000 }).toBe(0);
});

it("ends a connection that stands, and the guest hears of it", async () => {
  await using lan = await startLan();
  const gone = new Promise((resolve) => {
    lan.guest.listen(80, () => ({ onEnd: () => resolve("FIN"), onClose: resolve }));
  });
  const abort = new AbortController();
  const socket = await lan.net.connect({ host: GUEST, port: 80, signal: abort.signal });
  const failed = once(socket, "error");
  abort.abort(WHY);
  expect(await failed).toEqual([WHY]);
  expect(await gone).toBe("FIN");
});

it("closes what listens for guests, and frees its place", async () => {
  for (const open of [
    (signal: AbortSignal) => network.listenGuest({ host: INSIDE, port: 80, signal }),
    (signal: AbortSignal) => network.bindGuestUdp({ host: INSIDE, port: 80, signal }),
  ]) {
    const abort = new AbortController();
    const opened = await open(abort.signal);
    const closed = once(opened, "close");
    await expect(open(abort.signal)).rejects.toMatchObject({ code: "EADDRINUSE" });
    abort.abort();
    await closed;
    (await open(new AbortController().signal)).close();
  }
});

it("closes forwards", async () => {
  const abort = new AbortController();
  await network.publish("tcp:127.0.0.1:0-:22", { signal: abort.signal });
  expect(network.forwards()).toHaveLength(1);
  abort.abort();
  expect(network.forwards()).toEqual([]);
});

it("ends the waiting for guests and the cables that came by it", async () => {
  const at = path.join(folder, "net.sock");
  const abort = new AbortController();
  await network.listen({ path: at, signal: abort.signal });
  const guest = net.connect(at);
  await expect.poll(() => network.cables(), { timeout: 10_000 }).toHaveLength(1);
  const over = once(guest.resume(), "close");
  abort.abort();
  await over;
  await expect.poll(() => network.cables(), { timeout: 10_000 }).toEqual([]);
  const refused = net.connect(at);
  await expect(once(refused, "connect")).rejects.toMatchObject({ code: "ENOENT" });
});

it("ends the dialling, and what has been dialled", async () => {
  const at = path.join(folder, "qemu.sock");
  const qemu = net.createServer();
  const abort = new AbortController();
  await network.dial({ path: at, signal: abort.signal });
  const came = once(qemu, "connection") as Promise<[net.Socket]>;
  qemu.listen(at);
  const [socket] = await came;
  const over = once(socket.resume(), "close");
  abort.abort();
  await over;
  qemu.close();
});

it("unplugs a Duplex", async () => {
  const abort = new AbortController();
  const [ours] = duplexPair();
  network.attach(ours, { signal: abort.signal });
  expect(network.cables()).toHaveLength(1);
  abort.abort();
  await expect.poll(() => network.cables(), { timeout: 10_000 }).toEqual([]);
  expect(ours).toBeInstanceOf(Duplex);
  expect(ours.destroyed).toBe(true);
});
