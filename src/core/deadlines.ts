/**
 * Deadlines of many objects, earliest first: a binary heap that is lazy about postponing.
 *
 * Nearly every deadline of a TCP flow moves later with each packet and never fires. So an entry is only moved when it
 * becomes *earlier*. When an entry comes due, its owner is asked for its true deadline, and puts it back if that is
 * later.
 */
export interface Timed {
  /** The object's index in the heap, -1 when it is not there. Kept by `Deadlines`. */
  heapIndex: number;
  /** The time by which the heap orders the object; its true deadline may be later. Kept by `Deadlines`. */
  heapTime: number;
}

export class Deadlines<T extends Timed> {
  readonly #heap: T[] = [];

  get size(): number {
    return this.#heap.length;
  }

  /** The earliest time at which something may be due; Infinity when nothing is. */
  next(): number {
    return this.#heap.length === 0 ? Number.POSITIVE_INFINITY : this.#heap[0]!.heapTime;
  }

  /** The object whose time is `next`; null when the heap is empty. */
  get first(): T | null {
    return this.#heap[0] ?? null;
  }

  /** Makes sure that `item` comes up at `time` or before. True if it is now the earliest of all. */
  schedule(item: T, time: number): boolean {
    if (item.heapIndex < 0) {
      if (time === Number.POSITIVE_INFINITY) return false;
      item.heapTime = time;
      this.#heap.push(item);
      this.#up(item, this.#heap.length - 1);
      return item.heapIndex === 0;
    }
    if (time >= item.heapTime) return false;
    item.heapTime = time;
    this.#up(item, item.heapIndex);
    return item.heapIndex === 0;
  }

  remove(item: T): void {
    const index = item.heapIndex;
    if (index < 0) return;
    item.heapIndex = -1;
    const last = this.#heap.pop()!;
    if (last === item) return;
    last.heapIndex = index;
    this.#heap[index] = last;
    this.#up(last, index);
    this.#down(last, last.heapIndex);
  }

  /** Takes out the earliest item if its time is `now` or before. */
  due(now: number): T | null {
    const first = this.#heap[0];
    if (first === undefined || first.heapTime > now) return null;
    this.remove(first);
    return first;
  }

  #up(item: T, index: number): void {
    const heap = this.#heap;
    while (index > 0) {
      const parentIndex = (index - 1) >> 1;
      const parent = heap[parentIndex]!;
      if (parent.heapTime <= item.heapTime) break;
      heap[index] = parent;
      parent.heapIndex = index;
      index = parentIndex;
    }
    heap[index] = item;
    item.heapIndex = index;
  }

  #down(item: T, index: number): void {
    const heap = this.#heap;
    for (;;) {
      let childIndex = 2 * index + 1;
      if (childIndex >= heap.length) break;
      if (childIndex + 1 < heap.length && heap[childIndex + 1]!.heapTime < heap[childIndex]!.heapTime) childIndex++;
      const child = heap[childIndex]!;
      if (child.heapTime >= item.heapTime) break;
      heap[index] = child;
      child.heapIndex = index;
      index = childIndex;
    }
    heap[index] = item;
    item.heapIndex = index;
  }
}
