/** The library's sockets over IPv6, with a Linux guest that has no other: dialled, listened for, and by datagram. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createNetwork, type Network } from "../../src/index.ts";
import { Guest } from "../support/e2e/guest.ts";
import { describeE2e, LIBSLIRP } from "../support/e2e/requirements.ts";
import { GUEST_MAC } from "../support/e2e/rig.ts";
import { ServicesProcess } from "../support/e2e/services-process.ts";
import { patternSha256 } from "../support/services.ts";

/** What the guest makes of its MAC (RFC 4291 appendix A). */
const GUEST = "fec0::5054:ff:fee2:e001";
const GATEWAY = "fec0::2";
const INSIDE = "fec0::100";
const PORTS = { http: 80, echo: 81, digest: 82, reset: 84, udpEcho: 85 };
const BYTES = 3_000_000;

describeE2e("the library's sockets with a guest of IPv6 alone", ["curl", "socat", "rdisc6"], () => {
  if (LIBSLIRP) return it.skip("are no part of libslirp", () => {});
  let folder: string;
  let net: Network;
  let guest: Guest;
  beforeAll(async () => {
    folder = mkdtempSync(path.join(tmpdir(), "tslirp-embed6-"));
    net = await createNetwork({ ipv4: false });
    await net.listen({ path: path.join(folder, "net.sock") });
    guest = new Guest(path.join(folder, "lease"), GUEST_MAC);
    await guest.plug(path.join(folder, "net.sock"));
    await guest.slaac();
    await ServicesProcess.start(guest, { host: "::", ports: PORTS });
  });
  afterAll(async () => {
    await guest?.close();
    await net?.close();
    rmSync(folder, { recursive: true });
  });

  it("connect: http.get of megabytes, from the gateway's address", async () => {
    const socket = await net.connect({ host: GUEST, port: PORTS.http });
    expect(socket).toMatchObject({ remoteAddress: GUEST, remoteFamily: "IPv6", localAddress: GATEWAY });
    const request = http.get({ createConnection: () => socket, host: "guest.test", path: `/bytes?n=${BYTES}&seed=6` });
    const [response] = (await once(request, "response")) as [http.IncomingMessage];
    const hash = createHash("sha256");
    for await (const chunk of response) hash.update(chunk);
    expect(hash.digest("hex")).toBe(patternSha256(6, BYTES));
  });

  it("connect: refused and reset as by any host", async () => {
    await expect(net.connect({ host: GUEST, port: 9 })).rejects.toMatchObject({
      code: "ECONNREFUSED",
      message: `connect ECONNREFUSED [${GUEST}]:9`,
    });
    const socket = await net.connect({ host: GUEST, port: PORTS.reset });
    socket.write("x");
    await expect(once(socket.resume(), "close")).rejects.toMatchObject({ code: "ECONNRESET" });
  });

  it("listenGuest: the guest's curl, at an address of the net and at one outside", async () => {
    const server = http.createServer((request, response) => response.end(`to ${request.socket.remoteAddress}`));
    for (const host of [INSIDE, "2001:db8::80"]) {
      const listening = await net.listenGuest({ host, port: 80 }, (socket) => server.emit("connection", socket));
      const { stdout, stderr } = await guest.run("curl", ["-sS", "-m", "10", `http://[${host}]/`]);
      expect(stdout, stderr).toBe(`to ${GUEST}`);
      listening.close();
    }
    server.closeAllConnections();
  });

  it("bindGuestUdp: a datagram to the guest's echo, fragments and all, and one from the guest", async () => {
    const udp = await net.bindGuestUdp({ host: INSIDE, port: 5000 });
    for (const size of [0, 1, 1452, 6000]) {
      const sent = Buffer.alloc(size, size);
      udp.send(sent, PORTS.udpEcho, GUEST);
      const [bytes, from] = await once(udp, "message");
      expect(Buffer.compare(bytes, sent)).toBe(0);
      expect(from).toEqual({ address: GUEST, port: PORTS.udpEcho, family: "IPv6", size });
    }
    udp.on("message", (bytes, from) => udp.send(`you said ${bytes}`, from.port, from.address));
    const asked = await guest.sh(`echo hi | socat -t 2 - 'UDP6:[${INSIDE}]:5000'`);
    expect(asked.stdout).toBe("you said hi\n");
    udp.close();
  });
});
