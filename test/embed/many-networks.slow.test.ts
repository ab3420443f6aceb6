/** Networks come and go: ten thousand of them, used and closed, leave no handle, no timer and no memory behind. */
import { once } from "node:events";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, it } from "vitest";
import { createNetwork } from "../../src/index.ts";
import { arpRequest, isGatewayReply } from "../cli/command.ts";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

const FIRST = 1_000;
const ALL = 10_000;
/** Bytes of heap for each network that would be a leak: one of its tables alone is more. */
const LEAK = 1_000;

async function useOne(): Promise<void> {
  const net = await createNetwork({ onFlow: () => "allow" });
  let answered = false;
  const cable = net.cable((frame) => {
    answered ||= isGatewayReply(frame);
  });
  cable.send(arpRequest());
  expect(answered).toBe(true);
  const server = await net.listenGuest({ host: "10.0.2.100", port: 80 });
  const socket = net.createConnection({ host: "10.0.2.15", port: 80 });
  socket.on("error", () => {});
  socket.setTimeout(60_000);
  const closed = once(socket, "close");
  await net.close();
  // The socket hears of it in the next turn.
  await closed.catch(() => {});
  expect(server.listening).toBe(false);
}

async function heapAfter(): Promise<number> {
  // What closing has left for the next turns; pools let go of what two seconds did without; and V8 gives the memory of
  // buffers back beside the program, after a collection.
  for (let i = 0; i < 8; i++) {
    await new Promise((resolve) => setTimeout(resolve, 500));
    collect();
  }
  return process.memoryUsage().heapUsed + process.memoryUsage().external;
}

it(`${ALL} networks, each with a cable, a server and a connection, leave nothing behind`, async () => {
  for (let i = 0; i < FIRST; i++) await useOne();
  const heap = await heapAfter();
  const resources = process.getActiveResourcesInfo().sort();
  for (let i = FIRST; i < ALL; i++) await useOne();
  expect(((await heapAfter()) - heap) / (ALL - FIRST)).toBeLessThan(LEAK);
  expect(process.getActiveResourcesInfo().sort()).toEqual(resources);
}, 300_000);
