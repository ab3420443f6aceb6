/** Far ends on real sockets, in this process, on the loopback. */

import { execFileSync } from "node:child_process";
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import net from "node:net";
import type { Endpoint, UnixEndpoint } from "../../src/core/host-net.ts";
import { NodeHostNet, type NodeHostNetOptions } from "../../src/host/net.ts";
import { HostRandom } from "../../src/host/random.ts";
import type { Far, FarUdp, Rig } from "./rig.ts";

const PATIENCE_MS = 10_000;
/** Turns of the event loop that anything on the loopback needs at the most. */
const QUIET_TURNS = 30;

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

let pings: boolean | undefined;

/** Whether this machine lets us ping its loopback by any means. */
function pingWorks(): boolean {
  if (pings === undefined) {
    try {
      execFileSync("ping", ["-c", "1", "-W", "1", "127.0.0.1"], { stdio: "ignore" });
      pings = true;
    } catch {
      pings = false;
    }
  }
  return pings;
}

class NodeFar implements Far {
  readonly socket: net.Socket;
  readonly #chunks: Buffer[] = [];
  ended = false;
  closed: string | null | undefined = undefined;

  constructor(socket: net.Socket) {
    this.socket = socket;
    socket.on("data", (chunk) => this.#chunks.push(chunk));
    socket.on("end", () => {
      // libuv takes a RST behind bytes for an end; but there is no peer any more.
      if (!socket.writableEnded && socket.remotePort === undefined) this.closed = "ECONNRESET";
      else this.ended = true;
    });
    socket.on("error", (error: NodeJS.ErrnoException) => {
      this.closed = error.code ?? "EIO";
    });
    socket.on("close", () => {
      this.closed ??= null;
    });
  }

  get received(): Uint8Array {
    if (this.#chunks.length > 1) this.#chunks.splice(0, this.#chunks.length, Buffer.concat(this.#chunks));
    return this.#chunks[0] ?? new Uint8Array(0);
  }

  send(bytes: Uint8Array | string): void {
    this.socket.write(bytes);
  }

  end(): void {
    this.socket.end();
  }

  reset(): void {
    this.socket.resetAndDestroy();
  }

  stall(): void {
    this.socket.pause();
  }

  unstall(): void {
    this.socket.resume();
  }
}

class NodeFarUdp implements FarUdp {
  readonly at: Endpoint;
  readonly received: { bytes: Uint8Array; from: Endpoint }[] = [];
  readonly socket: UdpSocket;

  constructor(socket: UdpSocket) {
    this.socket = socket;
    const { address: host, port } = socket.address();
    this.at = { host, port };
    socket.on("message", (bytes, from) => this.received.push({ bytes, from: { host: from.address, port: from.port } }));
  }

  send(bytes: Uint8Array | string, to: Endpoint): void {
    this.socket.send(bytes, to.port, to.host);
  }
}

export class NodeRig implements Rig {
  readonly net: NodeHostNet;
  /** Nobody listens on port 1, TCPMUX. */
  readonly refused: Endpoint = { host: "127.0.0.1", port: 1 };
  /** TCP does not broadcast (ENETUNREACH); UDP asks for permission first (EACCES). */
  readonly unreachable: Endpoint = { host: "255.255.255.255", port: 9 };
  readonly echoes: string | null = pingWorks() ? "127.0.0.1" : null;
  readonly #servers: net.Server[] = [];
  readonly #far: NodeFar[] = [];
  readonly #udp: NodeFarUdp[] = [];

  constructor(options: Partial<NodeHostNetOptions> = {}) {
    this.net = new NodeHostNet({ random: new HostRandom(), ...options });
  }

  async serve(): Promise<{ at: Endpoint; far: readonly Far[] }> {
    const far: NodeFar[] = [];
    const server = net.createServer({ allowHalfOpen: true }, (socket) => {
      const one = new NodeFar(socket);
      far.push(one);
      this.#far.push(one);
    });
    this.#servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return { at: { host: "127.0.0.1", port: (server.address() as net.AddressInfo).port }, far };
  }

  dial(at: Endpoint | UnixEndpoint): NodeFar {
    const to = "path" in at ? { path: at.path } : { host: at.host, port: at.port };
    const far = new NodeFar(net.connect({ ...to, allowHalfOpen: true }));
    this.#far.push(far);
    return far;
  }

  async udpFar(): Promise<NodeFarUdp> {
    const socket = createSocket("udp4");
    await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
    const far = new NodeFarUdp(socket);
    this.#udp.push(far);
    return far;
  }

  async until(holds: () => boolean): Promise<void> {
    const deadline = performance.now() + PATIENCE_MS;
    while (!holds()) {
      if (performance.now() > deadline) throw new Error(`it never came to: ${holds}`);
      await turn();
    }
  }

  async quiet(): Promise<void> {
    for (let i = 0; i < QUIET_TURNS; i++) await turn();
  }

  /** Leaves so many sockets behind whose connections have ended in order. */
  async useSockets(count: number): Promise<void> {
    const { at, far } = await this.serve();
    let closed = 0;
    for (let i = 0; i < count; i++) {
      const events = { onConnect() {}, onData() {}, onEnd() {}, onDrain() {}, onClose: () => void closed++ };
      const tcp = this.net.connectTcp(at, events);
      tcp.resume();
      tcp.end();
    }
    await this.until(() => far.length === count);
    for (const one of far) one.end();
    await this.until(() => closed === count);
    await this.close();
    await this.quiet();
  }

  handles(): number {
    return process.getActiveResourcesInfo().filter((kind) => /TCP|UDP|Connect|Shutdown|Write/.test(kind)).length;
  }

  async close(): Promise<void> {
    for (const server of this.#servers.splice(0)) server.close();
    for (const far of this.#far.splice(0)) far.socket.destroy();
    for (const far of this.#udp.splice(0)) far.socket.close();
  }
}
