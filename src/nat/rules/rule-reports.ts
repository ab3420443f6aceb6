/** What rules have decided, told to whoever wants to know: refusals with the rule that would help, and allowed flows. */
import { endpointText, type IpAddress } from "../../core/address.ts";
import type { Trace } from "../../core/trace.ts";
import { needOf, remedyOf, type Want } from "./remedy.ts";
import type { FlowProto, Rule, Subject } from "./rules.ts";

const HTTPS_PORT = 443;

/** A flow with what a query asks for; 0, or not set, for others. */
export interface Asked extends Subject {
  readonly qtype?: number;
}

/** Which rule has refused something, and why in one line. */
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

  /** `remedy` where it is not the subject's own. */
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

  /** A flow may begin; told where somebody wants to know. `by` is null for the default. */
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

/** QUIC is what UDP to port 443 is taken for, where a name has led there. */
export function wantOf({ proto, port, names }: Subject): Want {
  return proto === "udp" && port === HTTPS_PORT && names.length > 0 ? "quic" : null;
}
