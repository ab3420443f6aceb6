/**
 * What happens in a network, told to whoever wants to know: drops are counted, events go to the listeners and into captures'
 * comments, and what rules have decided goes to the audit and to what is learned, with the guest's process where it is known.
 */
import type { EventEmitter } from "node:events";
import type { CableTap } from "../attach/tap.ts";
import { TapCable } from "../attach/tap-cable.ts";
import { parseEndpoint } from "../control/addresses.ts";
import type { ResolvedOptions } from "../control/options.ts";
import type { IpText } from "../core/address.ts";
import type { Link } from "../core/link.ts";
import type { DropReason, Trace, TraceEvent } from "../core/trace.ts";
import { AuditFile } from "../embed/audit-file.ts";
import { Captures } from "../embed/captures.ts";
import { Drops } from "../embed/drops.ts";
import { LearnedFile } from "../embed/learned-file.ts";
import { EVENT_NAMES, type NetworkEvents, type Refusal } from "../embed/network-events.ts";
import { Refusals } from "../embed/refusals.ts";
import { ProcessNames } from "../host/process-names.ts";

type Ruled = Extract<TraceEvent, { type: "flow-refused" | "flow-allowed" }>;

/** What the reports ask of the network that they are about. */
export interface Reported {
  /** Whose listeners are told. */
  readonly emitter: EventEmitter<NetworkEvents>;
  /** The frames that captures see. */
  readonly tap: CableTap;
  /** The rules in force. */
  readonly rules: () => readonly string[];
  readonly cableOf: (host: IpText) => Link | null;
  /** Which machine has an address, whatever other addresses it has; null when nobody is known to have it. */
  readonly macOf: (host: IpText) => string | null;
}

export class Reports implements Trace {
  readonly captures: Captures;
  readonly audit: AuditFile | null;
  readonly #network: Reported;
  readonly #drops: Drops;
  readonly #learned: LearnedFile | null;
  readonly #processes: ProcessNames = new ProcessNames();
  readonly #refused: Refusals = new Refusals((refusal) => this.#tellRefusal(refusal));

  constructor({ audit, learn, stack: { limits } }: ResolvedOptions, network: Reported) {
    const { emitter, tap, rules } = network;
    const notice = (text: string): void => this.notice(text);
    this.#network = network;
    this.#drops = new Drops(
      () => emitter.listenerCount("drop") > 0,
      (drop) => emitter.emit("drop", drop),
    );
    this.captures = new Captures(tap, limits, notice);
    this.audit =
      audit === null
        ? null
        : new AuditFile(audit, limits.auditBytes, { full: () => this.drop("audit-full"), failed: notice });
    this.#learned =
      learn === null
        ? null
        : new LearnedFile(learn, limits, rules, { full: () => this.drop("learned-full"), failed: notice });
  }

  /** Makes the files. Rejects with an `Error` of one line when one of them cannot be written. */
  async open(): Promise<void> {
    await this.#learned?.open();
    await this.audit?.open();
  }

  drop(reason: DropReason): void {
    this.#drops.add(reason);
  }

  /** Since the start, by reason. */
  drops(): Record<DropReason, number> {
    return this.#drops.counts();
  }

  notice(text: string): void {
    this.event({ type: "notice", text });
  }

  event(event: TraceEvent): void {
    this.captures.event(event);
    if (event.type === "flow-allowed" || event.type === "flow-refused") return this.#ruled(event);
    this.#tell(event);
  }

  /** Resolves when captures and files are complete, and listeners have heard what there was to tell. */
  async close(): Promise<void> {
    await this.captures.close();
    this.#drops.flush();
    this.#refused.flush();
    await this.#learned?.close();
    await this.audit?.close();
    // Events are told in a tick of their own, and whoever waits for us may end the process before it.
    await new Promise<void>((told) => process.nextTick(told));
  }

  /** What rules have decided, with the process where it is known. */
  #ruled(event: Ruled): void {
    if (this.#learned === null && this.audit === null && !this.#heard(event)) return;
    const named = this.#named(event);
    if (named.type === "flow-refused") return this.#refused.add(named, this.#guestOf(named));
    this.#learned?.allowed(named);
    this.audit?.add(named);
    this.#tell(named);
  }

  #tellRefusal(refusal: Refusal): void {
    this.audit?.add({ type: "flow-refused", ...refusal });
    const { emitter } = this.#network;
    if (emitter.listenerCount("flowRefused") > 0) process.nextTick(() => emitter.emit("flowRefused", refusal));
  }

  /** Names a guest, whichever of its addresses it has spoken from. */
  #guestOf({ guest, cable }: Ruled): string {
    const host = parseEndpoint(guest, 0)?.host;
    return `${cable} ${host === undefined ? guest : (this.#network.macOf(host) ?? host)}`;
  }

  #heard({ type }: TraceEvent): boolean {
    return this.#network.emitter.listenerCount(EVENT_NAMES[type]) > 0;
  }

  #tell(event: TraceEvent): void {
    const name = EVENT_NAMES[event.type];
    if (!this.#heard(event)) return;
    const { type: _, ...rest } = event;
    process.nextTick(() => this.#network.emitter.emit(name, rest as never));
  }

  /** A decision with its process. Its socket is there only until the guest hears of a refusal. */
  #named<T extends Ruled>(decision: T): T {
    const { proto, direction } = decision;
    if (proto === "icmp" || direction === "in") return decision;
    const guest = parseEndpoint(decision.guest, 0);
    const link = guest === null ? null : this.#network.cableOf(guest.host);
    if (guest === null || !(link instanceof TapCable) || link.namespace === null) return decision;
    const transports = proto === "dns" ? (["udp", "tcp"] as const) : [proto];
    for (const transport of transports) {
      const process = this.#processes.find(link.namespace, transport, guest);
      if (process !== null) return { ...decision, process };
    }
    return decision;
  }
}
