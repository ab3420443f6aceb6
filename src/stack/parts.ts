import type { ByteShare } from "../core/byte-budget.ts";
import type { Clock } from "../core/clock.ts";
import type { FileSource } from "../core/files.ts";
import type { FlowGate } from "../core/gate.ts";
import type { HostDns, HostNet } from "../core/host-net.ts";
import type { Random } from "../core/random.ts";
import type { Trace } from "../core/trace.ts";
import type { ProtectPort } from "../nat/forwards.ts";
import type { FlowAsker } from "../nat/rules/rule-gate.ts";
import type { RuleSet } from "../nat/rules/rules.ts";

/** The parts that a stack is given: the other sides of the seams, and rules. */
export interface StackParts {
  readonly host: HostNet;
  readonly dns: HostDns;
  /** The files that TFTP serves; null leaves the gateway's TFTP port to the host. */
  readonly files?: FileSource | null;
  /** Asked about new flows (`onFlow`); null for none. */
  readonly gate?: FlowGate | null;
  /** Rules that decide about flows before `gate`. */
  readonly rules?: RuleSet;
  /** Asked before the default refuses a flow. */
  readonly asker?: FlowAsker | null;
  readonly clock: Clock;
  readonly random: Random;
  readonly trace: Trace;
  /**
   * This network's share of the memory that the process's connections may hold; unset: the network's own limits alone
   * hold.
   */
  readonly bytes?: ByteShare;
  /** Calls `run` once, after the host's pending callbacks. If unset, frames do not wait for those. */
  readonly endOfTurn?: (run: () => void) => void;
  /** Closes a port of this machine to guests. If unset, isolated guests may reach forwards' ports. */
  readonly protectPort?: ProtectPort;
  /** Called after each read from a guest and each callback of the host's. */
  readonly stirred?: () => void;
}
