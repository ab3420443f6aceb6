/** Guests that say nothing, on a clock that the test moves: ETIMEDOUT, as a kernel's sockets have it. */
import { once } from "node:events";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { createNetwork } from "../../src/index.ts";
import { GUEST, startLan } from "./lan.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
  const from = Date.now();
  vi.spyOn(performance, "now").mockImplementation(() => Date.now() - from);
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

it("a guest that is not there is EHOSTUNREACH, when it has been absent for two minutes", async () => {
  const net = await createNetwork();
  net.cable();
  const socket = net.createConnection({ host: GUEST, port: 80 });
  const failed = once(socket, "error");
  await vi.advanceTimersByTimeAsync(115_000);
  expect(socket.readyState).toBe("opening");
  await vi.advanceTimersByTimeAsync(300_000);
  expect((await failed)[0]).toMatchObject({
    code: "EHOSTUNREACH",
    syscall: "connect",
    message: `connect EHOSTUNREACH ${GUEST}:80`,
    address: GUEST,
    port: 80,
  });
  expect(net.stats().tcpFlows).toBe(0);
  await net.close();
});

it("so is one that is silent in the midst of a connection", async () => {
  const starting = startLan();
  await vi.advanceTimersByTimeAsync(1000);
  await using lan = await starting;
  lan.guest.listen(80, () => ({}));
  const socket = lan.net.createConnection({ host: GUEST, port: 80 });
  await once(socket, "connect");
  const failed = once(socket, "error");
  // From now on it hears nothing.
  lan.cable.onFrame = null;
  socket.write("are you there?");
  await vi.advanceTimersByTimeAsync(1_800_000);
  expect((await failed)[0]).toMatchObject({ code: "ETIMEDOUT", syscall: "read" });
  expect(socket.destroyed).toBe(true);
  expect(lan.net.stats().tcpFlows).toBe(0);
});
