import type { StackConfig } from "../core/config.ts";
import type { Link } from "../core/link.ts";
import type { Trace } from "../core/trace.ts";
import type { Egress } from "../nat/egress.ts";
import type { FlowRegistry } from "../nat/flow/registry.ts";
import type { IcmpErrors } from "../nat/icmp/icmp-errors.ts";
import type { IcmpNat } from "../nat/icmp/icmp-nat.ts";
import type { Policy } from "../nat/rules/policy.ts";
import type { RuleGate } from "../nat/rules/rule-gate.ts";
import type { Services } from "../nat/services.ts";
import type { TcpNat } from "../nat/tcp/tcp-nat.ts";
import type { UdpNat } from "../nat/udp/udp-nat.ts";
import type { DnsForwarder } from "../proto/dns.ts";
import type { Names } from "../proto/names.ts";
import type { Neighbour, Neighbours } from "../proto/neighbours.ts";
import type { TftpServer } from "../proto/tftp.ts";

/** What the protocols of one guest network share; `Stack` makes it. */
export interface Lan {
  readonly config: StackConfig;
  readonly trace: Trace;
  readonly policy: Policy;
  readonly egress: Egress;
  readonly errors: IcmpErrors;
  readonly neighbours: Neighbours;
  readonly flows: FlowRegistry;
  readonly tcp: TcpNat;
  readonly udp: UdpNat;
  readonly icmp: IcmpNat;
  readonly dns: DnsForwarder;
  /** The names by which guests know addresses. */
  readonly names: Names;
  /** Judges new flows. */
  readonly gate: RuleGate;
  /** The services within the process. */
  readonly services: Services;
  /** The TFTP server; null when no folder is served. */
  readonly tftp: TftpServer<Neighbour> | null;
  /** All cables that are plugged in. */
  readonly links: ReadonlySet<Link>;
  /** A cable has a frame to flush. */
  touchLink(link: Link): void;
  /** Hands touched cables to the wire. */
  flush(): void;
  /** A guest has been heard: packets that waited for it may go out. */
  found(guest: Neighbour): void;
  /** A deadline moved to an earlier time. */
  wake(): void;
}
