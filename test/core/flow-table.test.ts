import fc from "fast-check";
import { expect, test } from "vitest";
import { FlowTable, FlowTable6 } from "../../src/core/flow-table.ts";

test("the flow table behaves as a map, through growth and removals", () => {
  const key = fc.tuple(
    fc.integer({ min: -3, max: 3 }),
    fc.integer({ min: 0, max: 40 }),
    fc.integer({ min: -20, max: 20 }),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(key, fc.boolean()), { maxLength: 2000 }), (ops) => {
      const table = new FlowTable<string>(7, 9);
      const model = new Map<string, string>();
      for (const [[a, b, c], add] of ops) {
        const name = `${a},${b},${c}`;
        if (add && !model.has(name)) {
          table.add(a, b, c, name);
          model.set(name, name);
        } else if (!add) {
          table.remove(a, b, c);
          model.delete(name);
        }
        expect(table.get(a, b, c)).toBe(model.get(name) ?? null);
      }
      expect(table.size).toBe(model.size);
      expect([...table].sort()).toEqual([...model.keys()].sort());
    }),
    { numRuns: 50 },
  );
});

test("with keys of six words, too, and every word counts", () => {
  const word = fc.integer({ min: -2, max: 2 });
  const key = fc.tuple(word, word, word, word, word, word);
  fc.assert(
    fc.property(fc.array(fc.tuple(key, fc.boolean()), { maxLength: 2000 }), (ops) => {
      const table = new FlowTable6<string>(7, 9);
      const model = new Map<string, string>();
      for (const [k, add] of ops) {
        const name = k.join();
        if (add && !model.has(name)) {
          table.add(...k, name);
          model.set(name, name);
        } else if (!add) {
          table.remove(...k);
          model.delete(name);
        }
        expect(table.get(...k)).toBe(model.get(name) ?? null);
      }
      expect(table.size).toBe(model.size);
      expect([...table].sort()).toEqual([...model.keys()].sort());
    }),
    { numRuns: 50 },
  );
});
