/** Rules as they are written, and what each of them means for a flow. */
import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { ConfigError } from "../../src/control/errors.ts";
import { MAX_RULES, parseRules, readRuleLines } from "../../src/control/rules.ts";
import { addressFromText } from "../../src/core/address.ts";
import { remedyOf } from "../../src/nat/rules/remedy.ts";
import { isNameOf, judge, limitOf, opensAllNames, type Subject } from "../../src/nat/rules/rules.ts";

const WEB: Subject = {
  direction: "out",
  proto: "tcp",
  guest: addressFromText("10.0.2.15"),
  mac: 0x525400123456,
  remote: addressFromText("198.51.100.7"),
  port: 443,
  names: [],
};
const named = (...names: string[]): Subject => ({ ...WEB, remote: addressFromText("93.184.216.34"), names });
const asked = (name: string): Subject => ({
  ...WEB,
  proto: "dns",
  remote: addressFromText("10.0.2.3"),
  port: 53,
  names: [name],
});
const verdict = (subject: Subject, ...lines: string[]) => {
  const { allow, reason: rule } = judge(parseRules([...lines, "default deny"]), subject);
  return [allow, rule];
};

describe("a rule means what it says", () => {
  test.each([
    ["any"],
    ["tcp any"],
    ["198.51.100.7"],
    ["198.51.100.0/24"],
    ["198.51.100.99/24"],
    ["0.0.0.0/0"],
    ["198.51.100.7:443"],
    ["tcp 198.51.100.0/24:80,440-450"],
    ["port 443 tcp"],
    ["any:443"],
    ["out any guest 10.0.2.15"],
    ["any guest 10.0.2.0/28"],
    ["guest 52:54:00:12:34:56"],
    ["guest 52-54-00-12-34-56 tcp"],
  ])("allow %s matches", (rule) => expect(verdict(WEB, `allow ${rule}`)).toEqual([true, `allow ${rule}`]));
  test.each([
    ["udp any"],
    ["icmp any"],
    ["dns any"],
    ["in any"],
    ["198.51.100.6"],
    ["198.51.101.0/24"],
    ["198.51.100.7:80"],
    ["any:442"],
    ["any guest 10.0.2.16"],
    ["any guest 52:54:00:12:34:57"],
    ["example.org"],
    ["*"],
    ["2001:db8::/32"],
    ["::/0"],
  ])("allow %s does not match", (rule) => expect(verdict(WEB, `allow ${rule}`)).toEqual([false, "default deny"]));
  test.each([["2001:db8::/32"], ["[2001:db8::7]:443"], ["[2001:db8::]/32:443"], ["2001:db8::7"]])(
    "allow %s matches in IPv6",
    (rule) => expect(verdict({ ...WEB, remote: addressFromText("2001:db8::7") }, `allow ${rule}`)[0]).toBe(true),
  );
  it("the first that matches wins", () => {
    expect(verdict(WEB, "deny any:443", "allow any")).toEqual([false, "deny any:443"]);
    expect(verdict({ ...WEB, port: 80 }, "deny any:443", "allow any")).toEqual([true, "allow any"]);
  });
  it("a ping has no port", () => {
    expect(verdict({ ...WEB, proto: "icmp", port: 0 }, "allow any:443")[0]).toBe(false);
    expect(verdict({ ...WEB, proto: "icmp", port: 0 }, "allow icmp any")[0]).toBe(true);
  });
  it("the default is not for what comes in, which only a rule refuses", () => {
    const client: Subject = { ...WEB, direction: "in", port: 22 };
    expect(verdict(client)[0]).toBe(true);
    expect(verdict(client, "deny any")[0]).toBe(true);
    expect(verdict(client, "deny in 198.51.100.0/24 port 22")[0]).toBe(false);
    expect(verdict(client, "deny in 198.51.100.0/24 port 23")[0]).toBe(true);
  });
});

test.each(["constructor=x", "toString=1", "__proto__=allow", "hasOwnProperty=1", "valueOf=deny"])(
  "what every object has is no word of a rule: %s",
  (word) => {
    expect(() => parseRules([`allow tcp *.example.org:443 ${word}`, "default deny"])).toThrow(/expected ech=allow/);
    expect(() => parseRules([`limit any ${word}`])).toThrow(/expected ech=allow/);
  },
);

