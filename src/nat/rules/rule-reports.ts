/** Reports of the rules' decisions: refusals with the rule that would help, and allowed flows. */
import { endpointText, type IpAddress } from "../../core/address.ts";
import type { Trace } from "../../core/trace.ts";
import { needOf, remedyOf, type Want } from "./remedy.ts";
import type { FlowProto, Rule, Subject } from "./rules.ts";

const HTTPS_PORT = 443;

/** A flow, and for a query the type of record that it asks for (0 or unset for others). */
export interface Asked extends Subject {
  readonly qtype?: number;
}

/** The rule that has refused a flow, and why in one line. */
export interface Because {
  readonly rule: string;
  readonly reason: string;
}

export function because(rule: string, what?: string): Because {
  return { rule, reason: what === undefined ? rule : `${rule}: ${what}` };
}

/** `IP:PORT`; the address alone with ICMP, which has no ports. */
export function endText(proto: FlowProto, { text }: IpAddress, port: number): string {
  return proto === "icmp" ? text : endpointText({ host: text, port });
}

export class RuleReports {
  readonly #trace: Trace;
  readonly #tellAllowed: boolean;

  constructor(trace: Trace, tellAllowed: boolean) {
    this.#trace = trace;
    this.#tellAllowed = tellAllowed;
  }

  /** `remedy` is given where it differs from the subject's own. */
  refused(subject: Asked, guestPort: number, { rule, reason }: Because, remedy?: string | null): void {
    const { direction, proto, guest, remote, port, names, cable = null, qtype = 0 } = subject;
    const name = names[0] ?? null;
    this.#trace.event({
      ...{ type: "flow-refused", proto, direction, rule, reason, host: name, cable },
      ...(qtype === 0 ? {} : { qtype }),
      guest: endText(proto, guest, guestPort),
      remote: endText(proto, remote, port),
      remedy: remedy === undefined ? remedyOf(subject, name, wantOf(subject)) : remedy,
    });
  }

  /** A flow may begin. Reported only if somebody wants to know. `by` is null for the default. */
  allowed(
    subject: Subject,
    guestPort: number,
    rule: string,
    by: Rule | null,
    shown: { readonly needs?: string; readonly shown?: string; readonly instead?: string } = {},
  ): void {
    if (!this.#tellAllowed) return;
    const { proto, guest, remote, port, names, cable = null } = subject;
    const host = names[0] ?? null;
    this.#trace.event({
      ...{ type: "flow-allowed", proto, direction: "out", rule, host, cable },
      guest: endText(proto, guest, guestPort),
      remote: endText(proto, remote, port),
      needs: by === null ? needOf(subject, host, wantOf(subject)) : null,
      ...shown,
    });
  }
}

/** Takes a flow for QUIC if it is UDP to port 443 at an address that a name has led to. */
export function wantOf({ proto, port, names }: Subject): Want {
  return proto === "udp" && port === HTTPS_PORT && names.length > 0 ? "quic" : null;
}
