/** By which names a guest knows addresses, and until when. */
import { describe, expect, it } from "vitest";
import { DEFAULT_LIMITS } from "../../src/core/limits.ts";
import { Names } from "../../src/proto/names.ts";
import { DNS_A, dnsCheck } from "../../src/wire/dns.ts";
import { answerWith, type DnsRecord, query } from "../support/dns.ts";

const A = 1;
const B = 2;
const S = 1000;

/** An answer about `name` with these records. */
function answer(name: string, ...records: DnsRecord[]): Uint8Array {
  const message = answerWith(query(name, DNS_A), ...records);
  expect(dnsCheck(message, 0, message.length)).toBe(true);
  return message;
}

describe("a name is known", () => {
  it("to the guest that has asked, not to another", () => {
    const names = new Names();
    names.answered(A, answer("www.test", ["www.test", 300, [192, 0, 2, 1]]), 0);
    expect(names.of(A, "192.0.2.1", 1)).toEqual(["www.test"]);
    expect(names.of(B, "192.0.2.1", 1)).toEqual([]);
  });
  it("for the record's TTL, a minute at the least", () => {
    const names = new Names();
    names.answered(A, answer("www.test", ["www.test", 300, [192, 0, 2, 1]], ["www.test", 1, [192, 0, 2, 2]]), 0);
    expect(names.of(A, "192.0.2.1", 299 * S)).toEqual(["www.test"]);
    expect(names.of(A, "192.0.2.1", 300 * S)).toEqual([]);
    expect(names.of(A, "192.0.2.2", 59 * S)).toEqual(["www.test"]);
    expect(names.of(A, "192.0.2.2", 60 * S)).toEqual([]);
  });
  it("within the bounds that somebody has set", () => {
    const names = new Names(DEFAULT_LIMITS, () => {}, { least: 2, most: 10 });
    names.answered(A, answer("www.test", ["www.test", 300, [192, 0, 2, 1]], ["www.test", 0, [192, 0, 2, 2]]), 0);
    expect([9, 10].map((s) => names.of(A, "192.0.2.1", s * S).length)).toEqual([1, 0]);
    expect([1, 2].map((s) => names.of(A, "192.0.2.2", s * S).length)).toEqual([1, 0]);
  });
  it("through aliases, for no longer than each of them is good", () => {
    const names = new Names();
    const chain = answer(
      "www.test",
      ["www.test", 120, "cdn.other"],
      ["cdn.other", 600, "edge.other"],
      ["edge.other", 600, [192, 0, 2, 1]],
    );
    names.answered(A, chain, 0);
    expect(names.of(A, "192.0.2.1", 119 * S)).toEqual(["www.test"]);
    expect(names.of(A, "192.0.2.1", 120 * S)).toEqual([]);
  });
  it("when a resolver asks for an alias's target by itself", () => {
    const names = new Names();
    names.answered(A, answer("www.test", ["www.test", 300, "cdn.other"]), 0);
    expect(names.aliases(A, "cdn.other", 1)).toEqual(["www.test"]);
    expect(names.aliases(B, "cdn.other", 1)).toEqual([]);
    names.answered(A, answer("cdn.other", ["cdn.other", 300, [192, 0, 2, 1]]), 1);
    expect(names.of(A, "192.0.2.1", 2)).toEqual(["cdn.other", "www.test"]);
  });
  it("not by records that nobody asked for", () => {
    const names = new Names();
    names.answered(A, answer("www.test", ["bank.test", 300, [192, 0, 2, 1]], ["www.test", 300, [192, 0, 2, 2]]), 0);
    expect(names.of(A, "192.0.2.1", 1)).toEqual([]);
  });
  it("and a loop of aliases ends", () => {
    const names = new Names();
    names.answered(A, answer("a.test", ["a.test", 300, "b.test"], ["b.test", 300, "a.test"]), 0);
    expect(names.aliases(A, "a.test", 1)).toEqual([]);
  });
  it("while one guest's flood of names touches no other guest's", () => {
    const names = new Names();
    names.answered(B, answer("www.test", ["www.test", 86_400, [192, 0, 2, 1]]), 0);
    for (let i = 0; i < 5000; i++) {
      names.answered(A, answer("x.test", ["x.test", 300, [198, 51, i >> 8, i & 255]]), 0);
    }
    expect(names.of(A, "198.51.0.0", 1)).toEqual([]);
    expect(names.of(B, "192.0.2.1", 1)).toEqual(["www.test"]);
  });
});

describe("what is kept is bounded, and the oldest goes", () => {
  const ip = (i: number): number[] => [198, 18, i >> 8, i & 255];
  const text = (i: number): string => ip(i).join(".");

  it("4096 addresses of a guest", () => {
    const names = new Names();
    for (let i = 0; i < 5_000; i++) names.answered(A, answer("a.test", ["a.test", 300, ip(i)]), 0);
    const known = Array.from({ length: 5_000 }, (_, i) => names.of(A, text(i), 1).length);
    expect(known.indexOf(1)).toBe(5_000 - 4_096);
    expect(known.reduce((sum, n) => sum + n)).toBe(4_096);
  });

  it("16 names of an address", () => {
    const names = new Names();
    for (let i = 0; i < 40; i++) names.answered(A, answer(`n${i}.test`, [`n${i}.test`, 300, ip(0)]), 0);
    expect(names.of(A, text(0), 1)).toEqual(Array.from({ length: 16 }, (_, i) => `n${39 - i}.test`));
  });

  it("names of all guests, and whoever has most loses them", () => {
    const names = new Names({ ...DEFAULT_LIMITS, names: 65_536, namesPerGuest: 65_536 });
    names.answered(B, answer("few.test", ["few.test", 300, ip(0)]), 0);
    for (let n = 0; n < 16; n++) {
      for (let from = 0; from < 4_096; from += 64) {
        const records = Array.from({ length: 64 }, (_, i): DnsRecord => [`n${n}.test`, 300, ip(from + i)]);
        names.answered(A, answer(`n${n}.test`, ...records), 0);
      }
    }
    const known = Array.from({ length: 4_096 }, (_, i) => names.of(A, text(i), 1).length);
    expect(known.reduce((sum, n) => sum + n)).toBe(65_536 - 16);
    expect(known[0]).toBe(0);
    expect(names.of(B, text(0), 1)).toEqual(["few.test"]);
  });

  it("names of one guest, whose own oldest go, each counted, while another keeps its own", () => {
    let forgotten = 0;
    const limits = { ...DEFAULT_LIMITS, names: 8, namesPerGuest: 4 };
    const names = new Names(limits, () => void forgotten++);
    const learn = (guest: number, i: number): void =>
      names.answered(guest, answer(`n${i}.test`, [`n${i}.test`, 300, ip(i)]), 0);
    learn(B, 0);
    for (let i = 0; i < 6; i++) learn(A, i);
    expect(forgotten).toBe(2);
    expect([0, 1, 2, 3, 4, 5].map((i) => names.of(A, text(i), 1).length)).toEqual([0, 0, 1, 1, 1, 1]);
    expect(names.of(B, text(0), 1)).toEqual(["n0.test"]);
    learn(A, 0);
    expect(names.of(A, text(0), 1)).toEqual(["n0.test"]);
  });

  it("256 guests", () => {
    const names = new Names();
    for (let guest = 0; guest < 300; guest++) names.answered(guest, answer("a.test", ["a.test", 300, ip(0)]), 0);
    expect(names.of(43, text(0), 1)).toEqual([]);
    expect(names.of(44, text(0), 1)).toEqual(["a.test"]);
    expect(names.of(299, text(0), 1)).toEqual(["a.test"]);
  });
});