describe("a query for a name is a way out", () => {
  test.each([
    ["allow icmp any", false],
    ["allow tcp any:22", false],
    ["allow udp any", false],
    ["allow any:443", false],
    ["allow tcp any", false],
    ["allow icmp 0.0.0.0/0", false],
    ["allow any", true],
    ["allow dns any", true],
    ["allow tcp *:443", true],
    ["allow tcp *.example.org:443", true],
  ])("%s opens x.example.org: %j", (rule, opens) => expect(verdict(asked("x.example.org"), rule)[0]).toBe(opens));
  test.each<[string[], string | null]>([
    [["allow icmp any", "allow tcp *.example.org:443", "default deny"], null],
    [["allow dns any", "default deny"], "allow dns any"],
    [["allow tcp *:443", "default deny"], "allow tcp *:443"],
    [["allow any guest 10.0.2.15", "default deny"], "allow any guest 10.0.2.15"],
    [["deny dns any guest 10.0.2.15", "allow any", "default deny"], "allow any"],
    [["allow tcp any:443", "allow udp any", "allow 0.0.0.0/0", "default deny"], null],
    [["deny dns any", "allow any", "default deny"], null],
    [["deny tcp x.test", "default allow"], "default allow"],
  ])("which rule opens all is known: %j", (lines, rule) => expect(opensAllNames(parseRules(lines))).toBe(rule));
});

describe("a name on a private address", () => {
  const mirror: Subject = { ...WEB, remote: addressFromText("10.9.8.7"), names: ["mirror.example"] };
  it("is allowed by a rule that says so, and by none else", () => {
    expect(verdict(mirror, "allow tcp mirror.example:443")).toEqual([
      false,
      'default deny: a private address is not meant by "allow tcp mirror.example:443"',
    ]);
    expect(verdict(mirror, "allow tcp mirror.example:443 private=allow")[0]).toBe(true);
  });
  it("but not on one of the guests' own network", () =>
    expect(verdict({ ...mirror, inside: true }, "allow tcp mirror.example:443 private=allow")[0]).toBe(false));
});

describe("the narrowest rule that would have allowed what was refused", () => {
  test.each<[Partial<Subject>, string]>([
    [{ names: ["x.test"], remote: addressFromText("93.184.216.34") }, "allow tcp x.test:443"],
    [{ names: ["x.test"], remote: addressFromText("10.9.8.7") }, "allow tcp x.test:443 private=allow"],
    [{ remote: addressFromText("2001:db8::7") }, "allow tcp [2001:db8::7]:443"],
    [{ proto: "icmp", port: 0 }, "allow icmp 198.51.100.7"],
    [{ proto: "dns", names: ["x.test"] }, "allow dns x.test"],
    [{ direction: "in", port: 22 }, "allow in tcp 198.51.100.7 port 22"],
    [{ names: ["x.test"], inside: true }, "allow tcp 198.51.100.7:443"],
  ])("of %j", (part, rule) => {
    const subject = { ...WEB, ...part };
    expect(remedyOf(subject, subject.names[0] ?? null)).toBe(rule);
    expect(judge(parseRules([rule, "default deny"]), subject).allow).toBe(true);
  });
});

