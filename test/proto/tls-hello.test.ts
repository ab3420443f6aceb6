import { Duplex } from "node:stream";
import tls from "node:tls";
import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { readTlsHello } from "../../src/proto/tls-hello.ts";
import { clientHello, type HelloSpec } from "../support/client-hello.ts";

function read(bytes: Uint8Array): ReturnType<typeof readTlsHello> {
  return readTlsHello(bytes, 0, bytes.length);
}

function hello(spec: HelloSpec): ReturnType<typeof readTlsHello> {
  return read(clientHello(spec));
}

const NAME = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z]{2,10}){1,4}$/);

describe("RFC 6066 section 3: the server's name", () => {
  it.each(["TLSv1.2", "TLSv1.3"] as const)("is found in what OpenSSL sends as %s", async (version) => {
    const sent = await new Promise<Buffer>((resolve) => {
      const socket = new Duplex({
        read() {},
        write(bytes: Buffer, _encoding, done) {
          resolve(bytes);
          done();
        },
      });
      tls.connect({ socket, servername: "deb.debian.test", maxVersion: version, minVersion: version });
    });
    expect(read(sent)).toMatchObject({ by: "TLS", name: "deb.debian.test", port: null, encrypted: false, flaw: null });
  });
  it("however the hello is cut into records and segments, and not before it is whole", () => {
    const cut = fc.integer({ min: 1, max: 300 });
    fc.assert(
      fc.property(NAME, cut, fc.nat(), (name, recordSize, prefix) => {
        const bytes = clientHello({ names: [name], recordSize });
        expect(read(bytes)).toMatchObject({ name, flaw: null });
        expect(read(bytes.subarray(0, prefix % bytes.length))).toBe("more");
        const early = Uint8Array.from([...bytes, 23, 3, 3, 0, 4, 1, 2, 3, 4]);
        expect(read(early), "early data behind it").toMatchObject({ name });
      }),
    );
  });
  it("has no case, and a dot at its end is none of it", () => {
    expect(hello({ names: ["WWW.Example.ORG."] })).toMatchObject({ name: "www.example.org" });
  });
  it("may be missing", () => {
    expect(hello({})).toMatchObject({ name: null, flaw: null });
  });
  test.each<[string, HelloSpec]>([
    ["two names", { names: ["a.test", "b.test"] }],
    ["an empty name", { names: [""] }],
    ["a name with a NUL", { names: ["a.test\0.b.test"] }],
    ["a name of 300 bytes", { names: ["a".repeat(300)] }],
    [
      "a second extension",
      { names: ["b.test"], extensions: [{ type: 0, data: Uint8Array.from([0, 4, 0, 0, 1, 97]) }] },
    ],
  ])("%s is a flaw", (_, spec) => expect(hello(spec)).toMatchObject({ name: null, flaw: expect.any(String) }));
});

test.each([
  ["encrypted_client_hello", 0xfe0d],
  ["encrypted_server_name", 0xffce],
])("%s is seen beside the name", (_, type) => {
  const extensions = [{ type, data: new Uint8Array(40) }];
  expect(hello({ names: ["public.test"], extensions })).toMatchObject({ name: "public.test", encrypted: true });
});

describe("RFC 8446 section 5.1: what is no hello", () => {
  test.each<[string, number[]]>([
    ["HTTP", [...Buffer.from("GET / HTTP/1.1\r\n")]],
    ["SSH", [...Buffer.from("SSH-2.0-x\r\n")]],
    ["a length of 22 in front of a message", [0, 22, 1, 2]],
    ["bytes with the top bit set", [0x80, 0x2e, 2, 0, 2]],
    ["what has only the look of SSL 2's", [0x81, 0x85, 1, 2, 3, 4, 5, 6, 7, 8, 9]],
    ["UTF-8", [0xc3, 0xa4, 0x0a]],
  ])("%s is other", (_, bytes) => expect(read(Uint8Array.from(bytes))).toBe("other"));
  test.each<[string, number[]]>([
    ["an alert in front", [21, 3, 1, 0, 2, 1, 0]],
    ["an alert of an odd version", [21, 2, 0, 0, 2, 1, 0]],
    ["a change of cipher in front", [20, 3, 1, 0, 1, 1]],
    ["application data in front", [23, 3, 1, 0, 1, 1]],
    ["a heartbeat in front", [24, 3, 1, 0, 1, 1]],
    ["SSL 2's hello", [0x80, 0x1c, 1, 0, 2, 0, 3, 0, 0, 0, 16, 1, 2, 3]],
    ["SSL 2's hello for TLS", [0x80, 0x1c, 1, 3, 1, 0, 3, 0, 0, 0, 16]],
    ["a record of version 0", [22, 0, 0, 0, 1]],
    ["a record of version 15", [22, 15, 255, 0, 1]],
    ["an empty record", [22, 3, 1, 0, 0]],
    ["a record beyond its limit", [22, 3, 1, 0x41, 0]],
    ["a ServerHello", [22, 3, 3, 0, 4, 2, 0, 0, 0]],
    ["an alert in its middle", [22, 3, 1, 0, 1, 1, 21, 3, 1, 0, 2, 1, 0]],
    ["a hello of a megabyte", [22, 3, 1, 0, 4, 1, 16, 0, 0]],
    ["a body without anything", [22, 3, 1, 0, 4, 1, 0, 0, 0]],
  ])("%s is a flaw", (_, bytes) =>
    expect(read(Uint8Array.from(bytes))).toMatchObject({ name: null, flaw: expect.any(String) }),
  );
  it("whatever the bytes are, an answer comes; and a hello with a byte changed says its own name, a flaw, or waits", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        read(bytes);
        read(Uint8Array.from([22, 3, 1, 0, 200, 1, 0, 0, 196, ...bytes]));
      }),
    );
    const bytes = clientHello({ names: ["only.test"] });
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.nat(255), (at, value) => {
        const changed = bytes.slice();
        changed[at] = value;
        const answer = read(changed);
        if (typeof answer === "string" || answer.flaw !== null || answer.name === null) return;
        // In lower case, and without a dot that the change has put at its end.
        const text = Buffer.from(changed).toString("latin1").toLowerCase();
        expect(text).toContain(answer.name.padEnd("only.test".length, "."));
      }),
    );
  });
});

test.each([0, 2, 4, 15, 16, 127, 254, 255])(
  "a record of version %d.x is TLS, since Java reads on, and a flaw",
  (major) => {
    const bytes = Uint8Array.of(22, major, ...clientHello({ names: ["a.test"] }).subarray(2));
    expect(read(bytes)).toMatchObject({ by: "TLS", name: null, flaw: expect.any(String) });
  },
);
