/** What a network that the command line runs says unasked: refusals, ways out that rules leave open, doors without a lock. */
import { afterEach, describe, expect, it, vi } from "vitest";
import type { SessionOptions } from "../../src/cli/argument-types.ts";
import { type Session, startSession, warnOfOpenDoor } from "../../src/cli/session.ts";
import { createLog } from "../../src/control/log.ts";
import type { LogLevel } from "../../src/control/log-levels.ts";
import { standardError } from "../../src/control/standard-error.ts";
import type { NetworkEvents } from "../../src/embed/network-events.ts";

const sessions: Session[] = [];
afterEach(async () => {
  vi.restoreAllMocks();
  for (const session of sessions.splice(0)) await session.close();
});

async function started(
  level: LogLevel,
  rules: string[],
): Promise<{ session: Session; lines: string[]; stderr: string[] }> {
  const lines: string[] = [];
  const stderr: string[] = [];
  vi.spyOn(standardError, "write").mockImplementation((text) => void stderr.push(text));
  const options: SessionOptions = {
    ...{ rules: null, hangup: false, api: null, socks: null, capture: null, impair: [], impairSeed: undefined },
    log: { level, json: false },
  };
  const log = createLog({ level, json: false, destination: { write: (line) => lines.push(line) } });
  const session = await startSession({ rules }, options, log);
  sessions.push(session);
  return { session, lines, stderr };
}

const refusal: NetworkEvents["flowRefused"][0] = {
  ...{
    proto: "tcp",
    guest: "10.0.2.15:4000",
    remote: "192.0.2.7:443",
    host: "evil\u202e\u001b.test",
    direction: "out",
  },
  ...{
    rule: "default deny",
    reason: "default deny: TLS name evil.test",
    cable: null,
    remedy: "allow tcp evil.test:443",
  },
};

describe("the first refusal of a run", () => {
  it("is one line on standard error where the log is silent, with what would allow it and where the rest is", async () => {
    const { session, stderr } = await started("silent", ["default deny"]);
    session.network.emit("flowRefused", refusal);
    session.network.emit("flowRefused", refusal);
    expect(stderr).toEqual([
      "tslirp: refused 10.0.2.15:4000 tcp to evil??.test (192.0.2.7:443) by default deny: TLS name evil.test; " +
        "--allow 'tcp evil.test:443' would allow it. More: --log-level info, or --api and tslirp ctl refusals\n",
    ]);
  });
  it("of a name says which rule allows the connection as well", async () => {
    const { session, stderr } = await started("silent", ["default deny"]);
    const name = {
      ...refusal,
      proto: "dns" as const,
      host: "evil.test",
      reason: "default deny",
      remedy: "allow dns evil.test",
    };
    session.network.emit("flowRefused", name);
    expect(stderr.join("")).toContain(
      "the name evil.test by default deny; --allow 'dns evil.test' would allow it, and --allow 'tcp evil.test:PORT' connections as well.",
    );
  });
  it("is in the log where there is one", async () => {
    const { session, stderr, lines } = await started("info", ["default deny"]);
    session.network.emit("flowRefused", refusal);
    expect(stderr).toEqual([]);
    expect(lines.at(-1)).toMatch(
      /info {2}refused proto=tcp .*reason="default deny: TLS name evil\.test".* remedy="allow tcp evil\.test:443"\n$/,
    );
    expect(lines.at(-1)).not.toMatch(/ (?:rule|why)=/);
  });
});

it("a rule that lets every name be asked for is told at the start", async () => {
  const { lines } = await started("warn", ["allow any", "default deny"]);
  expect(lines.join("")).toMatch(/warn {2}every name may be asked for by allow any/);
  const { lines: none } = await started("warn", ["allow icmp any", "default deny"]);
  expect(none).toEqual([]);
});

it("a rule that denies what a guest can change is told at the start, one that names its cable is not", async () => {
  for (const claim of ["guest 10.0.2.15", "guest 52:54:00:12:34:56"]) {
    const { lines } = await started("warn", [`deny tcp any ${claim}`, "default deny"]);
    expect(lines.join("")).toMatch(/warn {2}"deny tcp any guest [^"]+" denies by what a guest says of itself/);
  }
  const { lines: none } = await started("warn", ["deny tcp any guest cable:unix:/run/a.sock", "default deny"]);
  expect(none).toEqual([]);
});

it.each([
  ["127.0.0.1", "every user and program of this machine"],
  ["0.0.0.0", "whoever reaches this machine"],
])("a cable that listens on TCP at %s says to whom it is open", (host, whom) => {
  const lines: string[] = [];
  const log = createLog({ level: "warn", json: false, destination: { write: (line) => lines.push(line) } });
  warnOfOpenDoor(log, "cable", { kind: "tcp", host, port: 9000 });
  warnOfOpenDoor(log, "cable", { kind: "unix", path: "/run/x.sock" });
  expect(lines).toHaveLength(1);
  expect(lines[0]).toContain(`tcp:${host}:9000 is open to ${whom}`);
});
