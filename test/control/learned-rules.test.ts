/** What `--learn` makes of the flows that were allowed. */
import { expect, test } from "vitest";
import { type AllowedFlow, LearnedRules } from "../../src/control/learned-rules.ts";
import { readRuleLines } from "../../src/control/rules.ts";

const flow = (needs: string | null, more: Partial<AllowedFlow> = {}): AllowedFlow => ({
  ...{ guest: "10.0.2.15:40000", cable: "tap", rule: "default allow", needs },
  ...more,
});

function learned(flows: readonly AllowedFlow[], given: readonly string[] = []): string[] {
  const rules = new LearnedRules(100, 75);
  for (const each of flows) rules.add(each);
  return rules.text(given).split("\n").slice(2, -1);
}

test("ports of one name are one rule, with how often and by whom, and a name that connections went to is not said twice", () => {
  expect(
    learned([
      flow("allow dns deb.debian.test"),
      flow("allow tcp deb.debian.test:80"),
      flow("allow tcp deb.debian.test:80", { guest: "10.0.2.16:5" }),
      flow("allow tcp deb.debian.test:443"),
      flow("allow dns only.asked.test"),
      flow("allow tcp [2001:db8::1]:443"),
      flow("allow icmp 2001:db8::1"),
      flow("allow udp quic.test:443 quic=allow"),
    ]),
  ).toEqual([
    "allow icmp 2001:db8::1  # 1x, 10.0.2.15 on tap",
    "allow tcp [2001:db8::1]:443  # 1x, 10.0.2.15 on tap",
    "allow tcp deb.debian.test:80,443  # 3x, 10.0.2.15 on tap, 10.0.2.16 on tap",
    "allow udp quic.test:443 quic=allow  # 1x, 10.0.2.15 on tap",
    "allow dns only.asked.test  # 1x, 10.0.2.15 on tap",
  ]);
});

test("siblings are offered a wildcard, as a comment", () => {
  const lines = learned([flow("allow tcp a.example.test:80"), flow("allow tcp b.example.test:443")]);
  expect(lines.at(-1)).toBe("# or, for every name there in place of these 2: allow tcp *.example.test:80,443");
  expect(learned([flow("allow tcp a.test:80"), flow("allow tcp b.test:80")]).filter((line) => line[0] === "#")).toEqual(
    [],
  );
});

test("a connection that shows another name is learned by that, and one that cannot be read by its address", () => {
  expect(
    learned([
      flow("allow tcp other.test:443"),
      flow("allow tcp shown.test:443", { instead: "allow tcp other.test:443" }),
      flow("allow tcp odd.test:80"),
      flow("allow tcp 198.51.100.7:80", { instead: "allow tcp odd.test:80" }),
    ]).map((line) => line.replace(/ {2}#.*/, "")),
  ).toEqual(["allow tcp 198.51.100.7:80", "allow tcp shown.test:443"]);
});

test("the user's rules stay where they deny or limit, and where they were of use", () => {
  const given = [
    "deny tcp evil.test",
    "allow tcp used.test:80",
    "allow tcp idle.test:80",
    "default deny",
    "limit any conns=5",
  ];
  expect(learned([flow(null, { rule: "allow tcp used.test:80" })], given)).toEqual([
    "deny tcp evil.test",
    "allow tcp used.test:80  # 1x, 10.0.2.15 on tap",
    "limit any conns=5",
  ]);
});

test("names that a hostile guest makes are no rule, never raw, and no other line: names in other scripts are shown as xn--", () => {
  const lines = learned([
    flow("allow dns evil\x1b[2J.test"),
    flow("allow dns a\nallow any.test"),
    flow("allow dns \u202etset.test"),
    flow("allow dns a b.test"),
    flow("allow tcp x.test:80", { cable: "unix:\x1b[31m" }),
    flow("allow dns xn--pypal-4ve.test"),
  ]);
  expect(lines).toEqual([
    "allow tcp x.test:80  # 1x, 10.0.2.15 on unix:?[31m",
    "allow dns xn--pypal-4ve.test  # 1x, 10.0.2.15 on tap; xn-- is a name in another script, which may look like one that you know",
    "# left out: 4 flows or queries by names that no rule can say",
  ]);
});

test("a flood of names from one guest leaves others room, and says that something is left out", () => {
  let full = 0;
  const rules = new LearnedRules(100, 75, () => full++);
  for (let i = 0; i < 1000; i++) rules.add(flow(`allow dns n${i}.flood.test`));
  rules.add(flow("allow tcp deb.debian.test:80", { cable: "other" }));
  const text = rules.text([]);
  expect(readRuleLines("f", text).lines).toHaveLength(76);
  expect(text).toContain("allow tcp deb.debian.test:80");
  expect(text).toContain("# left out: 925 flows, since there is no room");
  expect(full).toBe(925);
});

test("a cable's name cannot end the comment's line or begin a rule", () => {
  const text = learned([flow("allow tcp x.test:80", { cable: "a\nallow any" })]);
  expect(text).toEqual(["allow tcp x.test:80  # 1x, 10.0.2.15 on a?allow any"]);
});

test("programs are named without their process number, and the name they gave themselves cannot end the line", () => {
  const needs = "allow tcp x.test:80";
  expect(
    learned([
      flow(needs, { process: "curl[41]" }),
      flow(needs, { process: "curl[42]" }),
      flow(needs, { process: "a\nb[43]" }),
    ]),
  ).toEqual(["allow tcp x.test:80  # 3x, 10.0.2.15 (curl) on tap, 10.0.2.15 (a?b) on tap"]);
});
