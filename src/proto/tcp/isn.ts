import type { IpAddress } from "../../core/address.ts";
import type { Random } from "../../core/random.ts";
import { halfSipHash } from "../../core/siphash.ts";
import { get32 } from "../../wire/bytes.ts";

/**
 * Initial sequence numbers (RFC 6528): a clock that ticks every 4 microseconds, plus a keyed hash of the four-tuple
 * (HalfSipHash-2-4 with a 64-bit secret drawn once per network).
 */
export class IsnGenerator {
  readonly #k0: number;
  readonly #k1: number;

  constructor(random: Random) {
    this.#k0 = random.u32() | 0;
    this.#k1 = random.u32() | 0;
  }

  /** `now` in milliseconds; both addresses are of one family. */
  next(local: IpAddress, localPort: number, remote: IpAddress, remotePort: number, now: number): number {
    const ticks = Math.floor(now * 250) | 0;
    // An address of four words is hashed in four steps, each keyed by the one before.
    let k1 = this.#k1;
    const last = local.bytes.length - 4;
    for (let i = 0; i < last; i += 4) k1 ^= halfSipHash(this.#k0, k1, get32(local.bytes, i), get32(remote.bytes, i), i);
    const ports = (localPort << 16) | remotePort;
    return (ticks + halfSipHash(this.#k0, k1, get32(local.bytes, last), get32(remote.bytes, last), ports)) | 0;
  }
}