describe("domains", () => {
  test.each([
    ["example.org", "example.org", true],
    ["example.org", "www.example.org", false],
    ["*.example.org", "www.example.org", true],
    ["*.example.org", "a.b.example.org", true],
    ["*.example.org", "example.org", false],
    ["*.example.org", "notexample.org", false],
    ["*.example.org", "example.org.test", false],
    ["*", "anything.test", true],
    ["Example.ORG.", "example.org", true],
    ["*.example.org", String.raw`www\.example.org`, false],
    ["*.example.org", String.raw`www\\.example.org`, true],
    ["*.example.org", ".example.org", false],
  ])("%s means %s: %s", (rule, name, means) => {
    const [domain] = parseRules([`allow ${rule}`, "default deny"]).rules.map(({ domain }) => domain);
    expect(isNameOf(domain!, name)).toBe(means);
    expect(verdict(named(name), `allow ${rule}`)[0]).toBe(means);
    expect(verdict(asked(name), `allow ${rule}`)[0]).toBe(means);
  });
  it("any of an address's names counts", () => {
    expect(verdict(named("cdn.test", "deb.debian.org"), "allow *.debian.org")[0]).toBe(true);
  });
  test.each(["10.1.2.3", "127.0.0.1", "169.254.169.254", "192.168.1.1", "172.16.0.1", "100.64.0.1", "fd00::1", "::1"])(
    "a name that leads to %s, which is private, makes no way there",
    (text) => {
      const rebound = { ...named("www.evil.test"), remote: addressFromText(text) };
      const [allow, rule] = verdict(rebound, "allow *.evil.test");
      expect(allow).toBe(false);
      expect(rule).toBe('default deny: a private address is not meant by "allow *.evil.test"');
      expect(verdict(rebound, "allow *.evil.test", `allow ${text}`)[0]).toBe(true);
    },
  );
  it("a name that leads into the guests' own network makes no way there, and the reason is not what the rule allows", () => {
    const subject = { ...named("www.evil.test"), remote: addressFromText("10.0.2.2"), inside: true };
    const [allow, rule] = verdict(subject, "allow *.evil.test private=allow");
    expect(allow).toBe(false);
    expect(rule).toBe(
      `default deny: an address of the guests' own network is not meant by "allow *.evil.test private=allow"`,
    );
  });
  test.each(["64:ff9b::a01:203", "2002:a01:203::1", "2001:0:1:2::3"])("nor one to %s, which is that in IPv6", (text) =>
    expect(verdict({ ...named("x.test"), remote: addressFromText(text) }, "allow x.test")[0]).toBe(false),
  );
  it("a name may be asked for if some flow to it could be allowed", () => {
    expect(verdict(asked("www.test"), "allow tcp *.test:443")[0]).toBe(true);
    expect(verdict(asked("www.test"), "allow any:443")[0]).toBe(false);
    expect(verdict(asked("www.test"), "allow dns any")[0]).toBe(true);
    expect(verdict(asked("www.test"), "allow 198.51.100.0/24")[0]).toBe(false);
  });
  it("names have ten labels in front of a wildcard's domain at the most, or as many as the rule says", () => {
    const name = (labels: number): Subject => asked(`${"a.".repeat(labels)}test`);
    expect(verdict(name(10), "allow *.test")[0]).toBe(true);
    expect(verdict(name(11), "allow *.test")).toEqual([
      false,
      'default deny: a name of so many labels is not meant by "allow *.test"',
    ]);
    expect(verdict(name(1), "allow *.test labels=1")[0]).toBe(true);
    expect(verdict(name(2), "allow *.test labels=1")[0]).toBe(false);
    expect(verdict(name(40), "allow *")[0]).toBe(true);
  });
  it("a rule against some ports says nothing about names, one against a domain does", () => {
    expect(verdict(asked("www.test"), "deny tcp any:25", "allow any")[0]).toBe(true);
    expect(verdict(asked("www.test"), "deny *.test", "allow any")[0]).toBe(false);
    expect(verdict(asked("www.test"), "deny dns *.test", "allow any")[0]).toBe(false);
  });
});

describe("what is wrong is told in one line", () => {
  test.each([
    ["permit any", "begins with allow, deny or limit"],
    ["allow", "*.debian.org:80,443"],
    ["allow tcp udp any", 'expected one protocol, not "udp" as well'],
    ["allow any any", 'expected one far end, not "any" as well'],
    ["allow any:80 port 81", 'expected one list of ports, not "81" as well'],
    ["allow any:0", 'not "0"'],
    ["deny tcp 2001:db8::1:80", "[2001:db8::1]:80 for that port, or [2001:db8::1:80] for that address"],
    ["deny 2001:db8::1:443", "[2001:db8::1]:443 for that port, or [2001:db8::1:443]"],
    ["allow udp fe80::5054:ff:fe12:3456", "[fe80::5054:ff:fe12]:3456"],
    ["deny in ::1:22", "[::1]:22"],
    ["allow any:70000", "ports from 1 to 65535"],
    ["allow any:9-8", "ports from 1 to 65535"],
    ["allow port", 'not ""'],
    ["allow 1.2.3.4/33", "*.debian.org:80,443"],
    ["allow 1.2.3", "*.debian.org:80,443"],
    ["allow a..b", "*.debian.org:80,443"],
    ["allow www.*.org", "*.debian.org:80,443"],
    ["allow guest nobody", "IP address, net or MAC"],
    ["allow icmp any:8", "no ports with icmp"],
    ["allow in example.org", "who comes in"],
    ["allow dns 10.0.0.0/8", "a domain name with dns"],
    ["default maybe", "default allow or default deny"],
    ["allow *.test:443 ech=maybe", "ech=allow|deny"],
    ["allow *.test:443 esni=allow", 'not "esni=allow"'],
    ["allow *.test:443 ech=allow ech=deny", "ech once only"],
    ["allow *.test labels=0", "labels=1 to 127"],
    ["allow a.test labels=3", "labels in a rule about *.NAME"],
    ["allow 10.0.0.0/8 quic=allow", "quic in a rule that allows a name"],
    ["deny *.test ech=allow", "ech in a rule that allows a name"],
    ["allow in any rate=1mbit", "limits in rules about what guests begin"],
    ["deny any conns=5", "conns in a rule that allows"],
    ["allow any rate=fast", "rate=8kbit to 1000gbit"],
    ["allow any rate=1bit", "rate=8kbit to 1000gbit"],
    ["allow any conns=0", "conns=1 to 1000000"],
    ["allow any dns=5/min", "dns=1/s to 1000000/s"],
    ["limit", "rate=10mbit"],
    ["limit guest nobody rate=1mbit", "IP address, net or MAC"],
    ["limit tcp rate=1mbit", "limit [any|guest"],
    ["limit any ech=allow", "rate=10mbit"],
  ])("%s", (line, words) => {
    const wrong = (): unknown => parseRules([line, "default deny"]);
    expect(wrong).toThrow(ConfigError);
    expect(wrong).toThrow(words);
  });
  it.each([
    "2001:db8::1",
    "2001:db8::1:80/128",
    "2001:db8::1:80 port 443",
    "[2001:db8::1:80]",
    "[2001:db8::1:80]:443",
    "icmp 2001:db8::1:80",
    "2001:db8:0:0:0:0:1:80",
    "2001:db8::1:8a",
    "2001:db8::1:0080",
    "any guest 2001:db8::1:80",
    "64:ff9b::198.51.100.1",
  ])("an IPv6 address that nobody takes for one with a port is one: %s", (words) => {
    expect(parseRules([`deny ${words}`, "default allow"]).rules).toHaveLength(1);
  });
  it("rules without a default, or with two", () => {
    expect(() => parseRules(["allow any"])).toThrow("default deny or default allow as well");
    expect(() => parseRules(["default deny", "default deny"])).toThrow("one default only");
    expect(parseRules([])).toEqual({ rules: [], allow: true, limits: [] });
  });
  it("too many", () => {
    expect(() => parseRules([...new Array(MAX_RULES + 1).fill("allow any"), "default deny"])).toThrow(
      `at most ${MAX_RULES}`,
    );
  });
  it("whatever is typed, a ConfigError or a rule", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(..."aio.:/-,*[] 19tcpudenym") }), (text) => {
        try {
          parseRules([`allow ${text}`, "default deny"]);
        } catch (error) {
          expect(error).toBeInstanceOf(ConfigError);
        }
      }),
    );
  });
});

