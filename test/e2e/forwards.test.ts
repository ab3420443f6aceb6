/** Ports of the host that lead into the guest: servers in a Linux guest, clients on the host. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { agent } from "../support/e2e/agent.ts";
import { AT_ONCE_MS, describeE2e, LIBSLIRP } from "../support/e2e/requirements.ts";
import { GATEWAY, OUTSIDE, Rig } from "../support/e2e/rig.ts";
import { ServicesProcess } from "../support/e2e/services-process.ts";
import { GREETING, patternSha256 } from "../support/services.ts";

const MB = 1_000_000;
/** In the guest. On the host the same numbers plus 10000, on all addresses. */
const PORTS = { http: 80, echo: 81, digest: 82, greet: 83, reset: 84, udpEcho: 85 };
const CLOSED = 86;
const onHost = (port: number): { host: string; port: number } => ({ host: "127.0.0.1", port: port + 10_000 });

describeE2e("port forwards into a Linux guest", ["curl"], () => {
  let rig: Rig;
  let inGuest: ServicesProcess;
  beforeAll(async () => {
    const tcp = [PORTS.http, PORTS.echo, PORTS.digest, PORTS.greet, PORTS.reset, CLOSED];
    rig = await Rig.online({
      hostfwd: [
        ...tcp.map((port) => `tcp::${port + 10_000}-:${port}`),
        `udp::${PORTS.udpEcho + 10_000}-:${PORTS.udpEcho}`,
      ],
      args: ["--publish", "12080:80", "-p", `12085:${PORTS.udpEcho}/udp`],
    });
    inGuest = await ServicesProcess.start(rig.guest, {
      host: "0.0.0.0",
      ports: PORTS,
      files: { "/hello": "hello from the guest\n" },
    });
  });
  afterAll(() => rig?.close());

  const fetch = (url: string): Promise<{ code: number; stdout: string; millis: number }> =>
    rig.host.run("curl", ["-sS", "--max-time", "5", url]);

  it("a TCP forward reaches a server in the guest", async () => {
    expect(await fetch("http://127.0.0.1:10080/hello")).toMatchObject({ code: 0, stdout: "hello from the guest\n" });
  });

  it.skipIf(LIBSLIRP)(
    "--publish reaches it too, on the loopback address alone (libslirp: no such option)",
    async () => {
      expect(await fetch("http://127.0.0.1:12080/hello")).toMatchObject({ code: 0, stdout: "hello from the guest\n" });
      expect(await fetch(`http://${OUTSIDE}:12080/hello`)).toMatchObject({ code: 7 });
      const asked = await agent(rig.host, "udpEcho", { host: "127.0.0.1", port: 12_085, sizes: [100] });
      expect(asked).toEqual({ sizes: [100] });
    },
  );

  it("a UDP forward carries datagrams there and back, fragmented ones too", async () => {
    const sizes = [1, 512, 1472, 1473, 6000];
    expect(await agent(rig.host, "udpEcho", { ...onHost(PORTS.udpEcho), sizes })).toEqual({ sizes });
  });

  it("the guest sees a loopback client as the gateway and another one by its true address", async () => {
    const target = onHost(PORTS.greet);
    for (const [host, shown] of [
      ["127.0.0.1", GATEWAY],
      [OUTSIDE, OUTSIDE],
    ] as const) {
      inGuest.drain(() => true);
      const outcome = await agent(rig.host, "sendThenRead", { ...target, host, seed: 1, bytes: 1 });
      expect(outcome).toMatchObject({ text: GREETING, error: null });
      const open = await inGuest.event("the connection", (e) => e.service === "greet" && e.event === "open");
      expect(open.subject.split(":")[0]).toBe(shown);
    }
  });

  it("a closed port of the guest ends the host's connection at once", async () => {
    const result = await fetch(`http://127.0.0.1:${CLOSED + 10_000}/`);
    expect([7, 52, 56]).toContain(result.code);
    expect(result.millis).toBeLessThan(AT_ONCE_MS);
  });

  it("half-close goes both ways", async () => {
    const first = await agent(rig.host, "sendThenRead", { ...onHost(PORTS.digest), seed: 2, bytes: MB });
    expect(first).toMatchObject({ text: patternSha256(2, MB), error: null });
    inGuest.drain(() => true);
    const last = await agent(rig.host, "readThenSend", { ...onHost(PORTS.greet), seed: 3, bytes: MB });
    expect(last).toMatchObject({ text: GREETING, error: null });
    const end = await inGuest.event("the greeter's end", (e) => e.service === "greet" && e.event === "close");
    expect(end).toMatchObject({ bytes: MB, sha256: patternSha256(3, MB), error: null });
  });

  it.skipIf(LIBSLIRP)(
    "50 connections at once each carry their own bytes there and back (libslirp: resets some)",
    async () => {
      const result = await agent(rig.host, "echoMany", { ...onHost(PORTS.echo), count: 50, bytes: 400_000 });
      expect(result).toEqual({ right: 50, errors: [] });
    },
  );

  it.skipIf(LIBSLIRP)("a reset by the guest reaches the host's client (libslirp: as an orderly end)", async () => {
    expect((await agent(rig.host, "poke", onHost(PORTS.reset))).error).toBe("ECONNRESET");
  });

  it("a reset by the host's client reaches the guest's server", async () => {
    inGuest.drain(() => true);
    await agent(rig.host, "abort", onHost(PORTS.echo));
    const end = await inGuest.event("the echo's end", (e) => e.service === "echo" && e.event === "close");
    expect(end.error).toBe("ECONNRESET");
  });
});
