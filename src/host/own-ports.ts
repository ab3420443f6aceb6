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
  /** How often each port is held. */
  readonly #ports: Map<number, number> = new Map();
  /** By port, how often each host is. */
  readonly #ends: Map<number, Map<string, number>> = new Map();
  #addresses: ReadonlySet<string> = new Set();
  #readAt: number = Number.NEGATIVE_INFINITY;

  /** From now on the port is closed to guests. Returns what ends that. */
  protect(port: number): () => void {
    return hold(this.#ports, port);
  }

  /** From now on that place of another machine is closed to guests. Returns what ends that. */
  protectEnd(host: string, port: number): () => void {
    const hosts = this.#ends.get(port) ?? new Map<string, number>();
    this.#ends.set(port, hosts);
    return hold(hosts, host);
  }

  /** Whether the port is one of ours, at whatever address. */
  holds(port: number): boolean {
    return this.#ports.has(port);
  }

  /** Whether `host` is this machine and the port one of ours, or they are another's that is closed. */
  has(host: string, port: number): boolean {
    if (this.#ends.size > 0 && this.#ends.get(port)?.has(host)) return true;
    return this.#ports.size > 0 && this.holds(port) && this.#isThisHost(host);
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

/** One more that holds `key`. Returns what lets it go, once. */
function hold<K>(counts: Map<K, number>, key: K): () => void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
  let held = true;
  return () => {
    if (!held) return;
    held = false;
    const left = counts.get(key)! - 1;
    if (left === 0) counts.delete(key);
    else counts.set(key, left);
  };
}