describe("limits", () => {
  const limit = (line: string) => parseRules([line, "default deny"]).rules[0]!.limit;
  const NONE = { up: null, down: null, conns: null, opens: null, queries: null };
  test.each([
    ["tcp 198.51.100.7 rate=8mbit", { ...NONE, up: 1e6, down: 1e6 }],
    ["any up=8kbit rate=80kbit", { ...NONE, up: 1e3, down: 1e4 }],
    ["www.test conns=50 opens=10/s dns=20", { ...NONE, conns: 50, opens: 10, queries: 20 }],
    ["*.test", { ...NONE, queries: 50 }],
    ["*.test dns=9/s", { ...NONE, queries: 9 }],
  ])("allow %s", (rule, want) => expect(limit(`allow ${rule}`)).toEqual({ text: `allow ${rule}`, ...want }));
  test.each(["any", "*", "www.test"])("allow %s has none", (rule) => expect(limit(`allow ${rule}`)).toBeNull());
  it("of guests: the first that means one counts, and no default has to be said", () => {
    const set = parseRules([
      "limit guest 10.0.2.15 conns=5",
      "limit guest 52:54:00:12:34:56 conns=6",
      "limit any dns=7/s",
    ]);
    expect(set.allow).toBe(true);
    const of = (subject: Partial<Subject>) => limitOf(set, { ...WEB, ...subject })?.text;
    expect(of({})).toBe("limit guest 10.0.2.15 conns=5");
    expect(of({ guest: addressFromText("fec0::1") })).toBe("limit guest 52:54:00:12:34:56 conns=6");
    expect(of({ guest: addressFromText("fec0::1"), mac: 1 })).toBe("limit any dns=7/s");
  });
});

it("a file has one rule a line, and comments; each line is known by its number", () => {
  const text = "# sandbox\n\nallow *.debian.org:80 # apt\r\n  default deny\n";
  expect(readRuleLines("r", text)).toEqual({
    lines: ["allow *.debian.org:80", "default deny"],
    fields: ["r:3", "r:4"],
  });
});

it("a # within a word is the word's, so that a file can name a cable", () => {
  const text = "deny any guest cable:unix:/run/a.sock#1\nallow any guest cable:ws://h/#2\t# the second\n#x\n";
  const { lines } = readRuleLines("r", text);
  expect(lines).toEqual(["deny any guest cable:unix:/run/a.sock#1", "allow any guest cable:ws://h/#2"]);
  expect(parseRules([...lines, "default deny"]).rules.map(({ cable }) => cable)).toEqual([
    "unix:/run/a.sock#1",
    "ws://h/#2",
  ]);
});
