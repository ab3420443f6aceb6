/**
 * Ports on which this process itself listens for its owner: the control API, the sockets that guests' cables come in
 * by, the SOCKS server. A guest that dials one of them, at whatever address of the host, would speak with its own
 * jailer; it is told that nobody listens there. So are those who send datagrams to the port of an uplink's other end:
 * they would arrive there as from us. That machine may have any number of addresses, so the port is closed at all.
 *
 * Other processes of this user are jailers, too, of guests that may be each other's enemies: each leaves the ports that it
 * holds in a file for the others (`port-registry`).
 *
 * A machine answers at more addresses than its interfaces have, where a route says so (`routed-here`). That is asked for
 * ports that are held only.
 */
import { networkInterfaces } from "node:os";
import { addressFromText } from "../core/address.ts";
import { ipv4ToString } from "../wire/ipv4.ts";
import { embedded4 } from "../wire/ipv6-embedded.ts";
import { isInspectorPort } from "./inspector-port.ts";
import { type PortRegistry, sharedRegistry } from "./port-registry.ts";
import { isRoutedHere } from "./routed-here.ts";

/** How long the list of the host's addresses is trusted. */
const FRESH_MILLIS = 1000;
/** Other hosts of which it is known meanwhile whether they are this one. */
const MOST_KNOWN = 4_096;

export class OwnPorts {
  /** How often each port is held. */
  readonly #ports: Map<number, number> = new Map();
  /** The same for the ports of uplinks' other ends. */
  readonly #ends: Map<number, number> = new Map();
  readonly #registry: PortRegistry;
  #addresses: ReadonlySet<string> = new Set();
  #readAt: number = Number.NEGATIVE_INFINITY;
  /** Whether a host without an interface here is this one, as long as the addresses are trusted. */
  readonly #routed: Map<string, boolean> = new Map();
  readonly #routedHere: (host: string) => boolean;

  /** `registry` is shared by the networks of this process; `routedHere` tells whether a route makes an address ours. */
  constructor(registry: PortRegistry = sharedRegistry(), routedHere: (host: string) => boolean = isRoutedHere) {
    this.#registry = registry;
    this.#routedHere = routedHere;
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
    return this.#ports.has(port) || this.#registry.has(port) || isInspectorPort(port);
  }

  /** Whether `host` is this machine and the port closed. */
  has(host: string, port: number): boolean {
    return this.holds(port) && this.#isThisHost(host);
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
      this.#routed.clear();
    }
    return this.#addresses.has(plain) || this.#isRoutedHere(plain);
  }

  #isRoutedHere(plain: string): boolean {
    let here = this.#routed.get(plain);
    if (here !== undefined) return here;
    here = this.#routedHere(plain);
    if (this.#routed.size >= MOST_KNOWN) this.#routed.clear();
    this.#routed.set(plain, here);
    return here;
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
