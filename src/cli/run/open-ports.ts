/**
 * `-p auto`: forwards a port of the host's 127.0.0.1 to each port on which the command listens, under the same number
 * and for as long as the command listens. The ports are read from the command's `/proc/PID/net` every `LOOK_MILLIS`.
 * Only TCP, and only ports that listen on all addresses or on the network's own: the command's loopback is not an
 * address in the network.
 */
import fs from "node:fs";
import type { Logger } from "../../control/log.ts";
import { reasonOf } from "../../host/reason.ts";
import type { Network } from "../../network.ts";

const LOOK_MILLIS = 250;
const LISTENING = "0A";
/** How many forwards may be open in this way. */
const MOST = 256;

export class OpenPorts implements Disposable {
  readonly #network: Network;
  readonly #log: Logger;
  readonly #pid: number;
  readonly #timer: NodeJS.Timeout;
  /**
   * Closes the forward of each port. Null for a port that could not be opened, as long as the command listens on it.
   */
  readonly #open: Map<number, AbortController | null> = new Map();
  #looking = false;

  constructor(network: Network, pid: number, log: Logger) {
    this.#network = network;
    this.#pid = pid;
    this.#log = log;
    this.#timer = setInterval(() => void this.#look(), LOOK_MILLIS);
    this.#timer.unref();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    const listening = this.#listening();
    for (const [port, open] of this.#open) {
      if (listening.has(port)) continue;
      open?.abort();
      this.#open.delete(port);
      if (open !== null) this.#log.info(`port ${port} closed`);
    }
    for (const port of listening) {
      if (this.#open.has(port) || this.#open.size >= MOST) continue;
      const closing = new AbortController();
      try {
        await this.#network.publish(`127.0.0.1:${port}:${port}`, { signal: closing.signal });
        this.#open.set(port, closing);
        this.#log.info(`port ${port} open at 127.0.0.1`);
      } catch (error) {
        this.#open.set(port, null);
        this.#log.warn(`port ${port} cannot be opened: ${reasonOf(error)}`);
      }
    }
    this.#looking = false;
  }

  #listening(): Set<number> {
    const ports = new Set<number>();
    for (const file of ["tcp", "tcp6"]) {
      let text = "";
      try {
        text = fs.readFileSync(`/proc/${this.#pid}/net/${file}`, "latin1");
      } catch {
        // The process has ended, or the kernel has no IPv6.
      }
      for (const line of text.split("\n").slice(1)) {
        const [, local = "", , state] = line.trim().split(/\s+/);
        const [address = "", port = ""] = local.split(":");
        if (state === LISTENING && !isLoopback(address)) ports.add(Number.parseInt(port, 16));
      }
    }
    return ports;
  }
}

/** Reads an address as the kernel prints it: words in the processor's byte order, which is little-endian here. */
function isLoopback(address: string): boolean {
  if (address.length === 8) return address.endsWith("7F");
  return address === "00000000000000000000000001000000" || /^0{16}FFFF0000.{6}7F$/.test(address);
}
