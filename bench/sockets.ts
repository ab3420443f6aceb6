/** The same walks with a library's socket (`connect`, `listenGuest`) as the far end, its Duplex and its turns included. */
import { GuestSocket } from "../src/embed/guest-socket.ts";
import { type Case, same } from "./case.ts";
import { FRAME, Guest, MSS } from "./guest.ts";
import { acknowledging, BATCH, batch, comparing, FIRST, MAX_ROUNDS, READ, randomBytes } from "./walks.ts";

export function socketCases(): Case[] {
  return [fromGuest(), toGuest()];
}

/** A guest whose far end is a socket of ours. */
function dialled(): { guest: Guest; socket: GuestSocket } {
  const socket = new GuestSocket({ remote: { host: "10.0.2.15", port: 1_000 }, local: null, allowHalfOpen: true });
  return { guest: new Guest(0, (events) => socket.plugIn(events)), socket };
}

function fromGuest(): Case {
  const { guest, socket } = dialled();
  const { payload, write } = batch();
  const { stack, link, slab } = guest;
  let seen = 0;
  let look: ((bytes: Uint8Array, at: number, len: number) => void) | null = comparing(payload);
  socket.on("data", (bytes: Buffer) => {
    seen += bytes.length;
    look?.(bytes, 0, bytes.length);
  });
  const send = async (segments: number): Promise<void> => {
    write(slab.bytes, guest.seq, guest.ack);
    for (let k = 0; k < segments; k++) stack.receive(link, slab, k * FRAME, FRAME);
    stack.batchEnd(link);
    guest.seq = (guest.seq + segments * MSS) | 0;
    if (guest.acked !== guest.seq) throw new Error("a batch was not acknowledged");
    guest.clock.advance(1);
    // The socket's turn is a microtask of its own.
    await null;
  };
  let warm: Promise<void> | null = send(FIRST).then(async () => {
    look = null;
  });
  return {
    suite: "socket",
    name: `guest to listenGuest, ${BATCH} segments of ${MSS} bytes to a read, preparation included`,
    per: BATCH,
    bytes: MSS,
    deferred: true,
    async call() {
      if (warm !== null) await warm;
      warm = null;
      await send(BATCH);
    },
    check(calls) {
      same("bytes read from the socket", seen, (FIRST + calls * BATCH) * MSS);
      guest.checkDrops();
    },
  };
}

function toGuest(): Case {
  const { guest, socket } = dialled();
  const data = randomBytes(READ);
  const acknowledge = acknowledging(guest);
  return {
    suite: "socket",
    name: `connect to guest, writes of ${READ} bytes, segments of ${MSS}`,
    per: READ / MSS,
    bytes: MSS,
    deferred: true,
    async call() {
      let written = false;
      socket.write(data, () => {
        written = true;
      });
      for (let rounds = 0; !written || guest.ends.length > 0; rounds++) {
        if (rounds === MAX_ROUNDS) throw new Error("acknowledgements do not end");
        guest.clock.advance(1);
        acknowledge();
        // A write's callback comes by nextTick.
        await new Promise<void>((resolve) => process.nextTick(resolve));
      }
    },
    check(calls) {
      same("bytes sent to the guest", guest.bytesDown, calls * READ);
      guest.checkDrops();
    },
  };
}
