/** Datagrams between a guest and the world: fragments in any order, the longest there is, and those that must not leave. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, expect, it } from "vitest";
import { agent } from "../support/e2e/agent.ts";
import { describeE2e, LIBSLIRP } from "../support/e2e/requirements.ts";
import { OUTSIDE, Rig } from "../support/e2e/rig.ts";
import { decodeFrame, encodeFrame, type Frame } from "../support/frames.ts";

const GATEWAY_MAC = "52:55:0a:00:02:02";
const MAC = "52:54:00:e2:e0:77";
const IP = "10.0.2.77";
const PIECE = 1480;

/** A guest that is nothing but its frames. */
class RawGuest {
  readonly frames: Frame[] = [];
  readonly #socket: Socket;
  #rest: Buffer = Buffer.alloc(0);

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (bytes) => {
      this.#rest = Buffer.concat([this.#rest, bytes]);
      while (this.#rest.length >= 4 && this.#rest.length >= 4 + this.#rest.readUInt32BE(0)) {
        const end = 4 + this.#rest.readUInt32BE(0);
        this.frames.push(decodeFrame(new Uint8Array(this.#rest.subarray(4, end))));
        this.#rest = this.#rest.subarray(end);
      }
    });
  }

  static async join(path: string): Promise<RawGuest> {
    const socket = connect(path);
    await once(socket, "connect");
    return new RawGuest(socket);
  }

  send(frame: Uint8Array): void {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(frame.length);
    this.#socket.write(Buffer.concat([length, frame]));
  }

  close(): void {
    this.#socket.destroy();
  }
}

describeE2e("datagrams", ["socat", "tcpdump"], () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.online();
  });
  afterAll(() => rig?.close());

  // libslirp serves one cable at a time, and loses such a datagram.
  it.skipIf(LIBSLIRP)("6 kB whose fragments come in reversed order are echoed", async () => {
    const guest = await RawGuest.join(rig.backend.socketPath);
    const data = Uint8Array.from({ length: 6_000 }, (_, i) => (i * 7) & 255);
    const udp = Buffer.concat([Buffer.alloc(8), data]);
    udp.writeUInt16BE(1000, 0);
    udp.writeUInt16BE(rig.services.ports.udpEcho, 2);
    udp.writeUInt16BE(udp.length, 4);
    for (let offset = Math.floor(udp.length / PIECE) * PIECE; offset >= 0; offset -= PIECE) {
      const mf = offset + PIECE < udp.length;
      const ip = { src: IP, dst: OUTSIDE, proto: 17, id: 7, df: false, mf, offset };
      const payload = new Uint8Array(udp.subarray(offset, offset + PIECE));
      guest.send(encodeFrame({ eth: { src: MAC, dst: GATEWAY_MAC }, ip, payload }));
    }
    const back = (): Frame[] => guest.frames.filter((frame) => frame.ip?.dst === IP);
    await expect.poll(() => back().some((frame) => !frame.ip!.mf), { timeout: 5_000 }).toBe(true);
    const all = Buffer.concat(back().map((frame) => frame.payload));
    expect(all.subarray(8)).toEqual(Buffer.from(data));
    expect(back().every((frame) => frame.ip!.length <= 1500)).toBe(true);
    guest.close();
  });

  it("the longest datagram there is comes back", async () => {
    const sizes = [20_000, 65_507];
    expect(await agent(rig.guest, "udpEcho", { host: OUTSIDE, port: rig.services.ports.udpEcho, sizes })).toEqual({
      sizes,
    });
  });

  it("broadcasts, mDNS and SSDP do not reach the host's network (nor do libslirp's)", async () => {
    const filter = "udp and (dst port 9999 or dst port 5353 or dst port 1900)";
    const dump = rig.host.spawn("tcpdump", ["-i", "any", "-n", "-l", filter], { stdio: ["ignore", "pipe", "pipe"] });
    let seen = "";
    dump.stdout?.on("data", (piece) => {
      seen += piece;
    });
    await once(dump.stderr!, "data");
    const say = (line: string): Promise<unknown> => rig.guest.sh(`echo hello | socat -u - ${line}`);
    await say("UDP4-DATAGRAM:255.255.255.255:9999,broadcast");
    await say("UDP4-DATAGRAM:224.0.0.251:5353,ip-multicast-ttl=255");
    await say("UDP4-DATAGRAM:239.255.255.250:1900,ip-multicast-ttl=4");
    await say(`UDP4-DATAGRAM:${OUTSIDE}:9999`);
    await expect.poll(() => seen, { timeout: 5_000 }).toContain(`> ${OUTSIDE}.9999`);
    expect(seen).not.toMatch(/> (255\.255\.255\.255|224\.|239\.)/);
    dump.kill();
  });
});
