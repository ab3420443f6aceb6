/**
 * The chain between a flow and its host socket. It is declared here, from the flow to the host.
 *
 *     flow ── FirstBytesSocket ── PacedTcp ── host socket
 *             holds the guest's   narrows the window and
 *             bytes until they    pauses reading while a
 *             name a server       bucket is empty
 *
 * Each link extends `HostTcpStage`, which passes everything on, and overrides the calls that are its purpose. A link
 * limits how much it takes by `windowCap`, never by `backlog`, because `backlog` is what the host has not taken yet,
 * and counts in the budget of all connections. A flow has only the links that it needs: without a rate and without
 * names, a connection has its host socket at once. A link whose work is done removes itself.
 */
import type { HostTcp, HostTcpEvents } from "../../core/host-net.ts";
import type { NatContext } from "../context.ts";
import type { Meter } from "../rules/meters.ts";
import type { NameCheck } from "../rules/name-check.ts";
import { FirstBytes, type InspectedFlow } from "./first-bytes.ts";
import { HeardHost } from "./heard-host.ts";
import { type PacedFlow, Pacer } from "./paced-tcp.ts";

/** A flow, as far as its chain is concerned. */
export interface ChainedFlow extends InspectedFlow, PacedFlow {
  onClose(code: string | null): void;
}

export class InspectionChain {
  readonly #firstBytes: FirstBytes;
  readonly #pacer: Pacer;

  /**
   * All connections that wait for their first bytes may hold `mostHeld` bytes. `answers`: refused HTTP requests are
   * answered.
   */
  constructor(env: Pick<NatContext, "bytes" | "clock" | "trace" | "wake">, mostHeld: number, answers: boolean) {
    this.#firstBytes = new FirstBytes(env, mostHeld, answers);
    this.#pacer = new Pacer(env);
  }

  /**
   * Connects `flow` under the rates of `meters`. `connect` is given the events to call back. With a `nameCheck` the
   * flow's first bytes have to pass that check.
   */
  connect(
    flow: ChainedFlow,
    meters: readonly Meter[],
    nameCheck: NameCheck | null,
    connect: (events: HostTcpEvents) => HostTcp,
  ): void {
    const heard = nameCheck !== null && this.#firstBytes.answers ? new HeardHost() : null;
    flow.host = this.#pacer.pace(flow, meters, heard === null ? connect : (events) => connect(heard.before(events)));
    if (nameCheck !== null) flow.host = this.#firstBytes.watch(flow, nameCheck, heard);
  }

  pollAt(): number {
    return Math.min(this.#firstBytes.pollAt(), this.#pacer.pollAt());
  }

  poll(now: number): void {
    this.#firstBytes.poll(now);
    this.#pacer.poll(now);
  }
}
