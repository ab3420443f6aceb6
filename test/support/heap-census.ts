/** How many of which objects there are, by a snapshot of V8's heap: what leaks is some kind of object that keeps growing. */
import { text } from "node:stream/consumers";
import { getHeapSnapshot } from "node:v8";

interface Snapshot {
  readonly snapshot: { readonly meta: { readonly node_fields: string[]; readonly node_types: [string[]] } };
  readonly nodes: number[];
  readonly strings: string[];
}

/** Number of live objects, closures and native handles by kind and constructor or function. Taking it collects garbage. */
export async function heapCensus(): Promise<Map<string, number>> {
  const { snapshot, nodes, strings } = JSON.parse(await text(getHeapSnapshot())) as Snapshot;
  const { node_fields: fields, node_types: types } = snapshot.meta;
  const [type, name] = [fields.indexOf("type"), fields.indexOf("name")];
  const kinds = new Set(["object", "closure", "native"].map((kind) => types[0].indexOf(kind)));
  const counts = new Map<string, number>();
  for (let at = 0; at < nodes.length; at += fields.length) {
    if (!kinds.has(nodes[at + type]!)) continue;
    const kind = `${types[0][nodes[at + type]!]} ${strings[nodes[at + name]!]!.slice(0, 80)}`;
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  return counts;
}
