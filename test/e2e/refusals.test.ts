/** What a guest may not reach, tried by a Linux guest that has been told to route it here. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { agent } from "../support/e2e/agent.ts";
import { describeE2e, LIBSLIRP } from "../support/e2e/requirements.ts";
import { GATEWAY, METADATA, OUTSIDE, Rig, url } from "../support/e2e/rig.ts";

describeE2e("what a guest may not reach", ["curl", "sysctl"], () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.online({ files: { "/secret": "the host's own\n" } });
    // The guest's kernel keeps loopback addresses to itself; a hostile one does not.
    await rig.guest.sh("sysctl -qw net.ipv4.conf.all.route_localnet=1 net.ipv4.conf.all.rp_filter=0");
    rig.guest.ip("route", "del", "table", "local", "local", "127.0.0.0/8", "dev", "lo");
    rig.guest.ip("route", "del", "table", "local", "local", "127.0.0.1", "dev", "lo");
    rig.guest.ip("route", "add", "127.0.0.0/8", "via", GATEWAY);
  });
  afterAll(() => rig?.close());

  const fetch = (host: string): Promise<{ code: number; stdout: string; millis: number }> =>
    rig.guest.run("curl", ["-sS", "--max-time", "3", url(host, "/secret")]);

  /** How often the guest has reached the host's services since the last call. The host's own visit marks the end. */
  const reached = async (): Promise<number> => {
    const mark = `/mark-${performance.now()}`;
    await rig.host.run("curl", ["-sS", "--max-time", "3", url(OUTSIDE, mark)]);
    await rig.services.event("the mark", (event) => event.subject === mark);
    return rig.services.drain((event) => event.event === "open" || event.service === "udpEcho") - 1;
  };

  it("the server is there: by the gateway and by its outside address", async () => {
    for (const host of [GATEWAY, OUTSIDE])
      expect(await fetch(host)).toMatchObject({ code: 0, stdout: "the host's own\n" });
  });

  for (const host of ["127.0.0.1", "127.1.2.3", METADATA]) {
    it.skipIf(LIBSLIRP)(
      `TCP to ${host} is refused and the host sees no connection (libslirp: lets it through)`,
      async () => {
        const control = await rig.host.run("curl", ["-sS", "--max-time", "3", url(host, "/secret")]);
        expect(control.stdout).toBe("the host's own\n");
        rig.services.drain(() => true);
        const result = await fetch(host);
        expect(result.code).not.toBe(0);
        expect(result.stdout).toBe("");
        expect(await reached()).toBe(0);
      },
    );

    it.skipIf(LIBSLIRP)(`UDP to ${host} reaches nobody (libslirp: lets it through)`, async () => {
      const target = { host, port: rig.services.ports.udpEcho };
      expect(await agent(rig.host, "udpAsk", { ...target, text: "anyone?" })).toEqual({ answer: "anyone?" });
      await reached();
      expect(await agent(rig.guest, "udpAsk", { ...target, text: "anyone?" })).toEqual({ answer: null });
      expect(await reached()).toBe(0);
    });
  }

  it("and it still serves afterwards", async () => {
    expect(await fetch(GATEWAY)).toMatchObject({ code: 0, stdout: "the host's own\n" });
  });
});

describeE2e("a restricted guest", ["curl", "dig"], () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.online({ restrict: true, hostfwd: ["tcp:127.0.0.1:10080-:80"], files: { "/secret": "no\n" } });
    rig.guest.ip("route", "replace", "default", "via", GATEWAY, "dev", "tap0");
  });
  afterAll(() => rig?.close());

  it("is given neither router nor resolver", () => {
    expect(rig.guest.lease()).not.toHaveProperty("router");
    expect(rig.guest.lease()).not.toHaveProperty("dns");
  });

  it("reaches neither the outside nor the host", async () => {
    for (const host of [OUTSIDE, GATEWAY]) {
      const result = await rig.guest.run("curl", ["-sS", "--max-time", "3", url(host, "/secret")]);
      expect(result).toMatchObject({ stdout: "" });
      expect(result.code).not.toBe(0);
    }
  });

  it("is still reached through a forward", async () => {
    rig.guest.spawn("busybox", ["nc", "-l", "-p", "80", "-e", "echo", "from the inside"], { stdio: "ignore" });
    const ask = (): Promise<string> =>
      rig.host.sh("nc -w 3 127.0.0.1 10080 </dev/null").then((result) => result.stdout);
    // The listener comes up in its own time: until then the forward is refused.
    await expect.poll(ask, { timeout: 5000 }).toBe("from the inside\n");
  });
});
