/** The substitutes in an anonymous recording: of addresses, MACs, names, identifiers. */
import type { StackConfig } from "../../core/config.ts";
import type { Random } from "../../core/random.ts";
import { get16 } from "../../wire/bytes.ts";
import { Addresses } from "./addresses.ts";
import { Names } from "./names.ts";
import { bytesOf, hexOf, Substitutes } from "./substitutes.ts";

/** Types of DHCP's client identifiers: a MAC (RFC 2132 section 9.14), and an IAID with a DUID (RFC 4361). */
const HARDWARE = 1;
const IAID_DUID = 255;
/** Types of DUIDs (RFC 8415 section 11): a MAC with a time, and without. */
const DUID_LLT = 1;
const DUID_LL = 3;

export class Others {
  readonly addresses: Addresses;
  readonly names: Names;
  readonly #opaque: Substitutes;

  constructor(config: StackConfig, random: Random) {
    this.addresses = new Addresses(config, random);
    this.names = new Names(this.addresses, random);
    this.#opaque = new Substitutes(random);
  }

  /** Ends the collecting of values: from now on each has a substitute. */
  seal(): void {
    this.addresses.seal();
    this.names.seal();
    this.#opaque.seal();
  }

  /** Replaces the address of `size` bytes (4 or 16) at `at`, in place. */
  ip(buf: Uint8Array, at: number, size: number): void {
    buf.set(this.addresses.ip(buf.slice(at, at + size)), at);
  }

  /** Replaces the MAC at `at`, in place. */
  mac(buf: Uint8Array, at: number): void {
    buf.set(this.addresses.mac(buf.slice(at, at + 6)), at);
  }

  /** Replaces bytes of an identifier whose form is unknown here, in place. */
  opaque(buf: Uint8Array, at: number, end: number): void {
    if (at < end) buf.set(this.#bytes(buf.slice(at, end)), at);
  }

  clientId(id: Uint8Array): Uint8Array {
    if (id[0] === HARDWARE && id.length === 7) return Uint8Array.of(HARDWARE, ...this.addresses.mac(id.subarray(1)));
    if (id[0] === IAID_DUID && id.length > 5)
      return Uint8Array.of(IAID_DUID, ...this.#bytes(id.subarray(1, 5)), ...this.duid(id.subarray(5)));
    return Uint8Array.of(...id.subarray(0, 1), ...this.#bytes(id.subarray(1)));
  }

  duid(duid: Uint8Array): Uint8Array {
    if (duid.length < 3) return duid;
    const type = get16(duid, 0);
    const mac = duid.length - 6;
    const named = (type === DUID_LLT && mac === 8) || (type === DUID_LL && mac === 4);
    if (!named) return Uint8Array.of(...duid.subarray(0, 2), ...this.#bytes(duid.subarray(2)));
    // The gateway's DUID contains a MAC that stays.
    const time = type === DUID_LLT ? this.#bytes(duid.subarray(4, 8)) : [];
    return Uint8Array.of(...duid.subarray(0, 4), ...time, ...this.addresses.mac(duid.subarray(mac)));
  }

  /**
   * The substitute of an identifier that is written as hexadecimal digits (here), or as a number of four bytes
   * (`word`).
   */
  hex(kind: "clientId" | "duid", text: string): string {
    return hexOf(this[kind](bytesOf(text)));
  }

  word(value: number): number {
    const hex = hexOf(this.#bytes(bytesOf((value >>> 0).toString(16).padStart(8, "0"))));
    return value < 0 ? Number.parseInt(hex, 16) | 0 : Number.parseInt(hex, 16) >>> 0;
  }

  #bytes(bytes: Uint8Array): Uint8Array {
    if (bytes.length === 0) return bytes;
    return bytesOf(this.#opaque.of(hexOf(bytes), () => hexOf(bytes.map(() => this.#opaque.below(256)))));
  }
}
