/** What connections hold: an idle one, and one before, during and after a burst. Bytes of heap and buffers after a collection. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { same } from "./case.ts";
import { Guest } from "./guest.ts";
import { acknowledging, MAX_ROUNDS, READ } from "./walks.ts";

const IDLE = 10_000;
/** Just within what one connection's send buffer takes before it pauses its host. */
const BURST = 15;

setFlagsFromString("--expose-gc");
const collect: () => void = runInNewContext("gc");

function held(): number {
  collect();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

/** Bytes that a guest with so many idle connections beside one adds. */
function withIdle(idle: number): number {
  const before = held();
  const guest = new Guest(idle);
  const after = held();
  same("connections", guest.stack.gauges().tcpFlows, idle + 1);
  return after - before;
}

function row(name: string, bytes: number): string {
  return `| memory | ${name} | ${(bytes / 1024).toFixed(1)} |`;
}

/** Rows of a table whose last column is in kB. */
export function memoryRows(): string[] {
  // Code that has run once holds what it will hold.
  withIdle(100);
  const each = (withIdle(IDLE) - withIdle(0)) / IDLE;
  const guest = new Guest();
  const data = new Uint8Array(READ);
  const acknowledge = acknowledging(guest);
  const bytes = (): number => guest.stack.gauges().sendBytes;
  for (let i = 0; i < BURST; i++) guest.events.onData(data, 0, READ);
  const during = bytes();
  for (let rounds = 0; guest.ends.length > 0; rounds++) {
    if (rounds === MAX_ROUNDS) throw new Error("acknowledgements do not end");
    guest.clock.advance(1);
    acknowledge();
  }
  same("bytes sent to the guest", guest.bytesDown, BURST * READ);
  same("bytes held after the burst", bytes(), 0);
  guest.checkDrops();
  return [
    row("an idle connection, without its host's socket", each),
    row(`send buffers with ${BURST} reads of ${READ} bytes not acknowledged`, during),
    row("send buffers when they are", bytes()),
  ];
}
