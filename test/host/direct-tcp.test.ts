/** Connections that the C library reads and writes, and what they become. The compliance suite has the rest. */
import net from "node:net";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { HostTcp, HostTcpEvents } from "../../src/core/host-net.ts";
import { libc } from "../../src/host/libc.ts";
import { NodeRig } from "./node-rig.ts";
import type { Far } from "./rig.ts";

const MEBIBYTE = 1_048_576;

class Near implements HostTcpEvents {
  readonly log: string[] = [];
  bytes = 0;
  tcp!: HostTcp;

  onConnect(): void {
    this.log.push("connect");
    this.tcp.resume();
  }
  onData(_bytes: Uint8Array, _at: number, len: number): void {
    this.bytes += len;
  }
  onEnd(): void {
    this.log.push("end");
  }
  onDrain(): void {}
  onClose(code: string | null): void {
    this.log.push(`close ${code}`);
  }
}

function slab(bytes: Uint8Array): { bytes: Uint8Array; scarce: boolean; pin(): void; unpin(): void } {
  return { bytes, scarce: false, pin() {}, unpin() {} };
}

describe.skipIf(libc() === null)(
  `connections without Node's sockets${libc() === null ? " (SKIPPED: koffi)" : ""}`,
  () => {
    let rig: NodeRig;
    beforeEach(() => {
      rig = new NodeRig();
    });
    afterEach(() => rig.close());

    async function connection(): Promise<[Near, HostTcp, Far]> {
      const to = await rig.serve();
      const near = new Near();
      near.tcp = rig.net.connectTcp(to.at, near);
      await rig.until(() => to.far.length === 1 && near.log.length === 1);
      return [near, near.tcp, to.far[0]!];
    }

    it("a request and its answer need none", async () => {
      // The first one of a process looks for the class of Node's handles.
      (await connection())[1].reset();
      const connect = vi.spyOn(net.Socket.prototype, "connect");
      const [near, tcp, far] = await connection();
      tcp.write(slab(Buffer.from("request")), 0, 7);
      await rig.until(() => far.received.length === 7);
      far.send("answer");
      far.end();
      tcp.end();
      await rig.until(() => near.log.length === 3);
      expect(near.bytes).toBe(6);
      expect(near.log).toEqual(["connect", "end", "close null"]);
      expect(connect).not.toHaveBeenCalled();
      connect.mockRestore();
    });

    it("much that comes after our FIN comes whole, and the end after it", async () => {
      const [near, tcp, far] = await connection();
      tcp.end();
      await rig.until(() => far.ended);
      far.send(Buffer.alloc(8 * MEBIBYTE));
      far.end();
      await rig.until(() => near.log.length === 3);
      expect(near.bytes).toBe(8 * MEBIBYTE);
      expect(near.log).toEqual(["connect", "end", "close null"]);
    });

    it("much that is written after the far end's FIN arrives, and the FIN is told once", async () => {
      const [near, tcp, far] = await connection();
      far.end();
      await rig.until(() => near.log.includes("end"));
      far.stall();
      tcp.write(slab(new Uint8Array(8 * MEBIBYTE)), 0, 8 * MEBIBYTE);
      expect(tcp.backlog).toBeGreaterThan(0);
      tcp.end();
      far.unstall();
      await rig.until(() => near.log.length === 3);
      await rig.until(() => far.ended);
      expect(far.received.length).toBe(8 * MEBIBYTE);
      expect(near.log).toEqual(["connect", "end", "close null"]);
    });

    it("what is written when the far end has reset ends it, once", async () => {
      const [near, tcp, far] = await connection();
      tcp.pause();
      far.reset();
      await rig.until(() => far.closed !== undefined);
      tcp.write(slab(Buffer.from("x")), 0, 1);
      tcp.write(slab(Buffer.from("y")), 0, 1);
      expect(near.log).toEqual(["connect"]);
      await rig.until(() => near.log.length === 2);
      expect(near.log[1]).toMatch(/^close (ECONNRESET|EPIPE)$/);
      tcp.reset();
    });

    it("one that is reset from within its last bytes is over", async () => {
      const [near, tcp, far] = await connection();
      near.onData = () => tcp.reset();
      far.send(Buffer.alloc(MEBIBYTE));
      await rig.until(() => far.closed !== undefined);
      expect(near.log).toEqual(["connect"]);
    });
  },
);
