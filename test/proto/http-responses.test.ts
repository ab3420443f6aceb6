/** Whether a server has answered all that it was asked, however its bytes come. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { HttpResponses } from "../../src/proto/http-responses.ts";

const feed = (responses: HttpResponses, text: string, cuts: readonly number[] = []): void => {
  const bytes = Buffer.from(text, "latin1");
  const ends = [...new Set([...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length])].sort((a, b) => a - b);
  let at = 0;
  for (const end of ends) {
    responses.feed(bytes, at, end - at);
    at = end;
  }
};

const answer = fc.oneof(
  fc.string({ maxLength: 20 }).map((body) => {
    const { length } = Buffer.from(body, "latin1");
    return `HTTP/1.1 200 OK\r\nX: ${"y".repeat(300)}\r\ncontent-length:${length}\r\n\r\n${Buffer.from(body, "latin1").toString("latin1")}`;
  }),
  fc.array(fc.integer({ min: 1, max: 20 }), { maxLength: 4 }).map((sizes) => {
    const chunks = sizes.map((size) => `${size.toString(16)}\r\n${"\n".repeat(size)}\r\n`).join("");
    return `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}0\r\n\r\n`;
  }),
  fc.constant("HTTP/1.1 204 No Content\r\n\r\n"),
);

it("is told the same of whole answers in whatever pieces, and is not idle before the last byte", () => {
  fc.assert(
    fc.property(
      fc.array(answer, { minLength: 1, maxLength: 4 }),
      fc.array(fc.nat(), { maxLength: 12 }),
      (all, cuts) => {
        const responses = new HttpResponses();
        for (const _ of all) responses.request("GET");
        const text = all.join("");
        feed(responses, text.slice(0, -1), cuts);
        expect(responses.idle).toBe(false);
        feed(responses, text.slice(-1));
        expect(responses.idle).toBe(true);
      },
    ),
    { numRuns: 200 },
  );
});

it("any bytes at all are taken, and a line without an end holds little", () => {
  fc.assert(
    fc.property(fc.array(fc.string({ maxLength: 400 }), { maxLength: 6 }), (pieces) => {
      const responses = new HttpResponses();
      responses.request("GET");
      for (const piece of pieces) feed(responses, piece);
    }),
    { numRuns: 200 },
  );
  const responses = new HttpResponses();
  responses.request("GET");
  feed(responses, "HTTP/1.1 200 OK\r\nX: ");
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < 1_000; i++) feed(responses, "y".repeat(10_000));
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(16 * 1_048_576);
});

it("more requests than are remembered, and methods that servers read in different ways, are never sure", () => {
  for (const methods of [["head"], ["CONNECT"], new Array<string>(65).fill("GET")]) {
    const responses = new HttpResponses();
    for (const method of methods) responses.request(method);
    for (const _ of methods) feed(responses, "HTTP/1.1 204 No Content\r\n\r\n");
    expect(responses.idle).toBe(false);
  }
});
