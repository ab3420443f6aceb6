/** What rules have decided, told to whoever wants to know: refusals with the rule that would help, and allowed flows. */
import { endpointText } from "../../core/address.ts";
import type { Trace } from "../../core/trace.ts";
import { needOf, remedyOf, type Want } from "./remedy.ts";
import type { Rule, Subject } from "./rules.ts";

const HTTPS_PORT = 443;

export class RuleReports {
  readonly #trace: Trace;
  readonly #tellAllowed: boolean;

  constructor(trace: Trace, tellAllowed: boolean) {
    this.#trace = trace;
    this.#tellAllowed = tellAllowed;
  }

  /** `why` beyond the rule; `remedy` where it is not the subject's own. */
  refused(subject: Subject, guestPort: number, rule: string, why?: string, remedy?: string | null): void {
    const { direction, proto, guest, remote, port, names } = subject;
    const name = names[0] ?? null;
    this.#trace.event({
      ...{ type: "flow-refused", proto, direction, rule, host: name },
      ...(why === undefined ? {} : { why }),
      guest: proto === "icmp" ? guest.text : endpointText({ host: guest.text, port: guestPort }),
      remote: proto === "icmp" ? remote.text : endpointText({ host: remote.text, port }),
      remedy: remedy === undefined ? remedyOf(subject, name, wantOf(subject)) : remedy,
    });
  }

  /** A flow may begin; told where somebody wants to know. `by` is null for the default. */
  allowed(
    subject: Subject,
    guestPort: number,
    rule: string,
    by: Rule | null,
    shown: { readonly needs?: string; readonly why?: string; readonly instead?: string } = {},
  ): void {
    if (!this.#tellAllowed) return;
    const { proto, guest, remote, port, names, cable = null } = subject;
    const host = names[0] ?? null;
    this.#trace.event({
      ...{ type: "flow-allowed", proto, direction: "out", rule, host, cable },
      guest: proto === "icmp" ? guest.text : endpointText({ host: guest.text, port: guestPort }),
      remote: proto === "icmp" ? remote.text : endpointText({ host: remote.text, port }),
      needs: by === null ? needOf(subject, host, wantOf(subject)) : null,
      ...shown,
    });
  }
}

/** QUIC is what UDP to port 443 is taken for, where a name has led there. */
export function wantOf({ proto, port, names }: Subject): Want {
  return proto === "udp" && port === HTTPS_PORT && names.length > 0 ? "quic" : null;
}
