/** Finds the flow to which an episode of a recording belongs. */
import { ETH_IPV4 } from "../wire/ethernet.ts";
import { type FrameFacts, frameFacts, readFacts } from "../wire/frame-facts.ts";
import { ENTRIES, type Entry } from "./format.ts";
import type { Episode } from "./free-script.ts";

const facts: FrameFacts = frameFacts();
/** Entries that make a socket or an identifier to which later episodes refer. */
const MAKERS: ReadonlySet<string> = new Set([
  "connect",
  "accept",
  "openUdp",
  "openPing",
  "query",
  "openFile",
  "readFile",
  "ask",
  "taken",
  "served",
]);

/** A frame's protocol and both ends, the same for both directions. */
export function flowOfFrame(frame: Uint8Array): string {
  readFacts(facts, frame, 0, frame.length);
  const { ethType, src, dst, proto, srcPort, dstPort } = facts;
  if (src < 0 || dst < 0) return `ethernet ${ethType}`;
  const size = ethType === ETH_IPV4 ? 4 : 16;
  const end = (at: number, port: number): string => `${frame.subarray(at, at + size).join(".")}:${port}`;
  return `${proto} ${[end(src, srcPort), end(dst, dstPort)].sort().join(" ")}`;
}

/** The flow of each episode; null for episodes about time, cables or calls of the user. */
export class FlowNames {
  readonly #sockets: Map<number, string> = new Map();

  /** An episode's flow. Call this for all episodes, in order. */
  of({ head, rest }: Episode): string | null {
    const flow = this.entry(head);
    if (flow !== null)
      for (const { name, values } of rest) {
        if (!MAKERS.has(name)) continue;
        // A read of a file, and a connection of a service, have a second identifier.
        for (const id of values.slice(0, 2)) if (typeof id === "number" && id > 0) this.#name(id, flow);
      }
    return flow;
  }

  /** The flow of an input or output. */
  entry({ name, values }: Entry): string | null {
    if (name === "frame") return flowOfFrame(values[4] as Uint8Array);
    if (name === "sent") return flowOfFrame(values[3] as Uint8Array);
    const field = Object.keys(ENTRIES[name].fields)[0];
    if (field === undefined || field === "link" || field === "listener") return null;
    return this.#sockets.get(values[0] as number) ?? null;
  }

  #name(id: number, flow: string): void {
    if (!this.#sockets.has(id)) this.#sockets.set(id, flow);
  }
}
