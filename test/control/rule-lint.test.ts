/** What `ctl rules check` finds odd, and what it does not. */
import { describe, expect, it, test } from "vitest";
import { lintRules } from "../../src/control/rule-lint.ts";
import { parseRules } from "../../src/control/rules.ts";
import { addressFromText } from "../../src/core/address.ts";
import { judge, type Subject } from "../../src/nat/rules/rules.ts";

const remarks = (...lines: string[]): string[] =>
  lintRules(
    lines,
    lines.map((_, i) => `rules:${i + 1}`),
  ).map(({ field, remark }) => `${field} ${remark.split(/[:,]/)[0]}`);

describe("a rule that never decides", () => {
  test.each([
    [["allow tcp any", "deny tcp 192.0.2.7:443"]],
    [["deny *.x.test", "allow tcp a.x.test:443"]],
    [["allow tcp *.x.test:443", "allow tcp *.a.x.test:443"]],
    [["deny 192.0.2.0/24", "allow tcp 192.0.2.7:80"]],
    [["deny tcp any:1-1024", "allow tcp 192.0.2.7:80,443"]],
    [["deny in any", "deny in 192.0.2.7 port 22"]],
    [["deny any", "allow any guest 52:54:00:12:34:56"]],
    [["deny any guest cable:unix:/a", "allow tcp 192.0.2.7:443 guest cable:unix:/a#1"]],
    [["deny any guest 10.0.2.0/24", "allow icmp any guest 10.0.2.15"]],
  ])("%j", (rules) => expect(remarks(...rules, "default deny")).toContain("rules:2 never decides"));
  test.each([
    [["allow tcp 192.0.2.7:443", "deny tcp any"]],
    [["deny tcp any:80", "allow tcp 192.0.2.7"]],
    [["allow tcp *.x.test:443", "allow tcp x.test:443"]],
    [["deny any guest cable:unix:/a#1", "allow tcp 192.0.2.7:443"]],
    [["deny any guest cable:unix:/a#1", "allow tcp 192.0.2.7:443 guest cable:unix:/a"]],
    [["allow tcp *.x.test:443", "allow udp *.x.test:443 quic=allow"]],
    [["allow tcp *.x.test:443", "allow tcp a.x.test:443 ech=allow"]],
    [["allow tcp any", "allow tcp *.x.test:443"]],
    [["deny any guest 10.0.2.15", "allow any guest 52:54:00:12:34:56"]],
    [["deny any guest 10.0.2.15", "allow icmp any"]],
    [["deny 192.0.2.0/24", "allow 2001:db8::1"]],
    [["allow in any", "allow tcp 192.0.2.7:1"]],
  ])("not %j", (rules) => expect(remarks(...rules, "default deny")).not.toContain("rules:2 never decides"));
});

it("what is said never to decide, does not", () => {
  const rules = [
    "deny *.x.test",
    "allow tcp a.x.test:443",
    "deny 192.0.2.0/24",
    "allow tcp 192.0.2.7:80",
    "default deny",
  ];
  const set = parseRules(rules);
  const subject = (names: string[], remote: string, port: number): Subject => ({
    ...{ direction: "out", proto: "tcp", guest: addressFromText("10.0.2.15"), mac: 1, port, names },
    remote: addressFromText(remote),
  });
  expect(judge(set, subject(["a.x.test"], "93.184.216.34", 443)).rule).toBe(rules[0]);
  expect(judge(set, subject([], "192.0.2.7", 80)).rule).toBe(rules[2]);
});

it("names that mean more than they seem, DNS left open, and no default deny", () => {
  for (const wide of ["com", "co.uk", "github.io", "cloudfront.net"])
    expect(remarks(`allow tcp *.${wide}:443`, "default deny")).toEqual([`rules:1 means every name below .${wide}`]);
  expect(remarks("allow tcp www.com:443", "allow tcp *.example.co.uk:443", "default deny")).toEqual([]);
  expect(remarks("allow *.example.org", "default deny")).toEqual(["rules:1 means TCP"]);
  expect(remarks("allow tcp *.example.org", "default deny")).toEqual([
    "rules:1 means every port but other name servers'",
  ]);
  for (const word of ["ech", "unnamed"])
    expect(remarks(`allow tcp x.test:443 ${word}=allow`, "default deny")).toEqual([
      "rules:1 means every server behind the name's addresses",
    ]);
  expect(remarks("deny any guest 10.0.2.15", "deny any guest cable:unix:/run/a.sock", "default deny")).toEqual([
    "rules:1 denies by what a guest says of itself",
  ]);
  for (const open of ["dns any", "any", "tcp *:443", "any guest cable:unix:/run/a.sock"])
    expect(remarks(`allow ${open}`, "default deny"), open).toContain("rules:1 lets every name be asked for");
  for (const shut of ["icmp any", "tcp any:22", "icmp 0.0.0.0/0", "0.0.0.0/0"])
    expect(remarks(`allow ${shut}`, "default deny"), shut).not.toContain("rules:1 lets every name be asked for");
  expect(remarks("deny dns any", "allow any", "default deny")).toEqual(["rules:2 means every address there is"]);
  expect(remarks("deny tcp x.test", "default allow")).toEqual(["rules:2 what no rule denies passes"]);
  expect(remarks("allow tcp *.debian.org:80,443", "default deny")).toEqual([]);
});

it("no default is told, and what else is odd all the same", () => {
  expect(remarks("allow tcp x.test:443")).toEqual(["rules:1 has to be said"]);
  expect(remarks("allow dns any")).toEqual(["rules:1 lets every name be asked for", "rules:1 has to be said"]);
});

it("a rule that can never decide by itself: QUIC that is not meant, and what comes in anyway", () => {
  expect(remarks("allow udp *.x.test:443", "default deny")).toEqual(["rules:1 never decides"]);
  expect(remarks("allow udp *.x.test:443 quic=allow", "allow udp y.test:443,8443", "default deny")).toEqual([]);
  expect(remarks("allow in tcp any port 22", "default deny")).toEqual(["rules:1 changes nothing"]);
  expect(remarks("allow in tcp any port 22", "deny in any", "default deny")).toEqual([]);
});

test("every address, and addresses of metadata", () => {
  expect(remarks("allow tcp any:80", "default deny")).toContain("rules:1 means every address there is");
  expect(remarks("allow tcp [fd00:ec2::254]:80", "default deny")).toContain(
    "rules:1 opens link-local addresses or those of cloud metadata",
  );
});

it("what cannot be read is told with its line", () => {
  expect(() => lintRules(["allow", "default deny"], ["f:1", "f:2"])).toThrow(/^f:1: /);
});
