/** What may follow a TLS hello: which records pass, which hellos are looked at, and when the looking ends. */
import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { HttpRequests } from "../../src/proto/http-requests.ts";
import { TlsHellos } from "../../src/proto/tls-hellos.ts";
import { clientHello } from "../support/client-hello.ts";

const hello = (name: string, early = false, recordSize?: number): Uint8Array =>
  clientHello({
    names: [name],
    ...(early ? { extensions: [{ type: 42, data: new Uint8Array(0) }] } : {}),
    ...(recordSize === undefined ? {} : { recordSize }),
  });
const record = (type: number, ...bytes: number[]): Uint8Array =>
  Uint8Array.of(type, 3, 3, bytes.length >> 8, bytes.length & 255, ...bytes);
const CCS = record(20, 1);
const ALERT = record(21, 1, 0);
const DATA = record(23, ...Array(300).fill(7));
const FINISHED = record(22, 20, 0, 0, 0);
const whole = (...pieces: Uint8Array[]): Uint8Array => Uint8Array.from(pieces.flatMap((piece) => [...piece]));

/** What becomes of a client's bytes in pieces of this size, where all names but evil.test may be asked for. */
function say(bytes: Uint8Array, step = bytes.length, Reader: typeof TlsHellos | typeof HttpRequests = TlsHellos) {
  const names: (string | null)[] = [];
  const hellos = new Reader(({ name, flaw }) => {
    names.push(flaw ?? name);
    return flaw === null && name !== "evil.test";
  });
  let passed = 0;
  for (let end = 0; end < bytes.length; ) {
    end = Math.min(bytes.length, end + step);
    const more = hellos.feed(bytes, passed, end - passed);
    if (more < 0) return { passed, names, refused: true, over: false };
    passed += more;
  }
  return { passed, names, refused: false, over: hellos.over };
}

describe("a second hello is judged as the first one is", () => {
  const first = hello("a.test");
  test.each<[string, Uint8Array, Uint8Array]>([
    ["at once", first, whole()],
    ["behind change_cipher_spec", first, CCS],
    ["behind alerts", first, whole(ALERT, CCS, ALERT)],
    ["behind early data", hello("a.test", true), whole(CCS, DATA, DATA)],
    ["behind one that was allowed", first, whole(CCS, hello("b.test"))],
  ])("%s", (_, front, between) => {
    const good = whole(front, between);
    const evil = whole(good, hello("evil.test"));
    for (const step of [1, 3, 7, 1000]) {
      expect(say(evil, step), `in pieces of ${step}`).toMatchObject({ refused: true });
      expect(say(whole(good, hello("evil.test", false, 9)), step)).toMatchObject({ refused: true });
      const fine = whole(good, hello("c.test"), CCS);
      expect(say(fine, step)).toMatchObject({ passed: fine.length, refused: false, over: false });
    }
  });
  it("and nothing of it passes, whatever has passed before", () => {
    const good = whole(first, CCS);
    for (const step of [1, 3, 7]) {
      const { passed } = say(whole(good, hello("evil.test")), step);
      expect(passed).toBeLessThanOrEqual(good.length);
      expect(passed).toBeGreaterThan(good.length - step);
    }
  });
  it("one without a name is shown as that", () => {
    expect(say(whole(first, clientHello({})), first.length).names).toEqual(["a.test", null]);
  });
  it("also within what a proxy was asked for", () => {
    const connect = Buffer.from("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n");
    const good = whole(connect, first, CCS);
    for (const step of [1, 1000])
      expect(say(whole(good, hello("evil.test")), step, HttpRequests)).toMatchObject({ refused: true });
    expect(say(whole(good, DATA, hello("evil.test")), 1000, HttpRequests)).toMatchObject({
      refused: false,
      over: true,
    });
  });
});

it("one in a thousand pieces is not read a thousand times", () => {
  const long = clientHello({ names: ["b.test"], extensions: [{ type: 21, data: new Uint8Array(2000) }] });
  const bytes = whole(hello("a.test"), long);
  expect(say(bytes, 1)).toMatchObject({ refused: true, names: ["a.test", "a hello in too many pieces"] });
  expect(say(bytes, 100)).toMatchObject({ refused: false });
});

describe("the looking ends", () => {
  test.each<[string, Uint8Array]>([
    ["with data", DATA],
    ["with another message of the handshake", FINISHED],
    ["with what is no record", Uint8Array.of(0, 1, 2)],
  ])("%s", (_, end) => {
    const bytes = whole(hello("a.test"), CCS, end, hello("evil.test"));
    for (const step of [1, 6, 1000])
      expect(say(bytes, step)).toMatchObject({ passed: bytes.length, refused: false, over: true, names: ["a.test"] });
  });
  it("not with data where the hello has offered some", () => {
    const bytes = whole(hello("a.test", true), ...Array<Uint8Array>(50).fill(DATA));
    expect(say(bytes, 100)).toMatchObject({ passed: bytes.length, over: false });
  });
});

test.each<[string, Uint8Array]>([
  ["a record of no bytes", whole(hello("a.test"), record(22), hello("evil.test"))],
  ["a record of another version", whole(hello("a.test"), Uint8Array.of(22, 2, 0, 0, 1, 1))],
  ["a second hello in the first one's record", within(hello("a.test"), hello("evil.test"))],
])("%s is refused", (_, bytes) => expect(say(bytes)).toMatchObject({ refused: true }));

/** Two hellos in one record. */
function within(one: Uint8Array, two: Uint8Array): Uint8Array {
  return record(22, ...one.subarray(5), ...two.subarray(5));
}

it("any bytes in any pieces: as many pass as at once", () => {
  const piece = fc.constantFrom(
    hello("a.test"),
    hello("a.test", true, 11),
    hello("evil.test"),
    CCS,
    ALERT,
    DATA,
    FINISHED,
  );
  fc.assert(
    fc.property(
      fc.array(fc.oneof(piece, fc.uint8Array({ maxLength: 9 })), { maxLength: 6 }),
      fc.integer({ min: 1, max: 40 }),
      (pieces, step) => {
        const bytes = whole(hello("a.test"), ...pieces);
        const once = say(bytes);
        const cut = say(bytes, step);
        expect(cut.names).toEqual(once.names);
        expect(cut.refused).toBe(once.refused);
        if (!once.refused) expect(cut.passed).toBe(once.passed);
      },
    ),
  );
});
