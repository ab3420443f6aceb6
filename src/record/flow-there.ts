/** Describes the flow to which the place in a recording belongs where a replay has stopped. */
import { Flow } from "../nat/flow/flow.ts";
import { get16 } from "../wire/bytes.ts";
import { ETH_IPV4, ETH_IPV6 } from "../wire/ethernet.ts";
import { frameFacts, readFacts } from "../wire/frame-facts.ts";
import { ICMP_HEADER } from "../wire/icmp.ts";
import { PROTO_ICMP, PROTO_TCP, PROTO_UDP } from "../wire/ipv4.ts";
import { PROTO_ICMP6 } from "../wire/ipv6.ts";
import { printFrame } from "../wire/print.ts";
import { ENTRIES, type Entry } from "./format.ts";

/** Where the identifier of an echo stands in its message. */
const ECHO_ID = 4;
const PROTOCOLS: Readonly<Record<number, Flow["proto"]>> = {
  [PROTO_TCP]: "tcp",
  [PROTO_UDP]: "udp",
  [PROTO_ICMP]: "icmp",
  [PROTO_ICMP6]: "icmp",
};

/**
 * The flow that the first of `entries` with a flow belongs to, and its state at `now` (milliseconds), in lines of text.
 * If no flow belongs to any of them, a line about the first frame among them; null if there is no frame either.
 * `receiver` finds what gets the events of a socket.
 */
export function flowThere(
  entries: readonly Entry[],
  flows: Iterable<Flow>,
  receiver: (socket: number) => unknown,
  now: number,
): readonly string[] | null {
  const all = [...flows];
  for (const entry of entries) {
    const flow = flowOf(entry, all, receiver);
    if (flow !== null) return described(flow, now);
  }
  const frame = entries.map(frameOf).find((each) => each !== null);
  return frame === undefined ? null : [`none, ${printFrame(frame, 0, frame.length).summary}`];
}

function frameOf({ name, values }: Entry): Uint8Array | null {
  if (name === "frame") return values[4] as Uint8Array;
  return name === "sent" ? (values[3] as Uint8Array) : null;
}

function flowOf(entry: Entry, flows: readonly Flow[], receiver: (socket: number) => unknown): Flow | null {
  const frame = frameOf(entry);
  if (frame !== null) return flowOfFrame(frame, flows);
  const at = Object.keys(ENTRIES[entry.name].fields).indexOf("socket");
  const found = at < 0 ? null : receiver(entry.values[at] as number);
  return found instanceof Flow ? found : null;
}

/** A UDP mapping serves all far ends of its guest's port, so it is the second choice. */
function flowOfFrame(frame: Uint8Array, flows: readonly Flow[]): Flow | null {
  const facts = frameFacts();
  readFacts(facts, frame, 0, frame.length);
  const { ethType, src, dst, payload } = facts;
  if (src < 0 || dst < 0 || (ethType !== ETH_IPV4 && ethType !== ETH_IPV6)) return null;
  const proto = PROTOCOLS[facts.proto];
  const family = ethType === ETH_IPV4 ? 4 : 6;
  let { srcPort, dstPort } = facts;
  if (proto === "icmp") {
    if (payload + ICMP_HEADER > frame.length) return null;
    srcPort = dstPort = get16(frame, payload + ECHO_ID);
  }
  let second: Flow | null = null;
  for (const flow of flows) {
    if (flow.proto !== proto || flow.guest.family !== family) continue;
    const { address } = flow.guest;
    const up = flow.guestPort === srcPort && address.at(frame, src);
    if (!up && !(flow.guestPort === dstPort && address.at(frame, dst))) continue;
    const far = flow.far.at(frame, up ? dst : src) && (proto === "icmp" || flow.farPort === (up ? dstPort : srcPort));
    if (far) return flow;
    if (proto !== "tcp") second = flow;
  }
  return second;
}

function described(flow: Flow, now: number): string[] {
  const { proto, ends, farName, direction, counts, bytesUp, bytesDown } = flow;
  const [from, to] = direction === "out" ? [ends.guest, ends.remote] : [ends.remote, ends.guest];
  const name = farName === null ? "" : ` (${farName})`;
  const state = counts.state === "" ? "" : `, ${counts.state}`;
  return [
    `${proto} ${from} > ${to}${name}${state}`,
    ...flow.describe(now),
    `${bytesUp} bytes from the guest, ${bytesDown} bytes to the guest`,
  ];
}
