import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { readHttpRequest } from "../../src/proto/http-request.ts";

function read(text: string): ReturnType<typeof readHttpRequest> {
  const bytes = Buffer.from(text, "latin1");
  return readHttpRequest(bytes, 0, bytes.length);
}

describe("RFC 9112 section 3.2: whom a request is for", () => {
  test.each<[string, string, number | null]>([
    ["GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", "a.test", null],
    ["GET / HTTP/1.1\r\nhost:a.test:8080 \r\n\r\nbody", "a.test", null],
    [`${"M".repeat(33)} / HTTP/1.1\r\nHost: a.test\r\n\r\n`, "a.test", null],
    [`${"M".repeat(5_000)} / HTTP/1.1\r\nHost: a.test\r\n\r\n`, "a.test", null],
    ["\r\n\r\nPOST /x HTTP/1.0\r\nX: y\r\nHOST: \tA.Test.\r\nHostile: b.test\r\n\r\n", "a.test", null],
    ["OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n", "a.test", null],
    ["GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", "[2001:db8::1]", null],
    ["GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n", "a.test", 80],
    ["GET https://a.test HTTP/1.0\r\n\r\n", "a.test", 443],
    ["CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n", "a.test", 443],
    ["CONNECT a.test:22 HTTP/1.1\r\n\r\n", "a.test", 22],
  ])("%j", (text, name, port) =>
    expect(read(text)).toMatchObject({ by: "HTTP", name, port, encrypted: false, flaw: null }),
  );
  test.each(["GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost:\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"])(
    "nobody's name is in %j",
    (text) => expect(read(text)).toMatchObject({ name: null, flaw: null }),
  );
  test.each([
    "GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n",
    "GET / HTTP/1.1\r\nHost : b.test\r\n\r\n",
    "GET / HTTP/1.1\r\n Host: b.test\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.test\r\n b.test\r\n\r\n",
    "GET / HTTP/1.1\r\nX: y\rHost: b.test\r\nHost: a.test\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.test, b.test\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.test@b.test\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.test:99999\r\n\r\n",
    "GET http://b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "GET http://a.test@b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "GET b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "CONNECT b.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "GET\t/\tHTTP/1.1\r\nHost: a.test\r\n\r\n",
    "GET  / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "GET /a b HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "GET / http/1.1\r\nHost: a.test\r\n\r\n",
    "GET / HTTP/1.1 \r\nHost: a.test\r\n\r\n",
    " GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "\tGET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "\r\n \r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "\v\x1cGET\x85/\xa0HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "(GET) / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    '{"x":1} / HTTP/1.1\r\nHost: a.test\r\n\r\n',
    "GET /\0 HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "get /\0 HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "GET / HTTP/1.1 and more\r\nHost: a.test\r\n\r\n",
    "GET / HTTP/0.9\r\nHost: a.test\r\n\r\n",
    "GET / HTTP/2.0\r\nHost: a.test\r\n\r\n",
    "PRI * HTTP/2.0\r\nHost: a.test\r\n\r\n",
    "GET /\r\nHost: a.test\r\n\r\n",
    "get /\r\n",
    // Found by the fuzzer: Node's parser reads these as HTTP/0.9.
    "PRI *\n\r\n",
    "CONNECT b.test\r\n\r\n",
    "CONNECT \n\r\n",
    "CONNECT  \r\n\r\n",
    "\r\nCONNECT \r\n\r\n",
    "POST /x\r\nHost: a.test\r\n\r\n",
    "PUT http://b.test/x\r\n",
    "GET / HTTP/1.1\nHost: a.test\n\n",
    "GET / HTTP/1.1\nHost: a.test\r\nX: y\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.test\nHost: b.test\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.test\r\nX: \0\r\n\r\n",
    "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\nHost: b.test\r\n\r\n",
    "\r\n\r\n\0\r\nQUIT\n!\x11\0\x0c",
  ])("what servers may read otherwise is a flaw: %j", (text) =>
    expect(read(text)).toMatchObject({ name: null, flaw: expect.any(String) }),
  );
  test.each([
    "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
    "EHLO me.test\r\n",
    "*1\r\n$4\r\nPING\r\n",
    "\x16\x03\x01\x02",
    "\x00\x00\x00\x10 HTTP/1.1",
    // Binary protocols whose client speaks first and waits: nothing may hold them up.
    "\0\0\0\x08\x04\xd2\x16/",
    "AMQP\0\0\x09\x01",
    "\x04\x01Z",
    "\x13BitTorrent protocol",
    "<?xml version='1.0'?><stream:stream to='a.test'>",
    '{"jsonrpc": "2.0"',
    "0032git-upload-pack /project.git\0host=a.test\0",
    "RFB 003.008\n",
    "/selector\r\n",
    "NICK me\r\nUSER me 0 * :Me\r\n",
    // "other" before its line has ended, and so "other" after.
    "|\x85abc\x1b HTTP/1.1\r\n",
    // STOMP's first frame.
    "CONNECT\naccept-version:1.2\nhost:a.test\n\n\0",
    "CONNECT\r\naccept-version:1.2\r\nhost:a.test\r\n\r\n\0",
  ])("what is no request is other: %j", (text) => expect(read(text)).toBe("other"));
});

