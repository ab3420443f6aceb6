/** Finding a segment's flow: the flow table against a `Map` with a string for each four-tuple. */
import { FlowTable } from "../src/core/flow-table.ts";
import { SeededRandom } from "../test/support/random.ts";
import { type Case, same } from "./case.ts";

const SIZES = [10, 1_000, 10_000];
/** Lookups of one call. */
const PER = 256;
/** After so many calls the same lookups come again. */
const BLOCKS = 64;
const GUEST = 0x0a00020f;

interface Flow {
  readonly id: number;
}

export function flowCases(): Case[] {
  return SIZES.flatMap((size) => {
    const random = new SeededRandom(size);
    const table = new FlowTable<Flow>(random.u32(), random.u32());
    const map = new Map<string, Flow>();
    const remotes = new Int32Array(size);
    const ports = new Int32Array(size);
    for (let id = 0; id < size; id++) {
      remotes[id] = random.u32();
      // A source port of its own for each flow: no two keys are the same.
      ports[id] = ((1_024 + id) << 16) | 443;
      table.add(GUEST, remotes[id]!, ports[id]!, { id });
      map.set(`${GUEST}:${remotes[id]}:${ports[id]}`, { id });
    }
    const order = Int32Array.from({ length: PER * BLOCKS }, () => random.u32() % size);
    const count = size.toLocaleString("en");
    // A loop for each: with one for both, the one measured first would be the only one that is inlined.
    const inTable = (from: number): number => {
      let ids = 0;
      for (let k = from; k < from + PER; k++) {
        const flow = order[k]!;
        ids += table.get(GUEST, remotes[flow]!, ports[flow]!)!.id;
      }
      return ids;
    };
    const inMap = (from: number): number => {
      let ids = 0;
      for (let k = from; k < from + PER; k++) {
        const flow = order[k]!;
        ids += map.get(`${GUEST}:${remotes[flow]}:${ports[flow]}`)!.id;
      }
      return ids;
    };
    return [one(`table, ${count} flows`, order, inTable), one(`Map, ${count} flows`, order, inMap)];
  });
}

function one(name: string, order: Int32Array, find: (from: number) => number): Case {
  let block = 0;
  let seen = 0;
  return {
    suite: "flow lookup",
    name,
    per: PER,
    bytes: 0,
    call() {
      seen += find(block * PER);
      block = (block + 1) % BLOCKS;
    },
    check(calls) {
      const blocks = Array.from({ length: BLOCKS }, (_, b) =>
        order.subarray(b * PER, (b + 1) * PER).reduce((a, x) => a + x, 0),
      );
      const all = blocks.reduce((a, x) => a + x, 0);
      const rest = blocks.slice(0, calls % BLOCKS).reduce((a, x) => a + x, 0);
      same(name, seen, Math.floor(calls / BLOCKS) * all + rest);
    },
  };
}
