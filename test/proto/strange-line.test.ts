/** The first line of what is no HTTP for most servers, and a request for Java's. */
import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { StrangeLine } from "../../src/proto/strange-line.ts";

interface Said {
  readonly refused: boolean;
  readonly over: boolean;
  /** What the server had before. */
  readonly passed: string;
}

function say(...pieces: string[]): Said {
  let flaws = 0;
  const line = new StrangeLine(({ flaw }) => {
    if (flaw !== null) flaws++;
    return false;
  });
  let passed = "";
  for (const piece of pieces) {
    const taken = line.feed(Buffer.from(piece, "latin1"), 0, piece.length);
    expect(flaws).toBe(taken < 0 ? 1 : 0);
    if (taken < 0) return { refused: true, over: false, passed };
    passed += piece.slice(0, taken);
  }
  return { refused: false, over: line.over, passed };
}

const FIELDS = "Host: evil.test\r\n\r\n";

describe("a request line whose method is none", () => {
  test.each([
    `\xe9GET /x HTTP/1.1\r\n${FIELDS}`,
    `\0 /x HTTP/1.1\r\n${FIELDS}`,
    `\r\n\r\nG\x01T / whatever\r\n${FIELDS}`,
    `G\nT http://evil.test/ HTTP/1.1\r\n${FIELDS}`,
    `\xff\r x://h/ y\nz\r\n${FIELDS}`,
    `\x7f /  \r\n${FIELDS}`,
  ])("is refused before it ends, in one piece and byte by byte: %j", (text) => {
    expect(say(text)).toMatchObject({ refused: true, passed: "" });
    const alone = say(...text);
    expect(alone.refused).toBe(true);
    expect(alone.passed).not.toMatch(/ [^\r]*\r\n$/);
  });
});

describe("what is none passes, and is looked at no more, as soon as that is clear", () => {
  test.each([
    "\xe9GET\r\nGET / HTTP/1.1\r\n",
    "\xe9GET x\x01",
    "\xe9GET *",
    "\xe9GET /x\x01y z\r\n",
    "\xe9GET /x\r\n",
    "\xe9GET a:b c\r\n",
    "\x04\x01 \0",
  ])("%j", (text) => {
    expect(say(text)).toEqual({ refused: false, over: true, passed: text });
    expect(say(...text)).toEqual({ refused: false, over: true, passed: text });
  });
  it("and what never has a blank passes for as long as it lives", () => {
    expect(say("\xe9".repeat(100_000), "\n".repeat(100))).toMatchObject({ refused: false, over: false });
  });
});

it("cuts make no difference", () => {
  const byte = fc.constantFrom("\xe9", "G", " ", "/", ":", "\r", "\n", "x", "\x01");
  fc.assert(
    fc.property(fc.array(byte, { maxLength: 30 }), fc.integer({ min: 0, max: 30 }), (bytes, cut) => {
      const text = bytes.join("");
      expect(say(text.slice(0, cut), text.slice(cut)).refused).toBe(say(text).refused);
    }),
  );
});
