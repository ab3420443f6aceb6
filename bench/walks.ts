/** The whole way through the stack: from a guest's frame to a host socket's write, and from a read to frames. */
import { SeededRandom } from "../test/support/random.ts";
import { type Case, same } from "./case.ts";
import { baseSum, FRAME, Guest, MSS, number, segment } from "./guest.ts";
import { benchRecorder, RECORDED } from "./recorder.ts";

/** Segments of one read of the cable. */
export const BATCH = 64;
export const FIRST = 32;
/** What one read of a host socket gives. */
export const READ = 65_536;
/** A connection at rest would acknowledge in fewer. */
export const MAX_ROUNDS = 64;

/** Idle connections beside the one that is measured: its cost is to be the same. */
const IDLE = [0, 999, 9_999];

function beside(idle: number): string {
  return idle === 0 ? "" : `, beside ${idle.toLocaleString("en")} idle connections`;
}

export function walkCases(): Case[] {
  return [
    preparation(),
    ...IDLE.flatMap((idle) => [guestToHost(beside(idle), new Guest(idle)), hostToGuest(beside(idle), new Guest(idle))]),
    ...RECORDED.flatMap((how) => {
      const guest = (): Guest => new Guest(0, null, benchRecorder(how));
      return [guestToHost(`, recorded, ${how}`, guest()), hostToGuest(`, recorded, ${how}`, guest())];
    }),
  ];
}

/** The bytes of a batch, and how they get their numbers: the stack moves payload in the slab, so each needs new ones. */
export function batch(): { payload: Uint8Array; write: (into: Uint8Array, seq: number, ack: number) => void } {
  const payload = randomBytes(BATCH * MSS);
  const image = new Uint8Array(BATCH * FRAME);
  const bases: number[] = [];
  for (let k = 0; k < BATCH; k++) {
    const frame = segment({ flags: "ACK", seq: 0, ack: 0, window: 65_535 }, payload.subarray(k * MSS, (k + 1) * MSS));
    image.set(frame, k * FRAME);
    bases.push(baseSum(frame));
  }
  return {
    payload,
    write(into, seq, ack) {
      into.set(image);
      for (let k = 0; k < BATCH; k++) number(into, k * FRAME, bases[k]!, (seq + k * MSS) | 0, ack);
    },
  };
}

function guestToHost(what: string, guest: Guest): Case {
  const { payload, write } = batch();
  const { receiver, link, slab } = guest;
  const send = (segments: number): void => {
    write(slab.bytes, guest.seq, guest.ack);
    for (let k = 0; k < segments; k++) receiver.receive(link, slab, k * FRAME, FRAME);
    receiver.batchEnd(link);
    guest.seq = (guest.seq + segments * MSS) | 0;
    if (guest.acked !== guest.seq) throw new Error("a batch was not acknowledged");
    guest.clock.advance(1);
  };
  // A SYN-ACK's window is not scaled (RFC 7323 section 2.2): the first batch stays within 64 KiB.
  send(FIRST);
  guest.onWrite = comparing(payload);
  send(BATCH);
  guest.onWrite = null;
  return {
    suite: "walk",
    name: `guest to host, ${BATCH} segments of ${MSS} bytes to a read, preparation included${what}`,
    per: BATCH,
    bytes: MSS,
    call: () => send(BATCH),
    check(calls) {
      same("bytes written to the host", guest.bytesUp, (FIRST + (calls + 1) * BATCH) * MSS);
      same("acknowledgements", guest.frames, calls + 2);
      guest.checkDrops();
    },
  };
}

function preparation(): Case {
  const { write } = batch();
  const into = new Uint8Array(BATCH * FRAME);
  let seq = 1;
  let seen = 0;
  return {
    suite: "walk",
    name: "guest to host, the preparation alone",
    per: BATCH,
    bytes: MSS,
    call() {
      write(into, seq, 1);
      seen += into[(BATCH - 1) * FRAME + FRAME - 1]! + 1;
      seq = (seq + BATCH * MSS) | 0;
    },
    check: (calls) => same("batches", seen, calls * (into[into.length - 1]! + 1)),
  };
}

function hostToGuest(what: string, guest: Guest): Case {
  const data = randomBytes(READ);
  const { ends, events } = guest;
  const acknowledge = acknowledging(guest);
  const call = (): void => {
    events.onData(data, 0, READ);
    for (let rounds = 0; ends.length > 0; rounds++) {
      if (rounds === MAX_ROUNDS) throw new Error("acknowledgements do not end");
      guest.clock.advance(1);
      acknowledge();
    }
  };
  // Slow start is over after this; these reads are looked at byte by byte.
  let warm = 0;
  guest.onPayload = comparing(data);
  for (; warm < 16; warm++) call();
  guest.onPayload = null;
  return {
    suite: "walk",
    name: `host to guest, reads of ${READ} bytes, segments of ${MSS}${what}`,
    per: READ / MSS,
    bytes: MSS,
    call,
    check(calls) {
      same("bytes sent to the guest", guest.bytesDown, (calls + warm) * READ);
      guest.checkDrops();
    },
  };
}

/** Acknowledges all that the guest has been sent, in one read: every second segment (RFC 9293 section 3.8.6.3), and the last. */
export function acknowledging(guest: Guest): () => void {
  const { receiver, link, slab, ends } = guest;
  const bare = segment({ flags: "ACK", seq: 0, ack: 0, window: 65_535 });
  const base = baseSum(bare);
  for (let at = 0; at < slab.bytes.length - bare.length; at += bare.length) slab.bytes.set(bare, at);
  return () => {
    const n = ends.length;
    let at = 0;
    for (let k = n % 2 === 0 ? 1 : 0; k < n; k += 2) {
      number(slab.bytes, at, base, guest.seq, ends[k]!);
      at += bare.length;
    }
    ends.length = 0;
    for (let from = 0; from < at; from += bare.length) receiver.receive(link, slab, from, bare.length);
    receiver.batchEnd(link);
  };
}

/** Throws when the bytes that it is given, one piece after another, are not `want` again and again. */
export function comparing(want: Uint8Array): (bytes: Uint8Array, at: number, len: number) => void {
  let seen = 0;
  return (bytes, at, len) => {
    for (let i = 0; i < len; i++) if (bytes[at + i] !== want[seen++ % want.length]) throw new Error("wrong bytes");
  };
}

export function randomBytes(n: number): Uint8Array {
  const random = new SeededRandom(n);
  return Uint8Array.from({ length: n }, () => random.u32() & 255);
}
