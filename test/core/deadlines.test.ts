import fc from "fast-check";
import { expect, test } from "vitest";
import { Deadlines } from "../../src/core/deadlines.ts";

interface Item {
  heapIndex: number;
  heapTime: number;
  id: number;
}

test("deadlines come up in order, and each no later than the earliest time it was scheduled for", () => {
  const op = fc.oneof(
    fc.record({ op: fc.constant("schedule" as const), id: fc.nat(20), time: fc.nat(1000) }),
    fc.record({ op: fc.constant("remove" as const), id: fc.nat(20) }),
    fc.record({ op: fc.constant("due" as const), now: fc.nat(1000) }),
  );
  fc.assert(
    fc.property(fc.array(op, { maxLength: 300 }), (ops) => {
      const heap = new Deadlines<Item>();
      const items = Array.from({ length: 21 }, (_, id): Item => ({ heapIndex: -1, heapTime: 0, id }));
      const model = new Map<number, number>();
      for (const o of ops) {
        if (o.op === "schedule") {
          heap.schedule(items[o.id]!, o.time);
          model.set(o.id, Math.min(model.get(o.id) ?? Number.POSITIVE_INFINITY, o.time));
        } else if (o.op === "remove") {
          heap.remove(items[o.id]!);
          model.delete(o.id);
        } else {
          const earliest = Math.min(Number.POSITIVE_INFINITY, ...model.values());
          const item = heap.due(o.now);
          if (earliest > o.now) expect(item).toBeNull();
          else {
            expect(model.get(item!.id)).toBe(earliest);
            model.delete(item!.id);
          }
        }
        expect(heap.size).toBe(model.size);
        expect(heap.next()).toBe(Math.min(Number.POSITIVE_INFINITY, ...model.values()));
      }
    }),
  );
});
