/** What the library says to a program that calls it wrongly: which argument, what was given, what would be right. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { createNetwork, type Network } from "../../src/index.ts";

let network: Network;
beforeAll(async () => {
  network = await createNetwork();
});
afterAll(() => network.close());

/** As from JavaScript, where nobody checks. */
const any = (value?: unknown): never => value as never;

it.each<[string, () => unknown, string]>([
  ["createNetwork(null)", () => createNetwork(any(null)), "options: got null; expected an object of network options"],
  ["createNetwork of a text", () => createNetwork(any("x")), "options: got"],
  [
    "no family",
    () => createNetwork({ ipv4: false, ipv6: false }),
    "expected one of ipv4 and ipv6 to be on, not both off",
  ],
  [
    "an empty command",
    () => createNetwork({ guestfwd: ["tcp:10.0.2.100:80-cmd:"] }),
    "expected a command behind -cmd:",
  ],
  [
    "guestfwd at the gateway",
    () => createNetwork({ guestfwd: ["tcp:10.0.2.2:80-cmd:cat"] }),
    "expected an address of the guests' net that nobody has, not the gateway's",
  ],
  ["listen()", () => network.listen(any()), "listen: got nothing; expected { path }, { host, port }"],
  ["listen({})", () => network.listen(any({})), "expected { path }, { host, port }"],
  ["listen({ port })", () => network.listen(any({ port: 1 })), "expected { path }, { host, port }"],
  ["listen({ path: 3 })", () => network.listen(any({ path: 3 })), "expected { path }, { host, port }"],
  ["publish()", () => network.publish(any()), "publish: got nothing; expected a rule like 2222:22"],
  ["capture()", async () => network.capture(any()), "capture: got nothing; expected a file's path or a stream"],
  ["setRules()", async () => network.setRules(any()), "rules: got nothing; expected a list of texts"],
  ["setRules of a text", async () => network.setRules(any("default deny")), "rules: got"],
  ["setDnsHosts of a text", async () => network.setDnsHosts(any("a=1.2.3.4")), "dnsHosts: got"],
  ["setDnsZones()", async () => network.setDnsZones(any()), "dnsZones: got nothing"],
  ["attach()", async () => network.attach(any()), "attach: got nothing; expected a Duplex"],
  ["impair()", async () => network.impair(any()), "impair: got nothing; expected a list of rules"],
])("%s: one line", async (_what, call, line) => {
  const error = await Promise.resolve()
    .then(call)
    .then(
      () => null,
      (thrown: Error) => thrown,
    );
  expect(error).toMatchObject({ name: "ConfigError", message: expect.stringContaining(line) });
});

it("a range of ports lets packets by while it opens and closes again", async () => {
  let turns = 0;
  let over = false;
  const count = (): void => {
    turns++;
    if (!over) setImmediate(count);
  };
  setImmediate(count);
  // Below the ports that the system gives to whoever asks for any. Somebody else may still have one of a range, which
  // is then refused as a whole: the next range is tried.
  let opened = 0;
  for (let first = 10_000; opened === 0 && first < 30_000; first += 500) {
    const range = `${first}-${first + 499}`;
    turns = 0;
    opened = (await network.publish(`${range}:${range}`).catch(() => [])).length;
  }
  over = true;
  expect(opened).toBeGreaterThan(0);
  expect(turns).toBeGreaterThan(10);
});
