/** Flows as users see them. */
import { endpointText } from "../core/address.ts";
import type { IcmpNat } from "../nat/icmp/icmp-nat.ts";
import type { TcpNat } from "../nat/tcp/tcp-nat.ts";
import type { UdpNat } from "../nat/udp/udp-nat.ts";
import { STATE_NAMES } from "../proto/tcp/tcb.ts";

/** A connection, a mapping or an echo identifier. */
export interface FlowInfo {
  readonly proto: "tcp" | "udp" | "icmp";
  /** `IP:PORT`, with brackets around IPv6; the address alone with ICMP. */
  readonly guest: string;
  /** The far end; of a mapping, the one that the guest spoke with last. */
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

export function flowInfos(tcp: TcpNat, udp: UdpNat, icmp: IcmpNat): FlowInfo[] {
  const none = { state: "", rtt: -1, retransmissions: 0 };
  const flows: FlowInfo[] = [];
  for (const flow of tcp.flows()) {
    const { tcb, bytesUp, bytesDown } = flow;
    flows.push({
      proto: "tcp",
      guest: endpointText({ host: flow.guest.address.text, port: flow.guestPort }),
      remote: endpointText({ host: flow.far.text, port: flow.farPort }),
      host: flow.hosts[0] ?? null,
      state: STATE_NAMES[tcb.state]!,
      direction: flow.inbound ? "in" : "out",
      bytesUp,
      bytesDown,
      rtt: tcb.rtt.srtt,
      retransmissions: tcb.retransmissions,
    });
  }
  for (const mapping of udp.mappings()) {
    const { direction, bytesUp, bytesDown } = mapping;
    flows.push({ proto: "udp", ...mapping.ends, host: udp.hostOf(mapping), direction, bytesUp, bytesDown, ...none });
  }
  for (const flow of icmp.flows()) {
    const ends = { guest: flow.guest.address.text, remote: flow.remote, host: icmp.hostOf(flow) };
    flows.push({ proto: "icmp", ...ends, direction: "out", bytesUp: flow.bytesUp, bytesDown: flow.bytesDown, ...none });
  }
  return flows;
}
