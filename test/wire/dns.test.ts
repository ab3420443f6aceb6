import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  DNS_A,
  DNS_AAAA,
  DNS_NXDOMAIN,
  DNS_SERVFAIL,
  dnsCheck,
  dnsEncodeName,
  dnsId,
  dnsIsResponse,
  dnsOpcode,
  dnsQname,
  dnsQtype,
  dnsQuestionEnd,
  dnsRcode,
  dnsReadName,
  dnsReply,
  dnsSameQuestion,
  dnsSetId,
  dnsSkipName,
  dnsTruncate,
  dnsTruncated,
  dnsUdpSize,
} from "../../src/wire/dns.ts";
import { answer, fixture, query } from "../support/dns.ts";

const check = (m: Uint8Array): boolean => dnsCheck(m, 0, m.length);
const name = (m: Uint8Array, at: number): string | null => dnsReadName(m, 0, at, m.length);

describe("the header and the question", () => {
  test("a query of a resolver that mixes cases is read to the letter", () => {
    const m = fixture("query-0x20");
    expect(check(m)).toBe(true);
    expect(dnsId(m, 0)).toBe(0x1a2b);
    expect(dnsIsResponse(m, 0)).toBe(false);
    expect(dnsOpcode(m, 0)).toBe(0);
    expect(dnsQname(m, 0)).toBe("WwW.eXaMPlE.cOm");
    expect(dnsQtype(m, 0)).toBe(DNS_AAAA);
    expect(dnsUdpSize(m, 0, m.length)).toBe(4096);
  });

  test("every cut of a query that loses part of the question is malformed", () => {
    const m = query("www.example.com", DNS_A);
    for (let len = 0; len < m.length; len++) expect(dnsCheck(m, 0, len)).toBe(false);
    expect(check(m)).toBe(true);
  });

  test("bytes behind `len` are not looked at, and `at` is honoured", () => {
    const m = query("a.test", DNS_A);
    const wide = new Uint8Array(m.length + 20).fill(0xff);
    wide.set(m, 7);
    expect(dnsCheck(wide, 7, m.length)).toBe(true);
    expect(dnsCheck(wide, 7, m.length - 1)).toBe(false);
    expect(dnsQname(wide, 7)).toBe("a.test");
    expect(dnsQuestionEnd(wide, 7)).toBe(7 + m.length);
  });

  test("none or several questions are malformed", () => {
    for (const count of [0, 2, 0xffff]) {
      const m = query("a.test", DNS_A);
      m[4] = count >> 8;
      m[5] = count;
      expect(check(m)).toBe(false);
    }
  });

  test("a compressed question is malformed", () => {
    const m = query("ab", DNS_A);
    m.set([0xc0, 0x0c], 12);
    expect(check(m)).toBe(false);
  });

  test("a name of 255 bytes is the longest", () => {
    const labels = (last: number): string =>
      `${["a", "b", "c"].map((c) => c.repeat(63)).join(".")}.${"d".repeat(last)}`;
    expect(check(query(labels(61), DNS_A))).toBe(true);
    expect(dnsEncodeName(labels(62))).toBeNull();
    const long = new Uint8Array([
      ...query(".", DNS_A).subarray(0, 12),
      ...new Array(130).fill([1, 0x61]).flat(),
      0,
      0,
      1,
      0,
      1,
    ]);
    expect(check(long)).toBe(false);
  });

  test("questions compare without case, but types do: HTTPS (65) is not UINFO's neighbour 97", () => {
    const same = (a: Uint8Array, b: Uint8Array): boolean => dnsSameQuestion(a, 0, b, 0);
    expect(same(query("WWW.Example.com", 1), query("www.eXAMPLE.COM", 1, 99, 1232))).toBe(true);
    expect(same(query("www.example.com", 1), query("www.example.com", 28))).toBe(false);
    expect(same(query("www.example.com", 65), query("www.example.com", 97))).toBe(false);
    expect(same(query("www.example.com", 1), query("www.example.con", 1))).toBe(false);
    expect(same(query("a.bc", 1), query("ab.c", 1))).toBe(false);
    expect(same(query("a.b", 1), query("a.b.c", 1))).toBe(false);
    // "[" and "{" differ by the same bit as letters do.
    expect(same(query("a[", 1), query("a{", 1))).toBe(false);
  });
});

