/** Node's own clients and servers, undici and ssh2, unmodified over the sockets of the library, with a Linux guest. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { text } from "node:stream/consumers";
import tls from "node:tls";
import ssh2 from "ssh2";
import { Client } from "undici";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createNetwork, type GuestSocket, type Network } from "../../src/index.ts";
import { Guest } from "../support/e2e/guest.ts";
import { describeE2e, LIBSLIRP } from "../support/e2e/requirements.ts";
import { GUEST, GUEST_MAC } from "../support/e2e/rig.ts";
import { ServicesProcess } from "../support/e2e/services-process.ts";
import { startSshd } from "../support/e2e/sshd.ts";
import { patternSha256 } from "../support/services.ts";

const INSIDE = "10.0.2.100";
const PORTS = { http: 80, echo: 81, digest: 82, reset: 84, udpEcho: 85 };
const BYTES = 3_000_000;

describeE2e("the library's sockets", ["curl", "openssl", "socat", "sshd", "ssh-keygen"], () => {
  if (LIBSLIRP) return it.skip("are no part of libslirp", () => {});
  let folder: string;
  let net: Network;
  let guest: Guest;
  beforeAll(async () => {
    folder = mkdtempSync(path.join(tmpdir(), "tslirp-embed-"));
    net = await createNetwork();
    await net.listen({ path: path.join(folder, "net.sock") });
    guest = new Guest(path.join(folder, "lease"), GUEST_MAC);
    await guest.plug(path.join(folder, "net.sock"));
    const { code, stderr } = await guest.dhcp();
    if (code !== 0) throw new Error(`no lease: ${stderr}`);
    await ServicesProcess.start(guest, { host: "0.0.0.0", ports: PORTS });
  });
  afterAll(async () => {
    await guest?.close();
    await net?.close();
    rmSync(folder, { recursive: true });
  });

  /** As `http.Agent` wants it. */
  const dial = (port: number) => (_options: unknown, done: (error: Error | null, socket?: GuestSocket) => void) => {
    net.connect({ host: GUEST, port }).then((socket) => done(null, socket), done);
    return undefined;
  };

  it("http.Agent: requests, and the next ones on the same connection", async () => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    agent.createConnection = dial(PORTS.http) as never;
    const opened = countOpened(net);
    for (const seed of [1, 2, 3]) {
      const request = http.get({ agent, host: "guest.test", path: `/bytes?n=${BYTES}&seed=${seed}` });
      const [response] = (await once(request, "response")) as [http.IncomingMessage];
      const hash = createHash("sha256");
      for await (const chunk of response) hash.update(chunk);
      expect(hash.digest("hex")).toBe(patternSha256(seed, BYTES));
    }
    expect(opened()).toBe(1);
    agent.destroy();
  });

  it("http.Agent: an upload, held back by the guest's window", async () => {
    const agent = new http.Agent();
    agent.createConnection = dial(PORTS.http) as never;
    const body = Buffer.alloc(BYTES, "upload");
    const request = http.request({ agent, host: "guest.test", path: "/sink", method: "PUT" });
    request.end(body);
    const [response] = (await once(request, "response")) as [http.IncomingMessage];
    expect(await text(response)).toBe(createHash("sha256").update(body).digest("hex"));
  });

  it("undici: many requests at a time through one pipelined client", async () => {
    const client = new Client("http://guest.test", {
      pipelining: 4,
      connect: (_options, done) => {
        net.connect({ host: GUEST, port: PORTS.http }).then(
          (socket) => done(null, socket as never),
          (e) => done(e, null),
        );
      },
    });
    const answers = await Promise.all(
      [1, 2, 3, 4, 5, 6, 7, 8].map(async (seed) => {
        const { statusCode, body } = await client.request({ path: `/bytes?n=100000&seed=${seed}`, method: "GET" });
        const bytes = Buffer.from(await body.arrayBuffer());
        return [statusCode, createHash("sha256").update(bytes).digest("hex") === patternSha256(seed, 100_000)];
      }),
    );
    expect(answers).toEqual(Array.from({ length: 8 }, () => [200, true]));
    await client.close();
  });

  it("http.Server: the guest's curl, by listenGuest", async () => {
    const server = http.createServer((request, response) => {
      const hash = createHash("sha256");
      request.on("data", (chunk) => hash.update(chunk));
      request.on("end", () => response.end(`${request.socket.remoteAddress} ${hash.digest("hex")}`));
    });
    const listening = await net.listenGuest({ host: INSIDE, port: 80 }, (socket) => server.emit("connection", socket));
    const file = path.join(folder, "upload");
    writeFileSync(file, Buffer.alloc(BYTES, "from the guest"));
    const digest = createHash("sha256").update(readFileSync(file)).digest("hex");
    const url = `http://${INSIDE}/`;
    const { stdout } = await guest.run("curl", ["-sS", "-m", "10", "-T", file, url, "-T", file, url]);
    expect(stdout).toBe(`${GUEST} ${digest}`.repeat(2));
    const pinged = await guest.run("busybox", ["ping", "-c", "1", "-W", "2", INSIDE]);
    expect(pinged.code).toBe(0);
    listening.close();
    expect((await guest.run("curl", ["-sS", "-m", "2", url])).code).not.toBe(0);
    server.close();
  });

  it("listenGuest takes over an address outside", async () => {
    const server = http.createServer((_request, response) => response.end("not the real one"));
    await net.listenGuest({ host: "198.51.100.80", port: 80 }, (socket) => server.emit("connection", socket));
    expect((await guest.run("curl", ["-sS", "-m", "5", "http://198.51.100.80/"])).stdout).toBe("not the real one");
    server.closeAllConnections();
  });

  it("tls.connect: a handshake and a page from openssl s_server", async () => {
    const { key, cert } = certificate(folder);
    const child = guest.spawn("openssl", ["s_server", "-accept", "443", "-key", key, "-cert", cert, "-www", "-quiet"]);
    const socket = await eventually(() => net.connect({ host: GUEST, port: 443 }));
    const secure = tls.connect({ socket, servername: "guest.test", ca: readFileSync(cert) });
    await once(secure, "secureConnect");
    expect(secure.authorized).toBe(true);
    secure.write("GET / HTTP/1.0\r\n\r\n");
    expect(await text(secure)).toMatch(/^HTTP\/1\.0 200 ok.*Cipher/s);
    child.kill();
  });

  it("tls.Server: the guest's curl over TLS, by listenGuest", async () => {
    const { key, cert } = certificate(folder);
    const server = tls.createServer({ key: readFileSync(key), cert: readFileSync(cert) }, (socket) => {
      socket.once("data", () => socket.end("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nsecret"));
    });
    await net.listenGuest({ host: INSIDE, port: 443 }, (socket) => server.emit("connection", socket));
    const resolve = `guest.test:443:${INSIDE}`;
    const asked = await guest.run("curl", [
      "-sS",
      "-m",
      "5",
      "--cacert",
      cert,
      "--resolve",
      resolve,
      "https://guest.test/",
    ]);
    expect(asked).toMatchObject({ code: 0, stdout: "secret" });
    server.close();
  });

  it("ssh2: a command in the guest, and a file of megabytes back", async () => {
    const privateKey = readFileSync(startSshd(guest, folder));
    const sock = await eventually(() => net.connect({ host: GUEST, port: 22 }));
    const client = new ssh2.Client();
    client.connect({ sock, username: "root", privateKey });
    await once(client, "ready");
    const run = (command: string): Promise<string> =>
      new Promise((resolve, reject) => {
        client.exec(command, (error, channel) => (error ? reject(error) : resolve(text(channel))));
      });
    expect(await run("ip -o -4 address show tap0")).toContain(GUEST);
    expect((await run("head -c 2000000 /dev/zero | tr '\\0' x")).length).toBe(2_000_000);
    client.end();
    await once(client, "close");
  });

  it("is refused and reset as by any host", async () => {
    await expect(net.connect({ host: GUEST, port: 9 })).rejects.toMatchObject({ code: "ECONNREFUSED" });
    const socket = await net.connect({ host: GUEST, port: PORTS.reset });
    socket.write("x");
    await expect(once(socket.resume(), "close")).rejects.toMatchObject({ code: "ECONNRESET" });
  });

  it("UDP: a datagram to the guest's echo, fragments and all, and one from the guest", async () => {
    const udp = await net.bindGuestUdp({ host: INSIDE, port: 5000 });
    for (const size of [0, 1, 1472, 6000]) {
      const sent = Buffer.alloc(size, size);
      udp.send(sent, PORTS.udpEcho, GUEST);
      const [bytes, from] = await once(udp, "message");
      expect(Buffer.compare(bytes, sent)).toBe(0);
      expect(from).toEqual({ address: GUEST, port: PORTS.udpEcho, family: "IPv4", size });
    }
    udp.on("message", (bytes, from) => udp.send(`you said ${bytes}`, from.port, from.address));
    const asked = await guest.sh(`echo hi | socat -t 1 - UDP:${INSIDE}:5000`);
    expect(asked.stdout).toBe("you said hi\n");
    udp.close();
  });

  it("leaves nothing behind in the network", async () => {
    await eventually(async () => {
      const { tcpFlows } = net.stats();
      if (tcpFlows > 0) throw new Error(`${tcpFlows} connections: ${JSON.stringify(net.flows())}`);
    });
  });
});

function countOpened(net: Network): () => number {
  let opened = 0;
  net.on("flowOpen", () => opened++);
  return () => opened;
}

/** A self-signed certificate for guest.test, made once. */
function certificate(folder: string): { key: string; cert: string } {
  const key = path.join(folder, "tls.key");
  const cert = path.join(folder, "tls.crt");
  const name = ["-subj", "/CN=guest.test", "-addext", "subjectAltName=DNS:guest.test"];
  execFileSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, ...name], {
    stdio: "ignore",
  });
  return { key, cert };
}

/** A server in the guest needs a moment to listen: tries again, a bounded number of times. */
async function eventually<T>(attempt: () => Promise<T>): Promise<T> {
  for (let tries = 0; ; tries++) {
    try {
      return await attempt();
    } catch (error) {
      if (tries === 40) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}
