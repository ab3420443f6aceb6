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

/** What a stack is given: the seams' other sides, and rules. */
export interface StackParts {
  readonly host: HostNet;
  readonly dns: HostDns;
  /** What TFTP serves; null leaves the gateway's port to the host. */
  readonly files?: FileSource | null;
  /** Who is asked about new flows; null for nobody. */
  readonly gate?: FlowGate | null;
  /** What guests may begin, before anybody is asked. */
  readonly rules?: RuleSet;
  /** Is asked before the default refuses a flow. */
  readonly asker?: FlowAsker | null;
  readonly clock: Clock;
  readonly random: Random;
  readonly trace: Trace;
  /** What of the process's memory connections may hold; without it, what the limits say. */
  readonly bytes?: ByteShare;
  /** Calls `run` once, when what the host has to tell now has been told; without it frames do not wait for that. */
  readonly endOfTurn?: (run: () => void) => void;
  /** Closes a port of this machine to guests; without it forwards' ports stay open to guests that are kept apart. */
  readonly protectPort?: ProtectPort;
  /** Told after each read of a guest's and each callback of the host's. */
  readonly stirred?: () => void;
}
