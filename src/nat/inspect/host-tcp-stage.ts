/**
 * One link of the chain between a flow and its host socket. Calls that it does not override reach the next link
 * unchanged.
 */
import { type Endpoint, type HostTcp, writeRuns } from "../../core/host-net.ts";
import type { Slab } from "../../core/link.ts";

export class HostTcpStage implements HostTcp {
  /** The next link towards the host. Set before anything is called. */
  socket!: HostTcp;

  get backlog(): number {
    return this.socket.backlog;
  }

  get windowCap(): number {
    return this.socket.windowCap ?? Number.POSITIVE_INFINITY;
  }

  get local(): Endpoint | null {
    return this.socket.local;
  }

  write(slab: Slab, at: number, len: number): void {
    this.socket.write(slab, at, len);
  }

  writeMany(slab: Slab, at: Int32Array, len: Int32Array, count: number): void {
    writeRuns(this.socket, slab, at, len, count);
  }

  end(): void {
    this.socket.end();
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  reset(code?: string): void {
    this.socket.reset(code);
  }
}
