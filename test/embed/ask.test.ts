/** Flows that wait for somebody's verdict, seen from a guest. */
import { once } from "node:events";
import http from "node:http";
import type net from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { resolveName } from "../../src/cli/guest/dns.ts";
import { httpGet } from "../../src/cli/guest/http.ts";
import { DEFAULT_LIMITS } from "../../src/core/limits.ts";
import { Asker } from "../../src/embed/asker.ts";
import { createNetwork, type Network, type NetworkOptions, type OnAsk, type Question } from "../../src/index.ts";
import { type EmbeddedGuest, embeddedGuest } from "../support/embedded-guest.ts";

const GATEWAY = "10.0.2.2";
let web: http.Server;
let port: number;
beforeAll(async () => {
  web = http.createServer((_request, response) => response.end("let in"));
  web.listen(0, "127.0.0.1");
  await once(web, "listening");
  port = (web.address() as net.AddressInfo).port;
});
afterAll(() => {
  web.close();
  web.closeAllConnections();
});

let network: Network;
let guest: EmbeddedGuest | undefined;
afterEach(async () => {
  vi.useRealTimers();
  guest?.stop();
  await network?.close();
});

async function asking(options: NetworkOptions = {}): Promise<void> {
  network = await createNetwork({ ask: true, rules: ["default deny"], ...options });
  guest = await embeddedGuest(network);
}
const get = async (): Promise<string> =>
  String(Buffer.from((await httpGet(guest!.guest, `http://${GATEWAY}:${port}/`)).body));
const question = async (): Promise<Question> => (await once(network, "ask"))[0] as Question;

test("allow lets the flow that waits begin, and the next one asks again", async () => {
  await asking();
  for (let i = 0; i < 2; i++) {
    const asked = question();
    const got = get();
    const { id, rule } = await asked;
    expect(rule).toBe(`allow tcp ${GATEWAY}:${port}`);
    expect(network.asks()).toMatchObject([{ id, waiting: 1 }]);
    expect(network.answer(id, "allow")).toBe(true);
    expect(await got).toBe("let in");
    expect(network.answer(id, "allow")).toBe(false);
  }
  expect(network.rules()).toEqual(["default deny"]);
});

test("always makes a rule, under which nobody is asked, and other flows that wait go on waiting", async () => {
  await asking();
  const asked = question();
  const got = get();
  const { id } = await asked;
  const other = question();
  const name = resolveName(guest!.guest, "other.test").catch(String);
  const { id: otherId } = await other;
  network.answer(id, "always");
  expect(await got).toBe("let in");
  expect(await get()).toBe("let in");
  expect(network.rules()).toEqual(["default deny", `allow tcp ${GATEWAY}:${port}`]);
  expect(network.answeredRules()).toEqual([`allow tcp ${GATEWAY}:${port}`]);
  expect(network.asks()).toMatchObject([{ id: otherId, rule: "allow dns other.test" }]);
  network.answer(otherId, "deny");
  expect(await name).toContain("REFUSED");
});

test("never makes a rule that denies, and a rule that denies asks nobody", async () => {
  await asking();
  const refused: string[] = [];
  network.on("flowRefused", ({ rule }) => refused.push(rule));
  const asked = question();
  const got = get().catch(() => "refused");
  network.answer((await asked).id, "never");
  expect(await got).toBe("refused");
  expect(await get().catch(() => "refused")).toBe("refused");
  expect(network.rules()).toEqual(["default deny", `deny tcp ${GATEWAY}:${port}`]);
  // The flow that waited, too, is refused by the rule.
  expect(refused).toEqual([`deny tcp ${GATEWAY}:${port}`, `deny tcp ${GATEWAY}:${port}`]);
  expect(network.asks()).toEqual([]);
});

test("other rules that answer a question end its wait, and leave those that they say nothing about", async () => {
  await asking();
  const asked = question();
  const got = get();
  await asked;
  const other = question();
  const name = resolveName(guest!.guest, "other.test").catch(String);
  const { id } = await other;
  network.setRules([`allow tcp ${GATEWAY}:${port}`, "default deny"]);
  expect(await got).toBe("let in");
  expect(network.asks()).toMatchObject([{ id }]);
  network.setRules(["deny dns other.test", "default deny"]);
  expect(await name).toContain("REFUSED");
  expect(network.asks()).toEqual([]);
});

const flow = (rule: string, cable = "one") => ({
  ...{ rule, guest: cable, cable, host: null },
  ...({ proto: "tcp", remote: "192.0.2.7:443" } as const),
});
function asker(limits: Partial<typeof DEFAULT_LIMITS> = {}) {
  let full = 0;
  const asked: Question[] = [];
  const cables = new Map<string, object>();
  const cableOf = (host: string): object => cables.get(host) ?? cables.set(host, {}).get(host)!;
  const options = {
    limits: { ...DEFAULT_LIMITS, ...limits },
    cableOf,
    asked: (each: Question) => asked.push(each),
    full: () => full++,
    ...{ onAsk: null, answer() {}, failed() {} },
  };
  return { made: new Asker(options), asked, full: () => full };
}
const turn = (): Promise<void> => new Promise((resolve) => queueMicrotask(resolve));

