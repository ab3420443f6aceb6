/** The parts of the stack that the NAT needs. `Stack` makes one for TCP, UDP and ICMP. */
import type { IpAddress } from "../core/address.ts";
import type { ByteShare } from "../core/byte-budget.ts";
import type { Clock } from "../core/clock.ts";
import type { HostNet } from "../core/host-net.ts";
import type { Link } from "../core/link.ts";
import type { Random } from "../core/random.ts";
import type { Trace } from "../core/trace.ts";
import type { Names } from "../proto/names.ts";
import type { Neighbour } from "../proto/neighbours.ts";
import type { Egress } from "./egress.ts";
import type { FlowRegistry } from "./flow/registry.ts";
import type { IcmpErrors } from "./icmp/icmp-errors.ts";
import type { Policy } from "./rules/policy.ts";
import type { RuleGate } from "./rules/rule-gate.ts";
import type { TcpService } from "./services.ts";

export interface NatContext {
  readonly host: HostNet;
  readonly clock: Clock;
  readonly random: Random;
  readonly trace: Trace;
  /** This network's share of the memory that all networks' connections may hold in this process. */
  readonly bytes: ByteShare;
  readonly egress: Egress;
  readonly errors: IcmpErrors;
  readonly policy: Policy;
  readonly names: Names;
  readonly gate: RuleGate;
  readonly flows: FlowRegistry;
  /** Which service within the process answers at this address and port in place of a host socket; null for none. */
  service(to: IpAddress, port: number): TcpService | null;
  /** A cable has a frame to flush. */
  touchLink(link: Link): void;
  /** Hands touched cables to the wire at the end of the host's turn. */
  flush(): void;
  /** Hands touched cables to the wire at once. */
  flushNow(): void;
  /**
   * Has a guest looked for (ARP, neighbour discovery) whose MAC or cable is unknown: nothing can be sent to it before.
   */
  resolve(guest: Neighbour): void;
  /** A deadline moved to an earlier time. */
  wake(): void;
}
