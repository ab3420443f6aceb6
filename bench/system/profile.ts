/** Where a peer's processor time goes: the shares of its functions in what `node --cpu-prof` has written. */
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import type { Peer } from "./peers.ts";

interface Node {
  readonly id: number;
  readonly callFrame: { readonly functionName: string; readonly url: string };
  readonly children?: readonly number[];
}

interface Profile {
  readonly nodes: readonly Node[];
  readonly samples: readonly number[];
  /** Microseconds before each sample. */
  readonly timeDeltas: readonly number[];
}

/** Rows of a table. */
const MOST = 16;

const folderOf = (folder: string, peer: string): string => join(folder, peer.replaceAll(/[^\w-]+/g, "-"));

/** The peer with Node's own profiler, if it is a program of Node's. It ends in order, because the profile is written at the end. */
export function profiled(peer: Peer, folder: string): Peer {
  const command: Peer["command"] = (place) => {
    const [program, ...rest] = peer.command(place);
    const profiling =
      program === process.execPath ? ["--cpu-prof", `--cpu-prof-dir=${folderOf(folder, peer.name)}`] : [];
    return [program!, ...profiling, ...rest];
  };
  return { ...peer, command, endsInOrder: true };
}

/** A table in Markdown for each peer that has been profiled. */
export function profiles(folder: string, peers: readonly Peer[]): string {
  const tables = peers.map(({ name }) => {
    const own = new Map<string, number>();
    for (const file of filesOf(folderOf(folder, name))) add(JSON.parse(readFileSync(file, "utf8")) as Profile, own);
    const idle = own.get("(idle)") ?? 0;
    own.delete("(idle)");
    const busy = [...own.values()].reduce((sum, micros) => sum + micros, 0);
    if (busy === 0) return "";
    const rows = [...own].sort((a, b) => b[1] - a[1]).slice(0, MOST);
    const head = `\n| ${name}: busy ${seconds(busy)} s, idle ${seconds(idle)} s | of the busy time |\n| --- | ---: |\n`;
    return head + rows.map(([what, micros]) => `| ${what} | ${((100 * micros) / busy).toFixed(1)} % |\n`).join("");
  });
  return tables.join("");
}

const seconds = (micros: number): string => (micros / 1e6).toFixed(2);

function filesOf(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => name.endsWith(".cpuprofile"))
      .map((name) => join(folder, name));
  } catch {
    return [];
  }
}

/** Adds each function's own microseconds, without those of the functions that it calls. */
function add({ nodes, samples, timeDeltas }: Profile, own: Map<string, number>): void {
  const callers = new Map<number, Node>();
  for (const node of nodes) for (const child of node.children ?? []) callers.set(child, node);
  const names = new Map(nodes.map((node) => [node.id, nameOf(node, callers)]));
  for (const [i, id] of samples.entries()) {
    const name = names.get(id)!;
    own.set(name, (own.get(name) ?? 0) + timeDeltas[i]!);
  }
}

/**
 * A function and its file. V8 calls all functions of the C library by the name of one of them, so of such a call its caller is
 * named.
 */
function nameOf(node: Node, callers: ReadonlyMap<number, Node>): string {
  const { functionName, url } = node.callFrame;
  if (functionName.startsWith("(")) return functionName;
  if (url !== "") return `${functionName || "a function"}, ${basename(url).replace(/-[\w-]{8}\./, ".")}`;
  const caller = callers.get(node.id);
  return caller === undefined || caller.callFrame.url === "" ? functionName : `a call by ${nameOf(caller, callers)}`;
}
