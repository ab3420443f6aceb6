/**
 * The DNS hosts and zones that a user sets while the network runs: names that the network answers itself, and zones
 * with resolvers of their own.
 */
import { parseDnsHost, parseDnsZone } from "../control/dns-rules.ts";
import type { ResolvedOptions } from "../control/options.ts";
import { textList } from "../control/shape.ts";
import type { CurrentLan } from "../embed/current-lan.ts";
import type { Tape } from "./tape.ts";

export class DnsAnswers {
  readonly #lan: CurrentLan;
  readonly #tape: Tape;
  #hosts: readonly string[];
  #zones: readonly string[];

  constructor(lan: CurrentLan, tape: Tape, { dnsHostLines, dnsZoneLines }: ResolvedOptions) {
    this.#lan = lan;
    this.#tape = tape;
    this.#hosts = dnsHostLines;
    this.#zones = dnsZoneLines;
  }

  hosts(): readonly string[] {
    return this.#hosts;
  }

  zones(): readonly string[] {
    return this.#zones;
  }

  /** Replaces the hosts. Throws `ConfigError`; then nothing has changed. */
  setHosts(hosts: readonly string[]): void {
    const parsed = textList("dnsHosts", hosts).map(parseDnsHost);
    this.#tape.told("dnsHosts", hosts);
    this.#lan.stack.setDnsHosts(parsed);
    this.#hosts = [...hosts];
  }

  /** Replaces the zones. Throws `ConfigError`; then nothing has changed. */
  setZones(zones: readonly string[]): void {
    const parsed = textList("dnsZones", zones).map(parseDnsZone);
    this.#tape.told("dnsZones", zones);
    this.#lan.stack.setDnsZones(parsed);
    this.#zones = [...zones];
  }
}
