/**
 * Flows by their four-tuple: open addressing on typed arrays, linear probing, numeric keys, a seeded hash that a guest
 * cannot aim at. The two addresses and the two ports are three 32-bit words. Bounded by `limit`.
 */
import { halfSipHash } from "../proto/tcp/isn.ts";

const FIRST_CAPACITY = 256;

export class FlowTable<T> {
  #keys: Int32Array = new Int32Array(FIRST_CAPACITY * 3);
  #values: (T | null)[] = new Array<T | null>(FIRST_CAPACITY).fill(null);
  #mask: number = FIRST_CAPACITY - 1;
  #size = 0;
  readonly #seed0: number;
  readonly #seed1: number;
  readonly limit: number;

  constructor(limit: number, seed0: number, seed1: number) {
    this.limit = limit;
    this.#seed0 = seed0 | 0;
    this.#seed1 = seed1 | 0;
  }

  get size(): number {
    return this.#size;
  }

  get full(): boolean {
    return this.#size >= this.limit;
  }

  #home(a: number, b: number, ports: number): number {
    return halfSipHash(this.#seed0, this.#seed1, a, b, ports) & this.#mask;
  }

  get(a: number, b: number, ports: number): T | null {
    const keys = this.#keys;
    const mask = this.#mask;
    for (let i = this.#home(a, b, ports); ; i = (i + 1) & mask) {
      const value = this.#values[i]!;
      if (value === null) return null;
      if (keys[i * 3] === a && keys[i * 3 + 1] === b && keys[i * 3 + 2] === ports) return value;
    }
  }

  /** Adds a flow whose key is not there. The caller has looked at `full`. */
  add(a: number, b: number, ports: number, value: T): void {
    if ((this.#size + 1) * 2 > this.#values.length) this.#grow();
    this.#place(a, b, ports, value);
    this.#size++;
  }

  #place(a: number, b: number, ports: number, value: T): void {
    let i = this.#home(a, b, ports);
    while (this.#values[i] !== null) i = (i + 1) & this.#mask;
    this.#keys[i * 3] = a;
    this.#keys[i * 3 + 1] = b;
    this.#keys[i * 3 + 2] = ports;
    this.#values[i] = value;
  }

  #grow(): void {
    const keys = this.#keys;
    const values = this.#values;
    const capacity = values.length * 2;
    this.#keys = new Int32Array(capacity * 3);
    this.#values = new Array<T | null>(capacity).fill(null);
    this.#mask = capacity - 1;
    for (let i = 0; i < values.length; i++) {
      if (values[i] !== null) this.#place(keys[i * 3]!, keys[i * 3 + 1]!, keys[i * 3 + 2]!, values[i]!);
    }
  }

  remove(a: number, b: number, ports: number): void {
    const keys = this.#keys;
    const values = this.#values;
    const mask = this.#mask;
    let i = this.#home(a, b, ports);
    for (; ; i = (i + 1) & mask) {
      if (values[i] === null) return;
      if (keys[i * 3] === a && keys[i * 3 + 1] === b && keys[i * 3 + 2] === ports) break;
    }
    // Backward shift: what was pushed past this slot moves up, so that no tombstone is needed.
    for (let j = (i + 1) & mask; values[j] !== null; j = (j + 1) & mask) {
      const home = this.#home(keys[j * 3]!, keys[j * 3 + 1]!, keys[j * 3 + 2]!);
      if (((j - home) & mask) < ((j - i) & mask)) continue;
      keys.copyWithin(i * 3, j * 3, j * 3 + 3);
      values[i] = values[j]!;
      i = j;
    }
    values[i] = null;
    this.#size--;
  }

  *[Symbol.iterator](): IterableIterator<T> {
    for (const value of this.#values) if (value !== null) yield value;
  }
}
