/**
 * Ports on which this process itself listens for its owner: the control API, the sockets that guests' cables come in
 * by, the SOCKS server. A guest that dials one of them, at whatever address of the host, would speak with its own
 * jailer; it is told that nobody listens there. So are those who send datagrams to an uplink's other end: they would
 * arrive there as from us.
 */
import { networkInterfaces } from "node:os";

/** How long the list of the host's addresses is trusted. */
const FRESH_MILLIS = 1000;

export class OwnPorts {
  readonly #ports: Map<number, number> = new Map();
  /** By port. */
  readonly #ends: Map<number, Set<string>> = new Map();
  #addresses: ReadonlySet<string> = new Set();
  #readAt: number = Number.NEGATIVE_INFINITY;

  /** From now on the port is closed to guests. Returns what ends that. */
  protect(port: number): () => void {
    this.#ports.set(port, (this.#ports.get(port) ?? 0) + 1);
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      const left = this.#ports.get(port)! - 1;
      if (left === 0) this.#ports.delete(port);
      else this.#ports.set(port, left);
    };
  }

  /** From now on that place of another machine is closed to guests. Returns what ends that. */
  protectEnd(host: string, port: number): () => void {
    const hosts = this.#ends.get(port) ?? new Set();
    this.#ends.set(port, hosts.add(host));
    return () => void hosts.delete(host);
  }

  /** Whether `host` is this machine and the port one of ours, or they are another's that is closed. */
  has(host: string, port: number): boolean {
    if (this.#ends.size > 0 && this.#ends.get(port)?.has(host)) return true;
    return this.#ports.size > 0 && this.#ports.has(port) && this.#isThisHost(host);
  }

  #isThisHost(host: string): boolean {
    const plain = host.startsWith("::ffff:") ? host.slice(7) : host;
    if (plain.startsWith("127.") || plain === "::1" || plain === "::" || plain === "0.0.0.0") return true;
    const now = performance.now();
    if (now - this.#readAt > FRESH_MILLIS) {
      this.#readAt = now;
      const all = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
      this.#addresses = new Set(all.map((each) => each.address));
    }
    return this.#addresses.has(plain);
  }
}
