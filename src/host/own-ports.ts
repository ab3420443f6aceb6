/**
 * Ports on which this process itself listens for its owner: the control API, the sockets that guests' cables come in
 * by, the SOCKS server. A guest that dials one of them, at whatever address of the host, would speak with its own
 * jailer; it is told that nobody listens there. So are those who send datagrams to the port of an uplink's other end:
 * they would arrive there as from us. That machine may have any number of addresses, so the port is closed at all.
 *
 * Other processes of this user are jailers, too, of guests that may be each other's enemies: each leaves the ports that it
 * holds in a file for the others (`port-registry`).
 */
import { networkInterfaces } from "node:os";
import { addressFromText } from "../core/address.ts";
import { ipv4ToString } from "../wire/ipv4.ts";
import { embedded4 } from "../wire/ipv6-embedded.ts";
import { type PortRegistry, sharedRegistry } from "./port-registry.ts";

/** How long the list of the host's addresses is trusted. */
const FRESH_MILLIS = 1000;

export class OwnPorts {
  /** How often each port is held. */
  readonly #ports: Map<number, number> = new Map();
  /** The same for the ports of uplinks' other ends. */
  readonly #ends: Map<number, number> = new Map();
  readonly #registry: PortRegistry;
  #addresses: ReadonlySet<string> = new Set();
  #readAt: number = Number.NEGATIVE_INFINITY;

  /** `registry` is shared by the networks of this process. */
  constructor(registry: PortRegistry = sharedRegistry()) {
    this.#registry = registry;
  }

  /** From now on the port is closed to guests. Returns what ends that. */
  protect(port: number): () => void {
    const told = this.#registry.add(port);
    const held = hold(this.#ports, port);
    return () => {
      told();
      held();
    };
  }

  /** From now on the UDP port is closed to guests on every machine. Returns what ends that. */
  protectEnd(port: number): () => void {
    return hold(this.#ends, port);
  }

  /** Whether the port is one of ours, or of another process of this user's, at whatever address. */
  holds(port: number): boolean {
    return this.#ports.has(port) || this.#registry.has(port);
  }

  /** Whether `host` is this machine and the port closed. */
  has(host: string, port: number): boolean {
    return this.#isThisHost(host) && this.holds(port);
  }

  /** The same of datagrams, which may not go to an uplink's other end either. */
  hasUdp(host: string, port: number): boolean {
    return (this.#ends.size > 0 && this.#ends.has(port)) || this.has(host, port);
  }

  #isThisHost(host: string): boolean {
    const { family, bytes } = addressFromText(host);
    return this.#isOwn(host) || (family === 6 && embedded4(bytes).some((ip) => this.#isOwn(ipv4ToString(ip))));
  }

  #isOwn(plain: string): boolean {
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
