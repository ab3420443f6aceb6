/**
 * Ports on which this process listens for its owner: the control API, cables that guests come in by, the SOCKS server.
 * A guest that dialled one of them, at whatever address of the host, would reach the process that confines it; so it is
 * refused as if nobody listened. The UDP port of an uplink's other end is closed, too, because datagrams from this host
 * would be taken for the uplink's frames. That machine may have any number of addresses, so the port is closed at all
 * addresses.
 *
 * Other processes of this user confine guests, too, and those may be enemies of ours. Each process leaves the ports
 * that it holds in a file for the others (`port-registry`).
 *
 * A route may give this machine addresses that none of its interfaces has (`routed-here`). They are checked only for
 * ports that are held.
 */
import { networkInterfaces } from "node:os";
import { addressFromText } from "../core/address.ts";
import { ipv4ToString } from "../wire/ipv4.ts";
import { embedded4 } from "../wire/ipv6-embedded.ts";
import { isInspectorPort } from "./inspector-port.ts";
import { type PortRegistry, sharedRegistry } from "./port-registry.ts";
import { isRoutedHere } from "./routed-here.ts";

/** How many milliseconds the list of the host's addresses is trusted. */
const FRESH_MILLIS = 1000;
/** For how many hosts it is remembered whether a route makes them this machine. */
const MOST_KNOWN = 4_096;

export class OwnPorts {
  /** How often each port is held. */
  readonly #ports: Map<number, number> = new Map();
  /** How often each port of an uplink's other end is held. */
  readonly #ends: Map<number, number> = new Map();
  readonly #registry: PortRegistry;
  /** What ends each hold that others have been told of. */
  readonly #told: Set<() => void> = new Set();
  #addresses: ReadonlySet<string> = new Set();
  #readAt: number = Number.NEGATIVE_INFINITY;
  /** Whether a host that no interface has is this machine, for as long as the list of addresses is trusted. */
  readonly #routed: Map<string, boolean> = new Map();
  readonly #routedHere: (host: string) => boolean;

  /** `registry` is shared by the networks of this process; `routedHere` tells whether a route makes an address ours. */
  constructor(registry: PortRegistry = sharedRegistry(), routedHere: (host: string) => boolean = isRoutedHere) {
    this.#registry = registry;
    this.#routedHere = routedHere;
  }

  /** Closes the port to guests. Returns a function that ends that. */
  protect(port: number): () => void {
    const told = this.#registry.add(port);
    this.#told.add(told);
    const held = hold(this.#ports, port);
    return () => {
      told();
      this.#told.delete(told);
      held();
    };
  }

  /** The network has ended: others need not know of its ports any more. */
  close(): void {
    for (const told of this.#told) told();
    this.#told.clear();
  }

  /** Closes the UDP port to guests on every machine. Returns a function that ends that. */
  protectEnd(port: number): () => void {
    return hold(this.#ends, port);
  }

  /** Whether this process, or another of this user's, holds the port, at whatever address. */
  holds(port: number): boolean {
    return this.#ports.has(port) || this.#registry.has(port) || isInspectorPort(port);
  }

  /** Whether `host` is this machine and the port is closed. */
  has(host: string, port: number): boolean {
    return this.holds(port) && this.#isThisHost(host);
  }

  /** The same for datagrams, which may not go to an uplink's other end either. */
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

/** Counts one more holder of `key`. Returns a function that releases it, once. */
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
