/**
 * Replaces addresses within their networks, so that the network treats the substitutes alike: a private address becomes
 * another private one, and an address in a rule's network becomes one in the substitute of that network.
 */
import type { Random } from "../../core/random.ts";
import { bytesOf, hexOf, Substitutes } from "./substitutes.ts";

const TRIES = 400;

interface Block {
  readonly bytes: Uint8Array;
  readonly length: number;
  /** The block's substitute. */
  other: Uint8Array;
  /** Whether addresses in the block stay as they are. */
  kept: boolean;
}

export class Prefixes {
  readonly #size: number;
  readonly #values: Substitutes;
  /** Blocks, those with shorter prefixes first. */
  #blocks: Block[] = [];
  readonly #wanted: Map<string, Block> = new Map();

  /**
   * For addresses of `size` bytes. Addresses in `kept` stay as they are; other addresses in a network of `classes` stay
   * within it.
   */
  constructor(
    size: number,
    random: Random,
    kept: readonly (readonly [Uint8Array, number])[],
    classes: readonly (readonly [Uint8Array, number])[],
  ) {
    this.#size = size;
    this.#values = new Substitutes(random);
    const block =
      (keep: boolean) =>
      ([net, length]: readonly [Uint8Array, number]): Block => {
        const bytes = cut(net.subarray(0, size), length);
        return { bytes, length, other: bytes, kept: keep };
      };
    this.#blocks = [block(false)([new Uint8Array(size), 0]), ...kept.map(block(true)), ...classes.map(block(false))];
    this.#sort();
  }

  get count(): number {
    return this.#values.size;
  }

  /** Ends the collecting of values: from now on each has a substitute. */
  seal(): void {
    this.#values.seal();
    for (const block of [...this.#wanted.values()].sort((a, b) => a.length - b.length)) {
      const around = this.#around(block.bytes, block.length, (each) => each.bytes)!;
      const holds = this.#blocks.some(
        ({ bytes, length }) => length > block.length && same(bytes, block.bytes, block.length),
      );
      block.kept = around.kept;
      // A network stays if it holds another one, which could otherwise leave it.
      if (!around.kept && !holds) block.other = this.#placed(block, around);
      this.#blocks.push(block);
      this.#sort();
    }
  }

  /** A network's substitute, with all bytes of an address. */
  net(net: Uint8Array, length: number): Uint8Array {
    const bytes = cut(net, length);
    const key = `${hexOf(bytes)}/${length}`;
    const known = this.#wanted.get(key);
    if (known !== undefined) return known.other;
    this.#wanted.set(key, { bytes, length, other: bytes, kept: false });
    return bytes;
  }

  /** An address's substitute. */
  address(bytes: Uint8Array): Uint8Array {
    const block = this.#around(bytes, this.#size * 8, (each) => each.bytes)!;
    if (block.kept) return bytes;
    return bytesOf(
      this.#values.of(hexOf(bytes), () => {
        const other = this.#random(block.other, block.length, bytes);
        return this.#around(other, this.#size * 8, (each) => each.other) === block ? hexOf(other) : null;
      }),
    );
  }

  #sort(): void {
    this.#blocks.sort((a, b) => a.length - b.length);
  }

  /** The block with the longest prefix that contains the given network. */
  #around(bytes: Uint8Array, length: number, of: (block: Block) => Uint8Array): Block | undefined {
    return this.#blocks.findLast((block) => block.length <= length && same(of(block), bytes, block.length));
  }

  #placed(block: Block, around: Block): Uint8Array {
    for (let i = 0; i < TRIES; i++) {
      const other = cut(this.#random(around.other, around.length, block.bytes), block.length);
      const free = this.#blocks.every((each) => {
        const shorter = Math.min(each.length, block.length);
        return each.length <= around.length && same(each.other, around.other, each.length)
          ? true
          : !same(each.other, other, shorter) && !same(each.bytes, other, shorter);
      });
      if (free && !same(other, block.bytes, block.length)) return other;
    }
    return block.bytes;
  }

  /**
   * A random address that begins with the first `length` bits of `net`. Each byte has as many decimal digits as that of
   * `like`, if possible.
   */
  #random(net: Uint8Array, length: number, like: Uint8Array): Uint8Array {
    return Uint8Array.from(like, (byte, i) => {
      const mask = 0xff & ~(0xff >> Math.max(0, Math.min(8, length - 8 * i)));
      const fits = [...Array(256).keys()].filter((value) => (value & mask) === (net[i]! & mask));
      const alike = fits.filter((value) => String(value).length === String(byte).length);
      const from = alike.length > 0 ? alike : fits;
      return from[this.#values.below(from.length)]!;
    });
  }
}

function same(a: Uint8Array, b: Uint8Array, length: number): boolean {
  for (let i = 0; i * 8 < length; i++) {
    const mask = 0xff & ~(0xff >> Math.min(8, length - 8 * i));
    if (((a[i]! ^ b[i]!) & mask) !== 0) return false;
  }
  return true;
}

/** A network's first `length` bits, then zeros. */
function cut(net: Uint8Array, length: number): Uint8Array {
  return Uint8Array.from(net, (byte, i) => byte & ~(0xff >> Math.max(0, Math.min(8, length - 8 * i))));
}