test("nobody answers: refused after 30 seconds, and not asked again at once", async () => {
  vi.useFakeTimers();
  const { made, asked } = asker();
  const answers: unknown[] = [];
  made.ask(flow("allow tcp x.test:443"), (answer) => answers.push(answer));
  await turn();
  vi.advanceTimersByTime(29_999);
  expect(answers).toEqual([]);
  vi.advanceTimersByTime(1);
  expect(answers).toEqual([null]);
  made.ask(flow("allow tcp x.test:443"), (answer) => answers.push(answer));
  await turn();
  expect([answers, asked.length, made.list()]).toEqual([[null, null], 1, []]);
});

test("a flood of retries is one question, and a flood of questions leaves others room", async () => {
  const { made, asked, full } = asker({ asks: 10, asksPerGuest: 7, heldFlows: 100, heldFlowsPerGuest: 75 });
  let refused = 0;
  for (let i = 0; i < 50; i++) made.ask(flow("allow tcp x.test:443"), () => refused++);
  await turn();
  expect(made.list()).toMatchObject([{ waiting: 50, rule: "allow tcp x.test:443" }]);
  for (let i = 0; i < 500; i++) made.ask(flow(`allow dns n${i}.test`), () => refused++);
  made.ask(flow("allow tcp y.test:443", "two"), () => refused++);
  await turn();
  expect([made.list().length, refused, full(), asked.length]).toEqual([8, 494, 494, 8]);
  made.close();
});

test("names that no rule can say are not asked about, and those in other scripts are shown as xn--", async () => {
  const { made } = asker();
  const answers: unknown[] = [];
  for (const name of ["a\x1b[2J.test", "a b.test", "a\nb.test", "\u0430pple.test"])
    made.ask(flow(`allow dns ${name}`), (answer) => answers.push(answer));
  made.ask(flow("allow dns xn--pple-43d.test"), () => {});
  await turn();
  expect(answers).toEqual([null, null, null, null]);
  expect(made.list()).toMatchObject([{ rule: "allow dns xn--pple-43d.test" }]);
  made.close();
});

describe("onAsk", () => {
  test.each([
    ["allow", "let in", ["default deny"]],
    ["always", "let in", ["default deny", "allow tcp 10.0.2.2:PORT"]],
    ["deny", "refused", ["default deny"]],
    ["never", "refused", ["default deny", "deny tcp 10.0.2.2:PORT"]],
  ] as const)("answers %s, at once or later", async (verdict, outcome, rules) => {
    const seen: Question[] = [];
    const onAsk: OnAsk = async (question) => {
      seen.push(question);
      await new Promise((resolve) => setImmediate(resolve));
      return verdict;
    };
    await asking({ ask: undefined, onAsk });
    expect(await get().catch(() => "refused")).toBe(outcome);
    expect(seen).toMatchObject([
      {
        proto: "tcp",
        guest: "10.0.2.15",
        host: null,
        remote: `${GATEWAY}:${port}`,
        rule: `allow tcp ${GATEWAY}:${port}`,
      },
    ]);
    expect(network.rules()).toEqual(rules.map((rule) => rule.replace("PORT", String(port))));
  });

  test.each([
    ["throws", () => Promise.reject(new Error("no idea")), "no idea"],
    ["says nonsense", () => "perhaps" as "allow", 'onAsk: got "perhaps"; expected allow, always, deny or never'],
  ])("that %s refuses, and askError tells of it", async (_, onAsk, message) => {
    await asking({ ask: undefined, onAsk });
    const told = once(network, "askError");
    expect(await get().catch(() => "refused")).toBe("refused");
    const [error, { rule }] = (await told) as [Error, Question];
    expect([error.message, rule]).toEqual([message, `allow tcp ${GATEWAY}:${port}`]);
  });

  test("is told by its signal when somebody else has answered, and its own answer comes too late", async () => {
    let ended = false;
    let late = (_: "never"): void => {};
    const onAsk: OnAsk = ({ signal }) => {
      signal.addEventListener("abort", () => (ended = true));
      return new Promise((resolve) => (late = resolve));
    };
    await asking({ ask: undefined, onAsk });
    const asked = question();
    const got = get();
    network.answer((await asked).id, "allow");
    expect([await got, ended]).toEqual(["let in", true]);
    late("never");
    await new Promise((resolve) => setImmediate(resolve));
    expect(network.rules()).toEqual(["default deny"]);
  });

  test("is told by its signal when the network closes", async () => {
    const signals: AbortSignal[] = [];
    await asking({ ask: undefined, onAsk: ({ signal }) => new Promise(() => void signals.push(signal)) });
    const asked = question();
    const got = get().catch(() => "refused");
    await asked;
    await network.close();
    expect([signals.map(({ aborted }) => aborted), await got]).toEqual([[true], "refused"]);
  });
});

test("what it does not go with is told", async () => {
  const onAsk = (): "allow" => "allow";
  for (const beside of [{ onFlow: () => "allow" as const }, { record: "/tmp/x" }, { learn: "/tmp/x" }]) {
    const [field] = Object.keys(beside);
    for (const ask of [{ ask: true }, { onAsk }])
      await expect(createNetwork({ ...ask, ...beside })).rejects.toThrow(
        new RegExp(`^${Object.keys(ask)[0]}: got [^\\n]*; expected no ${field} beside it[^\\n]*$`),
      );
  }
  await expect(createNetwork({ ask: false, onAsk })).rejects.toThrow(/^onAsk: [^\n]*expected ask to be on/);
  await expect(createNetwork({ onAsk: "allow" as never })).rejects.toThrow(/^onAsk: got "allow"; expected a function/);
  network = await createNetwork();
  guest = undefined;
});
