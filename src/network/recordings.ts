/**
 * The recordings that a user begins while the network runs. Each begins with a new network in place of the one before.
 */
import { parseDnsHost, parseDnsZone } from "../control/dns-rules.ts";
import { ConfigError } from "../control/errors.ts";
import type { RecordOptions } from "../control/options/record-options.ts";
import { checkRecord, type ResolvedOptions } from "../control/options.ts";
import { parseRules } from "../control/rules.ts";
import { closedError } from "../core/closed.ts";
import type { CurrentLan } from "../embed/current-lan.ts";
import { reasonOf } from "../host/reason.ts";
import { forwardText } from "../nat/forwards.ts";
import { NO_RULES } from "../nat/rules/rules.ts";
import type { RecordingState } from "../record/recording.ts";
import type { StackParts } from "../stack/parts.ts";
import { beginRecording, type Tape } from "./tape.ts";

/** How many flows an error names. */
const MOST_SHOWN = 3;

/** Whether open flows may be ended so that a recording can begin (default false). */
export interface EndFlows {
  readonly endFlows?: boolean | undefined;
}

/** The parts to record, and the settings that the user has changed since the network began. */
export interface Recorded {
  readonly options: ResolvedOptions;
  readonly parts: StackParts;
  readonly lan: CurrentLan;
  readonly tape: Tape;
  readonly rules: () => readonly string[];
  readonly dnsHosts: () => readonly string[];
  readonly dnsZones: () => readonly string[];
  readonly notice: (text: string) => void;
  /** Aborted when the network closes. */
  readonly ended: AbortSignal;
}

export class Recordings {
  readonly #network: Recorded;

  constructor(network: Recorded) {
    this.#network = network;
  }

  /**
   * Begins a recording. Rejects with `ConfigError`, or with an `Error` of one line when the file cannot be made; then
   * nothing has changed.
   */
  async begin(target: string | RecordOptions, given: EndFlows): Promise<RecordingState> {
    if (typeof given !== "object" || given === null)
      throw new ConfigError("options", given, "expected an object like { endFlows: true }");
    const { endFlows = false } = given;
    const { options, parts, lan, tape, notice, ended } = this.#network;
    const wanted = checkRecord(target);
    if (typeof endFlows !== "boolean") throw new ConfigError("endFlows", endFlows, "expected true or false");
    this.#refuse(wanted.file, endFlows);
    const lines = this.#network.rules();
    const dnsHosts = this.#network.dnsHosts().map(parseDnsHost);
    const dnsZones = this.#network.dnsZones().map(parseDnsZone);
    const config = { ...options.stack, dnsHosts, dnsZones };
    const recording = await beginRecording(wanted, { ...options, stack: config, ruleLines: lines });
    try {
      if (ended.aborted) throw closedError();
      // While the file was being made, the rules may have changed and flows may have begun.
      if (lines !== this.#network.rules())
        throw new ConfigError("record", wanted.file, "expected no other rules meanwhile");
      this.#refuse(wanted.file, endFlows);
    } catch (error) {
      await recording.discard();
      throw error;
    }
    recording.onEnd = notice;
    tape.replace(recording);
    const rules = lines.length === 0 ? NO_RULES : parseRules(lines);
    const failed = await lan.replace({ config, parts: { ...parts, rules }, seams: recording });
    const first = tape.aside(() => lan.stack.firstGuest().text);
    if (ended.aborted) throw closedError();
    for (const [rule, error] of failed) notice(`forward ${forwardText(rule, first)} is closed: ${reasonOf(error)}`);
    return recording.state;
  }

  /** Throws `ConfigError` while another recording runs, or while there are flows that would be lost. */
  #refuse(file: string, endFlows: boolean): void {
    const { tape, lan, options } = this.#network;
    const refused = (expectation: string): ConfigError => new ConfigError("record", file, expectation);
    const running = tape.state();
    if (running !== null) throw refused(`expected no recording to run: ${running.file} is being written`);
    if (options.ask) throw refused("expected no ask beside it: answers are not recorded");
    if (endFlows) return;
    const flows = tape.aside(() => lan.stack.flows());
    const shown = flows.slice(0, MOST_SHOWN).map(({ proto, guest, remote }) => `${proto} ${guest} to ${remote}`);
    if (flows.length > MOST_SHOWN) shown.push(`${flows.length - MOST_SHOWN} more`);
    if (lan.stack.transfers > 0) shown.push(`${lan.stack.transfers} by TFTP`);
    if (shown.length > 0)
      throw refused(
        `expected no flows, which would end, or to be told to end them (endFlows, --end-flows): ${shown.join(", ")}`,
      );
  }
}