describe("RFC 9112 section 6: how long a body is", () => {
  const head = (...fields: string[]): string => ["POST / HTTP/1.1", "Host: a.test", ...fields, "", ""].join("\r\n");
  test.each<[string, number | null]>([
    [head(), 0],
    [head("Content-Length: 12"), 12],
    [head("content-length:0"), 0],
    [head("Transfer-Encoding: Chunked"), null],
    [head().replace("POST", "GET"), 0],
    [head("Content-Length: 0").replace("POST", "GET"), 0],
  ])("%j", (text, length) => expect(read(`${text}whatever`)).toMatchObject({ size: text.length, length, flaw: null }));
  test.each([
    head("Content-Length: 1", "Content-Length: 1"),
    head("Content-Length: 1, 1"),
    head("Content-Length: +1"),
    head("Content-Length: 0x1"),
    head("Content-Length: 1 1"),
    head("Content-Length:"),
    head("Content-Length: 9999999999999999"),
    head("Content-Length: 1", "Transfer-Encoding: chunked"),
    head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    head("Transfer-Encoding: gzip, chunked"),
    head("Transfer-Encoding: xchunked"),
    head("Transfer-Encoding: \vchunked"),
    head("Transfer-Encoding : chunked"),
    head("Transfer-Encoding: chunked").replace("1.1", "1.0"),
    head("Content-Length: 1").replace("POST", "GET"),
    head("Transfer-Encoding: chunked").replace("POST", "HEAD"),
    head("Content-Length: 5").replace("POST /", "CONNECT a.test:80"),
    head("Content-Length: 5").replace("POST", "OPTIONS"),
  ])("what servers may count otherwise is a flaw: %j", (text) =>
    expect(read(text)).toMatchObject({ flaw: expect.any(String) }),
  );
});

it("nothing is said before the fields are whole, and the same afterwards, wherever the segments are cut", () => {
  const name = fc.stringMatching(/^[a-z]{1,20}\.(test|org)$/);
  const fields = fc.array(fc.stringMatching(/^X-[A-Za-z]{1,8}: [ -~]{0,30}$/), { maxLength: 6 });
  fc.assert(
    fc.property(name, fields, fc.nat(), (host, others, cut) => {
      const head = ["GET / HTTP/1.1", ...others, `Host: ${host}`, ...others, "", ""].join("\r\n");
      expect(read(head.slice(0, cut % head.length))).toBe("more");
      expect(read(`${head}whatever follows`)).toMatchObject({ name: host, flaw: null });
    }),
  );
});

it("whatever the bytes are, an answer comes", () => {
  const odd = fc.constantFrom(
    "GET ",
    "http://",
    "HTTP/1.1",
    "\r\n",
    "Host:",
    " ",
    "\t",
    ":",
    "a.test",
    "\0",
    "\xff",
    "[",
  );
  fc.assert(
    fc.property(fc.array(odd, { maxLength: 30 }), (parts) => {
      const answer = read(parts.join(""));
      if (typeof answer !== "string" && answer.name !== null) expect(answer.name).toMatch(/^[a-z0-9._[\]:-]+$/);
    }),
  );
});
