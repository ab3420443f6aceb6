/** A connection's requests, one by one: which go to the server, which are held, and what ends the connection. */
import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { HttpRequests } from "../../src/proto/http-requests.ts";
import { clientHello } from "../support/client-hello.ts";

const GET = (host: string, path = "/"): string => `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
const POST = (host: string, body: string): string =>
  `POST / HTTP/1.1\r\nHost: ${host}\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
const CHUNKED = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";

interface Heard {
  /** What the server has. */
  readonly server: string;
  /** The names that were looked at, or flaws. */
  readonly names: (string | null)[];
  readonly refused: boolean;
  readonly over: boolean;
}

/** What becomes of a guest's bytes in these pieces, where all names but evil.test may be asked for. */
function say(...pieces: (string | Uint8Array)[]): Heard {
  const names: (string | null)[] = [];
  const requests = new HttpRequests(({ name, flaw }) => {
    names.push(flaw ?? name);
    return flaw === null && name !== "evil.test";
  });
  let held = Buffer.alloc(0);
  let server = "";
  for (const piece of pieces) {
    held = Buffer.concat([held, typeof piece === "string" ? Buffer.from(piece, "latin1") : piece]);
    const passed = requests.feed(held, 0, held.length);
    if (passed < 0) return { server, names, refused: true, over: false };
    server += held.subarray(0, passed).toString("latin1");
    held = held.subarray(passed);
  }
  return { server, names, refused: false, over: requests.over };
}

describe("each request is looked at", () => {
  it("one behind the other, whatever is in the bodies between", () => {
    const all = GET("a.test") + POST("b.test", GET("evil.test")) + GET("c.test");
    expect(say(all)).toEqual({ server: all, names: ["a.test", "b.test", "c.test"], refused: false, over: false });
  });
  it("a later one that is not allowed does not reach the server, nor does what is behind it", () => {
    expect(say(GET("a.test"), GET("evil.test") + GET("a.test"))).toMatchObject({
      server: GET("a.test"),
      refused: true,
    });
    expect(say(GET("a.test") + GET("evil.test"))).toMatchObject({ server: "", names: ["a.test", "evil.test"] });
  });
  it("behind a body in chunks with trailers", () => {
    const body = `${CHUNKED}5\r\nhello\r\n1F\r\n${"x".repeat(31)}\r\n0\r\nX-Sum: 1\r\n\r\n`;
    expect(say(body + GET("b.test"))).toMatchObject({ server: body + GET("b.test"), refused: false });
    expect(say(body + GET("evil.test"))).toMatchObject({ refused: true, names: ["a.test", "evil.test"] });
  });
  it("and is held until it is whole", () => {
    const next = GET("b.test");
    expect(say(GET("a.test"), next.slice(0, 30))).toMatchObject({ server: GET("a.test"), refused: false });
    expect(say(GET("a.test"), next.slice(0, 30), next.slice(30))).toMatchObject({ server: GET("a.test") + next });
  });
  it("empty lines between them pass", () => {
    const all = `${GET("a.test")}\r\n\r\n${GET("b.test")}`;
    expect(say(all)).toMatchObject({ server: all, names: ["a.test", "b.test"] });
  });
});

it("wherever the bytes are cut, the same requests reach the server", () => {
  const request = fc.oneof(
    fc.stringMatching(/^[a-z]{1,9}\.test$/).map((host) => GET(host)),
    fc.string({ maxLength: 40 }).map((body) => POST("a.test", Buffer.from(body).toString("latin1"))),
    fc
      .array(fc.stringMatching(/^[ -~\r\n]{1,40}$/), { maxLength: 4 })
      .map(
        (chunks) => `${CHUNKED}${chunks.map((each) => `${each.length.toString(16)}\r\n${each}\r\n`).join("")}0\r\n\r\n`,
      ),
  );
  const good = fc.tuple(fc.array(request, { minLength: 1, maxLength: 5 }), fc.array(fc.nat(400), { maxLength: 30 }));
  fc.assert(
    fc.property(good, fc.boolean(), ([requests, cuts], evil) => {
      const all = requests.join("") + (evil ? GET("evil.test") + GET("a.test") : "");
      const at = [...new Set(cuts.map((cut) => cut % all.length)), 0, all.length].sort((a, b) => a - b);
      const said = say(...at.slice(1).map((end, i) => all.slice(at[i], end)));
      expect(said.refused).toBe(evil);
      expect(said.server).not.toContain("evil.test");
      if (!evil) expect(said.server).toBe(all);
    }),
  );
});

