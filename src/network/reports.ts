/**
 * Reports what happens in a network: counts drops, passes events to listeners and into captures' comments, and passes
 * decisions of rules to the audit and to `learn`, with the guest's process where it is known.
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

/** The parts of the network that the reports need. */
export interface Reported {
  /** The emitter of the events. */
  readonly emitter: EventEmitter<NetworkEvents>;
  /** The frames that captures see. */
  readonly tap: CableTap;
  /** The rules in force. */
  readonly rules: () => readonly string[];
  readonly cableOf: (host: IpText) => Link | null;
  /**
   * The MAC of the guest that has an address, whichever of its addresses it is; null when no guest is known to have it.
   */
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

  /**
   * Makes the files of the audit and of `learn`. Rejects with an `Error` of one line when one of them cannot be
   * written.
   */
  async open(): Promise<void> {
    await this.#learned?.open();
    await this.audit?.open();
  }

  drop(reason: DropReason): void {
    this.#drops.add(reason);
  }

  /** Drops since the network began, by reason. */
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

  /** Resolves when captures and files are complete, and listeners have been told of all events. */
  async close(): Promise<void> {
    await this.captures.close();
    this.#drops.flush();
    this.#refused.flush();
    await this.#learned?.close();
    await this.audit?.close();
    // Events are emitted in a later tick, and the caller may end the process as soon as this resolves.
    await new Promise<void>((told) => process.nextTick(told));
  }

  /** Reports a decision of rules, with the process where it is known. */
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

  /** A guest's identity, the same for all of its addresses. */
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

  /**
   * A decision with the process that asked. It is looked up at once, because its socket is only there until the guest
   * hears of a refusal.
   */
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
