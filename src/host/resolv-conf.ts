/** The host's resolvers as /etc/resolv.conf names them (resolv.conf(5)), kept up to date without a watcher or a timer. */
import { readFileSync, statSync } from "node:fs";
import { isIP } from "node:net";
import type { Endpoint } from "../core/address.ts";

const DNS_PORT = 53;
/** The C library's limit (MAXNS); it ignores further `nameserver` lines. */
const MAX_SERVERS = 3;
const LOOK_EVERY_MS = 1000;

/** The `nameserver` lines with an IP address, in order. Scope ids ("fe80::1%eth0") stay on. */
export function parseResolvConf(text: string): Endpoint[] {
  const servers: Endpoint[] = [];
  for (const line of text.split("\n")) {
    const [keyword, host] = line.trim().split(/\s+/);
    if (keyword !== "nameserver" || host === undefined || isIP(host) === 0) continue;
    if (servers.push({ host, port: DNS_PORT }) === MAX_SERVERS) break;
  }
  return servers;
}

/** One file, checked when its servers are asked for, at most once a second, and read again when it has changed. */
export class ResolvConf {
  readonly #path: string;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #version = "";
  #servers: readonly Endpoint[] = [];

  constructor(path: string) {
    this.#path = path;
  }

  /**
   * The servers at time `now` (milliseconds): the same array as before if nothing has changed; empty without a file.
   */
  servers(now: number): readonly Endpoint[] {
    if (now - this.#lookedAt < LOOK_EVERY_MS) return this.#servers;
    this.#lookedAt = now;
    const version = this.#look();
    if (version === this.#version) return this.#servers;
    this.#version = version;
    this.#servers = version === "" ? [] : this.#read();
    return this.#servers;
  }

  /**
   * A version of the file's content. VPN clients replace the file, editors may keep its size, and some tools its time.
   */
  #look(): string {
    try {
      const s = statSync(this.#path, { bigint: true });
      return `${s.dev}:${s.ino}:${s.size}:${s.mtimeNs}`;
    } catch {
      return "";
    }
  }

  #read(): readonly Endpoint[] {
    try {
      return parseResolvConf(readFileSync(this.#path, "utf8"));
    } catch (error) {
      // The file has gone or become unreadable since we looked: the next look finds out.
      this.#version = "";
      // Descriptors are missing: it is not known whether the file has changed.
      const { code } = error as NodeJS.ErrnoException;
      return code === "EMFILE" || code === "ENFILE" ? this.#servers : [];
    }
  }
}
