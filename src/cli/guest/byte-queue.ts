/** Bytes that are written and not acknowledged yet: appended at the end, dropped at the front, copied from anywhere. */
export class ByteQueue {
  #chunks: Uint8Array[] = [];
  /** How many bytes of the first chunk have been dropped. */
  #skip = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#chunks.push(bytes.slice());
    this.#length += bytes.length;
  }

  drop(count: number): void {
    this.#length -= count;
    this.#skip += count;
    let done = 0;
    while (done < this.#chunks.length && this.#skip >= this.#chunks[done]!.length)
      this.#skip -= this.#chunks[done++]!.length;
    if (done > 0) this.#chunks.splice(0, done);
  }

  copy(at: number, count: number): Uint8Array {
    const out = new Uint8Array(count);
    let from = at + this.#skip;
    let filled = 0;
    for (const chunk of this.#chunks) {
      if (filled === count) break;
      if (from >= chunk.length) {
        from -= chunk.length;
        continue;
      }
      const part = chunk.subarray(from, from + count - filled);
      out.set(part, filled);
      filled += part.length;
      from = 0;
    }
    return out;
  }

  clear(): void {
    this.#chunks = [];
    this.#skip = 0;
    this.#length = 0;
  }
}
