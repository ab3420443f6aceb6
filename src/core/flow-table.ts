/**
 * Hash tables with numeric keys of a fixed width: open addressing on typed arrays, linear probing, and a seeded hash
 * that a guest cannot predict. The table itself has no limit; its users set one. Keys of `FlowTable` have three words
 * (an IPv4 four-tuple), keys of `FlowTable6` six.
 */
import { halfSipHash } from "./siphash.ts";

const FIRST_CAPACITY = 256;

abstract class KeyedTable<T> {
  readonly #width: number;
  /** The slot that was found last. It may hold another key by now, so the next look-up compares the key. */
  protected last = 0;
  protected keys: Int32Array;
  protected values: (T | null)[] = new Array<T | null>(FIRST_CAPACITY).fill(null);
  protected mask: number = FIRST_CAPACITY - 1;
  protected readonly seed0: number;
  protected readonly seed1: number;
  #size = 0;

  constructor(width: number, seed0: number, seed1: number) {
    this.#width = width;
    this.keys = new Int32Array(FIRST_CAPACITY * width);
    this.seed0 = seed0 | 0;
    this.seed1 = seed1 | 0;
  }

  get size(): number {
    return this.#size;
  }

  /** The hash of the key whose words stand at `at`. */
  protected abstract hashAt(keys: Int32Array, at: number): number;

  /** Puts `value` into a free slot for its hash and returns the slot. The caller writes the key there. */
  protected claim(hash: number, value: T): number {
    if ((this.#size + 1) * 2 > this.values.length) this.#grow();
    this.#size++;
    return this.#place(hash, value);
  }

  #place(hash: number, value: T): number {
    let i = hash & this.mask;
    while (this.values[i] !== null) i = (i + 1) & this.mask;
    this.values[i] = value;
    return i;
  }

  #grow(): void {
    const width = this.#width;
    const keys = this.keys;
    const values = this.values;
    const capacity = values.length * 2;
    this.keys = new Int32Array(capacity * width);
    this.values = new Array<T | null>(capacity).fill(null);
    this.mask = capacity - 1;
    for (let i = 0; i < values.length; i++) {
      if (values[i] === null) continue;
      const to = this.#place(this.hashAt(keys, i * width), values[i]!);
      this.keys.set(keys.subarray(i * width, (i + 1) * width), to * width);
    }
  }

  /** Frees slot `i` by backward shift: values that were pushed beyond it move up, so that no tombstone is needed. */
  protected free(i: number): void {
    const width = this.#width;
    const { keys, values, mask } = this;
    for (let j = (i + 1) & mask; values[j] !== null; j = (j + 1) & mask) {
      const home = this.hashAt(keys, j * width) & mask;
      if (((j - home) & mask) < ((j - i) & mask)) continue;
      keys.copyWithin(i * width, j * width, (j + 1) * width);
      values[i] = values[j]!;
      i = j;
    }
    values[i] = null;
    this.#size--;
  }

  *[Symbol.iterator](): IterableIterator<T> {
    for (const value of this.values) if (value !== null) yield value;
  }
}

/** Keys of three words: for flows the two addresses and the two ports. */
export class FlowTable<T> extends KeyedTable<T> {
  constructor(seed0: number, seed1: number) {
    super(3, seed0, seed1);
  }

  protected hashAt(keys: Int32Array, at: number): number {
    return halfSipHash(this.seed0, this.seed1, keys[at]!, keys[at + 1]!, keys[at + 2]!);
  }

  /** The slot of a key, or -1. */
  #find(a: number, b: number, ports: number): number {
    const { keys, values, mask } = this;
    for (let i = halfSipHash(this.seed0, this.seed1, a, b, ports) & mask; ; i = (i + 1) & mask) {
      if (values[i] === null) return -1;
      if (keys[i * 3] === a && keys[i * 3 + 1] === b && keys[i * 3 + 2] === ports) return i;
    }
  }

  get(a: number, b: number, ports: number): T | null {
    const { keys, last } = this;
    const k = last * 3;
    // Packets of one flow follow one another, and the hash is most of the cost of a look-up. So the last slot is tried
    // first.
    if (keys[k + 2] === ports && keys[k] === a && keys[k + 1] === b) {
      const value = this.values[last]!;
      if (value !== null) return value;
    }
    const i = this.#find(a, b, ports);
    if (i < 0) return null;
    this.last = i;
    return this.values[i]!;
  }

  /** Adds a value. Its key must not be in the table. */
  add(a: number, b: number, ports: number, value: T): void {
    const at = this.claim(halfSipHash(this.seed0, this.seed1, a, b, ports), value) * 3;
    const keys = this.keys;
    keys[at] = a;
    keys[at + 1] = b;
    keys[at + 2] = ports;
  }

  remove(a: number, b: number, ports: number): void {
    const i = this.#find(a, b, ports);
    if (i >= 0) this.free(i);
  }
}

/** Keys of six words: for flows the guest's number, the far end's address in four words, and the two ports. */
export class FlowTable6<T> extends KeyedTable<T> {
  constructor(seed0: number, seed1: number) {
    super(6, seed0, seed1);
  }

  protected hashAt(keys: Int32Array, k: number): number {
    return this.#hash(keys[k]!, keys[k + 1]!, keys[k + 2]!, keys[k + 3]!, keys[k + 4]!, keys[k + 5]!);
  }

  /** The hash in two steps, the second keyed by the first. */
  #hash(a: number, w0: number, w1: number, w2: number, w3: number, ports: number): number {
    const first = halfSipHash(this.seed0, this.seed1, a, w0, w1);
    return halfSipHash(this.seed0, this.seed1 ^ first, w2, w3, ports);
  }

  #find(a: number, w0: number, w1: number, w2: number, w3: number, ports: number): number {
    const { keys, values, mask } = this;
    for (let i = this.#hash(a, w0, w1, w2, w3, ports) & mask; ; i = (i + 1) & mask) {
      if (values[i] === null) return -1;
      const k = i * 6;
      if (
        keys[k + 4] === w3 &&
        keys[k + 5] === ports &&
        keys[k] === a &&
        keys[k + 3] === w2 &&
        keys[k + 2] === w1 &&
        keys[k + 1] === w0
      )
        return i;
    }
  }

  get(a: number, w0: number, w1: number, w2: number, w3: number, ports: number): T | null {
    const { keys, last } = this;
    const k = last * 6;
    if (
      keys[k + 5] === ports &&
      keys[k] === a &&
      keys[k + 4] === w3 &&
      keys[k + 3] === w2 &&
      keys[k + 2] === w1 &&
      keys[k + 1] === w0
    ) {
      const value = this.values[last]!;
      if (value !== null) return value;
    }
    const i = this.#find(a, w0, w1, w2, w3, ports);
    if (i < 0) return null;
    this.last = i;
    return this.values[i]!;
  }

  /** Adds a value. Its key must not be in the table. */
  add(a: number, w0: number, w1: number, w2: number, w3: number, ports: number, value: T): void {
    const at = this.claim(this.#hash(a, w0, w1, w2, w3, ports), value) * 6;
    const keys = this.keys;
    keys[at] = a;
    keys[at + 1] = w0;
    keys[at + 2] = w1;
    keys[at + 3] = w2;
    keys[at + 4] = w3;
    keys[at + 5] = ports;
  }

  remove(a: number, w0: number, w1: number, w2: number, w3: number, ports: number): void {
    const i = this.#find(a, w0, w1, w2, w3, ports);
    if (i >= 0) this.free(i);
  }
}