describe("names", () => {
  test("compression is followed", () => {
    const m = fixture("answer-cname");
    expect(check(m)).toBe(true);
    expect(name(m, 33)).toBe("www.Example.COM");
    expect(name(m, 45)).toBe("web.Example.COM");
    expect(name(m, 51)).toBe("web.Example.COM");
    expect(dnsSkipName(m, 45, m.length)).toBe(51);
  });

  test("pointers in a circle, to themselves or forward lead nowhere", () => {
    const m = fixture("pointer-loop");
    expect(check(m)).toBe(true);
    for (const at of [17, 23, 27]) expect(name(m, at)).toBeNull();
  });

  test("compression cannot make a name longer than 255 bytes", () => {
    // 60 labels "a", each name a label and a pointer to the one before.
    const bytes: number[] = [...query(".", DNS_A)];
    let before = 12;
    for (let i = 0; i < 200; i++) {
      const here = bytes.length;
      bytes.push(1, 0x61, 0xc0 | (before >> 8), before & 0xff);
      before = here;
    }
    const m = Uint8Array.from(bytes);
    expect(name(m, 17 + 4 * 126)).toHaveLength(127 * 2 - 1);
    expect(name(m, 17 + 4 * 127)).toBeNull();
  });

  test("bytes that are not plain are shown escaped (RFC 4343 section 2.1)", () => {
    const m = query("xxxx", DNS_A);
    m.set([0x2e, 0x5c, 0x07, 0xe9], 13);
    expect(dnsQname(m, 0)).toBe("\\.\\\\\\007\\233");
    expect(dnsQname(query(".", DNS_A), 0)).toBe(".");
  });

  test("a plain name survives writing and reading", () => {
    const label = fc.stringMatching(/^[a-zA-Z0-9_-]{1,63}$/);
    fc.assert(
      fc.property(fc.array(label, { minLength: 1, maxLength: 4 }), (labels) => {
        const text = labels.join(".");
        const encoded = dnsEncodeName(text);
        if (encoded === null) return text.length > 253;
        return dnsReadName(encoded, 0, 0, encoded.length) === text;
      }),
    );
    for (const bad of ["a..b", ".a", "é.test", "a b", "a".repeat(64)]) expect(dnsEncodeName(bad)).toBeNull();
  });
});

