/** DPDK's virtio_user, a driver and front end that is nobody's we know: its testpmd answers ARP and sends datagrams back. */
import { type ChildProcess, spawn } from "node:child_process";
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { createNetwork, type Network } from "../../src/index.ts";
import { frame } from "../attach/recorder.ts";
import { expectReplays, recordingIn } from "../support/e2e/recorded.ts";
import { describeE2e, LIBSLIRP } from "../support/e2e/requirements.ts";

const DATAGRAMS = 200;
/** From a few bytes to what fills Ethernet's packets. */
const sizeOf = (i: number): number => 18 + ((i * 397) % 1_455);

describeE2e("DPDK's virtio_user, recorded,", ["dpdk-testpmd"], () => {
  if (LIBSLIRP) return it.skip("is no part of libslirp", () => {});
  let folder: string;
  let net: Network;
  let client: Socket;
  let testpmd: ChildProcess;
  let said = "";
  const answers = new Map<number, Uint8Array>();
  const says = (text: string): Promise<boolean> => vi.waitUntil(() => said.includes(text), { timeout: 30_000 });

  /** Rings of these features, on which testpmd answers ARP. */
  async function start(features: string): Promise<void> {
    const socket = path.join(folder, "vhost.sock");
    const device = `net_virtio_user0,path=${socket},server=0,queues=1,mac=52:54:00:e2:e0:09,${features}`;
    // Its memory is a memfd then, which it can share; and it asks for no other's files.
    const eal = [
      "--no-huge",
      "-m",
      "128",
      "--no-pci",
      "--no-telemetry",
      "--no-shconf",
      "--file-prefix",
      path.basename(folder),
    ];
    const driver = ["--lcores", "0@0,1@0", "-d", "librte_net_virtio.so", "--vdev", device];
    said = "";
    testpmd = spawn("stdbuf", [
      "-oL",
      "dpdk-testpmd",
      ...eal,
      ...driver,
      "--",
      "-i",
      "--total-num-mbufs=2048",
      "--forward-mode=icmpecho",
      "--auto-start",
    ]);
    for (const stream of [testpmd.stdout!, testpmd.stderr!])
      stream.on("data", (piece) => {
        said += piece;
      });
    await says("icmpecho packet forwarding");
  }

  async function stop(): Promise<void> {
    if (testpmd.exitCode !== null || testpmd.signalCode !== null) return;
    testpmd.kill("SIGKILL");
    await once(testpmd, "exit");
  }

  /** What comes back for a datagram, by the number that it begins with; sent again when it takes long. */
  async function echoed(number: number, bytes: Uint8Array): Promise<Uint8Array | null> {
    bytes.set([number >> 8, number]);
    for (let tries = 0; tries < 5; tries++) {
      const sent = performance.now();
      client.send(bytes);
      while (!answers.has(number) && performance.now() < sent + 1_000) await new Promise(setImmediate);
      if (answers.has(number)) break;
    }
    return answers.get(number) ?? null;
  }

  beforeAll(async () => {
    folder = mkdtempSync(path.join(tmpdir(), "tslirp-dpdk-"));
    net = await createNetwork({
      hostfwd: ["udp:127.0.0.1:0-:9"],
      record: { file: recordingIn(folder), payload: false },
    });
    await net.listen({ vhostUser: path.join(folder, "vhost.sock") });
    const { port } = net.forwards()[0]!.address as { port: number };
    client = createSocket("udp4");
    client.on("message", (bytes) => void answers.set(bytes.readUInt16BE(0), bytes));
    client.connect(port, "127.0.0.1");
    await once(client, "connect");
  });
  afterAll(async () => {
    await stop();
    client?.close();
    await net?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it.each(["mrg_rxbuf=1,in_order=0", "mrg_rxbuf=0,in_order=1"])(
    "is asked for its address, and sends all datagrams back as they were: %s",
    async (features) => {
      answers.clear();
      const before = net.stats().framesIn;
      await start(features);
      // The first datagram waits for the answer to an ARP request, and is not sent back.
      client.send("who has it");
      await vi.waitUntil(() => net.stats().framesIn > before, { timeout: 10_000 });
      testpmd.stdin!.write("stop\nset fwd 5tswap\nstart\n");
      await says("5tswap packet forwarding");
      for (let i = 0; i < DATAGRAMS; i++) {
        const bytes = frame(sizeOf(i), i);
        const back = await echoed(i, bytes);
        expect(back === null ? -1 : Buffer.compare(back, bytes), `datagram ${i}`).toBe(0);
      }
      await stop();
    },
    60_000,
  );

  it("replays without a difference", async () => {
    await net.close();
    await expectReplays(folder, "dpdk-virtio-user");
  });
});
