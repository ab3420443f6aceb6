import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { readHttpHost } from "../../src/proto/http-host.ts";

function read(text: string): ReturnType<typeof readHttpHost> {
  const bytes = Buffer.from(text, "latin1");
  return readHttpHost(bytes, 0, bytes.length);
}

describe("RFC 9112 section 3.2: whom a request is for", () => {
  test.each<[string, string, number | null]>([
    ["GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", "a.test", null],
    ["GET / HTTP/1.1\nhost:a.test:8080 \n\nbody", "a.test", null],
    ["\r\n\r\nPOST /x HTTP/1.0\r\nX: y\r\nHOST: \tA.Test.\r\nHostile: b.test\r\n\r\n", "a.test", null],
    ["OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n", "a.test", null],
    ["GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", "[2001:db8::1]", null],
    ["GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n", "a.test", 80],
    ["GET https://a.test HTTP/1.0\r\n\r\n", "a.test", 443],
    ["CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n", "a.test", 443],
    ["CONNECT a.test:22 HTTP/1.1\r\n\r\n", "a.test", 22],
  ])("%j", (text, name, port) => expect(read(text)).toEqual({ by: "HTTP", name, port, encrypted: false, flaw: null }));
  test.each([
    "GET / HTTP/1.0\r\n\r\n",
    "GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "GET /\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
  ])("nobody's name is in %j", (text) => expect(read(text)).toMatchObject({ name: null, flaw: null }));
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
  ])("what servers may read otherwise is a flaw: %j", (text) =>
    expect(read(text)).toMatchObject({ name: null, flaw: expect.any(String) }),
  );
  test.each([
    "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
    "EHLO me.test\r\n",
    "*1\r\n$4\r\nPING\r\n",
    "\x16\x03\x01\x02",
    "\x00\x00\x00\x10 HTTP/1.1",
    " GET / HTTP/1.1\r\n",
  ])("what is no request is other: %j", (text) => expect(read(text)).toBe("other"));
});

it("nothing is said before the fields are whole, and the same afterwards, wherever the segments are cut", () => {
  const name = fc.stringMatching(/^[a-z]{1,20}\.(test|org)$/);
  const fields = fc.array(fc.stringMatching(/^X-[A-Za-z]{1,8}: [ -~]{0,30}$/), { maxLength: 6 });
  fc.assert(
    fc.property(name, fields, fc.nat(), fc.constantFrom("\r\n", "\n"), (host, others, cut, eol) => {
      const head = ["GET / HTTP/1.1", ...others, `Host: ${host}`, ...others, "", ""].join(eol);
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