describe("answers of our own", () => {
  test("an error echoes ID, question in its letters, RD and CD, and answers EDNS with EDNS", () => {
    const m = fixture("query-0x20");
    m[3]! |= 0x10;
    const r = dnsReply(m, 0, m.length, DNS_NXDOMAIN);
    expect(check(r)).toBe(true);
    expect(dnsId(r, 0)).toBe(0x1a2b);
    expect([...r.subarray(2, 12)]).toEqual([0x81, 0x93, 0, 1, 0, 0, 0, 0, 0, 1]);
    expect(dnsQname(r, 0)).toBe("WwW.eXaMPlE.cOm");
    expect(dnsUdpSize(r, 0, r.length)).toBe(1232);
    const plain = query("a.test", DNS_A);
    const s = dnsReply(plain, 0, plain.length, DNS_SERVFAIL);
    expect(s).toHaveLength(plain.length);
    expect(dnsRcode(s, 0)).toBe(DNS_SERVFAIL);
    expect(dnsUdpSize(s, 0, s.length)).toBe(512);
  });

  test("records stand under the question's name, type and class", () => {
    const m = query("h.test", DNS_A, 7, 1232);
    const r = dnsReply(m, 0, m.length, 0, [Uint8Array.of(1, 2, 3, 4), Uint8Array.of(5, 6, 7, 8)], 30);
    const at = dnsQuestionEnd(r, 0);
    expect([...r.subarray(at, at + 16)]).toEqual([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 1, 2, 3, 4]);
    expect(name(r, at + 16)).toBe("h.test");
    expect(r[7]).toBe(2);
    expect(dnsUdpSize(r, 0, r.length)).toBe(1232);
  });

  test("truncation leaves header, question and OPT, with TC set and no option or record", () => {
    const m = fixture("answer-cname");
    const t = dnsTruncate(m, 0, m.length);
    expect(check(t)).toBe(true);
    expect(dnsTruncated(t, 0)).toBe(true);
    expect([...t.subarray(4, 12)]).toEqual([0, 1, 0, 0, 0, 0, 0, 1]);
    expect([...t.subarray(33)]).toEqual([0, 0, 41, 4, 0xd0, 0, 0, 0x80, 0, 0, 0]);
    const plain = dnsTruncate(answer(query("a.test", DNS_A), 0, 50), 0, 12 + 8 + 4 + 50 * 16);
    expect(plain).toHaveLength(12 + 8 + 4);
    expect(dnsTruncated(plain, 0)).toBe(true);
  });

  test("an OPT record counts in the additional section only, and only when it is whole", () => {
    const m = query("a.test", DNS_A, 1, 4096);
    expect(dnsUdpSize(m, 0, m.length)).toBe(4096);
    for (let len = m.length - 11; len < m.length; len++) expect(dnsUdpSize(m, 0, len)).toBe(512);
    m[m.length - 1] = 1;
    expect(dnsUdpSize(m, 0, m.length)).toBe(512);
    m[m.length - 1] = 0;
    m.copyWithin(7, 11, 12);
    m[11] = 0;
    expect(dnsUdpSize(m, 0, m.length)).toBe(512);
  });

  test("a size below 512 is taken for 512 (RFC 6891 section 6.2.3)", () => {
    const m = query("a.test", DNS_A, 1, 100);
    expect(dnsUdpSize(m, 0, m.length)).toBe(512);
  });
});

test("no bytes make the parser throw, loop, or read beyond the message", () => {
  const word = fc.constantFrom([0xc0, 0x0c], [0xc0, 0x1d], [0, 41], [0, 0], [1, 0x61], [0xff, 0xff], [0, 1], [0x40, 9]);
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.tuple(fc.array(word, { maxLength: 60 }), fc.uint8Array({ maxLength: 6 })).map(([words, counts]) => {
      const m = Uint8Array.from([...query("a.test", DNS_A), ...words.flat()]);
      m.set(counts, 6);
      return m;
    }),
  );
  fc.assert(
    fc.property(bytes, fc.nat(20), (m, at) => {
      const wide = new Uint8Array(at + m.length);
      wide.set(m, at);
      const end = wide.length;
      for (let i = at; i < end; i += 5) {
        const skipped = dnsSkipName(wide, i, end);
        expect(skipped === -1 || (skipped > i && skipped <= end)).toBe(true);
        dnsReadName(wide, at, i, end);
      }
      if (!dnsCheck(wide, at, m.length)) return;
      expect(dnsQuestionEnd(wide, at)).toBeLessThanOrEqual(end);
      expect(dnsUdpSize(wide, at, m.length)).toBeGreaterThanOrEqual(512);
      expect(dnsSameQuestion(wide, at, m, 0)).toBe(true);
      for (const out of [dnsTruncate(wide, at, m.length), dnsReply(wide, at, m.length, 2)]) {
        expect(check(out)).toBe(true);
        expect(out.length).toBeLessThanOrEqual(282);
        dnsSetId(out, 0, 0xffff);
        expect(dnsSameQuestion(out, 0, m, 0)).toBe(true);
      }
    }),
    { numRuns: 2000 },
  );
});