describe("what a server may read otherwise ends the connection", () => {
  test.each([
    ["no request", `${GET("a.test")}hello\r\n\r\n`],
    ["a line without CR", `${GET("a.test")}GET / HTTP/1.1\nHost: a.test\n\n`],
    ["a size that is none", `${CHUNKED}g\r\n`],
    ["a size with a sign", `${CHUNKED}+5\r\nhello\r\n`],
    ["a size with a blank", `${CHUNKED}5 \r\nhello\r\n`],
    ["a size without CR", `${CHUNKED}5\nhello\r\n`],
    ["no size", `${CHUNKED}\r\nhello`],
    ["a size beyond measure", `${CHUNKED}${"0".repeat(20)}5\r\n`],
    // In 32 bits these are 0, 3 and less than nothing.
    ["a size of 2^32", `${CHUNKED}100000000\r\n\r\n`],
    ["a size of 2^32 and 3", `${CHUNKED}100000003\r\n`],
    ["a size of 2^31", `${CHUNKED}80000000\r\n`],
    ["a chunk extension", `${CHUNKED}5;x=y\r\nhello\r\n`],
    ["a chunk that does not end", `${CHUNKED}5\r\nhelloGET / HTTP/1.1\r\n`],
    ["a chunk that ends without CR", `${CHUNKED}5\r\nhello\n0\r\n\r\n`],
    ["a Host in the trailer", `${CHUNKED}0\r\nHost: evil.test\r\n\r\n`],
    ["a length in the trailer", `${CHUNKED}0\r\nContent-Length: 5\r\n\r\n`],
    ["a trailer that is none", `${CHUNKED}0\r\n x\r\n\r\n`],
  ])("%s", (_, text) => {
    expect(say(text)).toMatchObject({ refused: true });
    expect(say(...text)).toMatchObject({ refused: true });
  });
});

describe("CONNECT and Upgrade", () => {
  const UPGRADE = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
  const CONNECT = "CONNECT a.test:443 HTTP/1.1\r\n\r\n";
  const FRAME = Uint8Array.of(0x81, 0x85, 1, 2, 3, 4, 32, 6, 7, 8, 9);
  it("end the looking when another protocol follows", () => {
    expect(say(UPGRADE, FRAME, GET("evil.test"))).toMatchObject({ refused: false, over: true });
    expect(say(CONNECT, "SSH-2.0-x\r\n", GET("evil.test"))).toMatchObject({ refused: false, over: true });
    expect(say(CONNECT, clientHello({ names: ["a.test"] }), "whatever")).toMatchObject({ over: true });
  });
  it("do not end it by themselves: a server that says no goes on to the next request", () => {
    for (const first of [UPGRADE, CONNECT]) {
      expect(say(first + GET("b.test"), GET("evil.test"))).toMatchObject({
        server: first + GET("b.test"),
        refused: true,
      });
      expect(say(first, ` ${GET("evil.test")}`)).toMatchObject({ server: first, refused: true });
      expect(say(first, clientHello({ names: ["evil.test"] }))).toMatchObject({ server: first, refused: true });
    }
  });
  it("an Upgrade with a body ends it behind the body only", () => {
    const body = UPGRADE.replace("GET", "POST").replace("\r\n\r\n", "\r\nContent-Length: 3\r\n\r\n");
    expect(say(`${body}\x81\x01\x02`, GET("evil.test"))).toMatchObject({ refused: true });
    expect(say(`${body}abc`, FRAME, GET("evil.test"))).toMatchObject({ over: true });
  });
});

it("a head in ten thousand pieces is searched once", () => {
  const looked: number[] = [];
  const requests = new HttpRequests(() => true);
  const bytes = Buffer.from(`GET / HTTP/1.1\r\nHost: a.test\r\nX: ${"y".repeat(10_000)}\r\n\r\n`);
  const counted = new Proxy(bytes, {
    get(target, key) {
      const value = Reflect.get(target, key, target) as unknown;
      if (key !== "indexOf") return value;
      return (what: number, from: number) => {
        looked.push(from);
        return target.indexOf(what, from);
      };
    },
  });
  for (let end = 1; end < bytes.length; end += 10) requests.feed(counted as unknown as Uint8Array, 0, end);
  expect(looked.slice(10).every((from, i) => i === 0 || from >= looked[i + 9]!)).toBe(true);
});
