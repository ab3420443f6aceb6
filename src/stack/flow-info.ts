/** Flows as users see them. */
import type { FlowRegistry } from "../nat/flow/registry.ts";

/** A connection, a mapping or an echo identifier. */
export interface FlowInfo {
  readonly proto: "tcp" | "udp" | "icmp";
  /** `IP:PORT`, with brackets around IPv6; the address alone with ICMP. */
  readonly guest: string;
  /** The far end; of a UDP mapping, the one that the guest spoke with last. */
  readonly remote: string;
  /** The name by which guests know the remote address; null when there is none. */
  readonly host: string | null;
  /** TCP's state by its name in RFC 9293, or HELD before the host has connected; "" with others. */
  readonly state: string;
  readonly direction: "in" | "out";
  readonly bytesUp: number;
  readonly bytesDown: number;
  /** TCP: smoothed round trip to the guest in milliseconds; -1 when not measured. */
  readonly rtt: number;
  readonly retransmissions: number;
}

/** All flows that users are told of, guest by guest. */
export function flowInfos(flows: FlowRegistry): FlowInfo[] {
  const infos: FlowInfo[] = [];
  for (const flow of flows) {
    if (!flow.listed) continue;
    const { proto, ends, farName: host, direction, bytesUp, bytesDown, counts } = flow;
    infos.push({ proto, ...ends, host, ...counts, direction, bytesUp, bytesDown });
  }
  return infos;
}
