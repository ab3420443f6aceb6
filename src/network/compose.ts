/**
 * Puts together the parts of a network on this host: the reports about it, Node's sockets, clock and files, the stack
 * and the switch, the callbacks that decide about flows, the services within this process, and the cables.
 */
import type { EventEmitter } from "node:events";
import type { CableEnv } from "../attach/attachment.ts";
import { SlabPool } from "../attach/slab.ts";
import { CableTap } from "../attach/tap.ts";
import type { Flow } from "../control/on-flow.ts";
import type { ResolvedOptions } from "../control/options.ts";
import type { ByteShare } from "../core/byte-budget.ts";
import type { Clock } from "../core/clock.ts";
import type { Link } from "../core/link.ts";
import { Asker } from "../embed/asker.ts";
import { BadLine } from "../embed/bad-line.ts";
import { Cables } from "../embed/cables.ts";
import { CurrentLan } from "../embed/current-lan.ts";
import { FlowHook } from "../embed/flow-hook.ts";
import { GuestForwards } from "../embed/guest-forwards.ts";
import { Guests } from "../embed/guests.ts";
import type { NetworkEvents } from "../embed/network-events.ts";
import { BusyPoll } from "../host/busy-poll.ts";
import { HostClock } from "../host/clock.ts";
import { NodeDns } from "../host/dns.ts";
import { NodeFiles } from "../host/files.ts";
import { NodeHostNet } from "../host/net.ts";
import type { OwnPorts } from "../host/own-ports.ts";
import { ProxiedNet } from "../host/proxy.ts";
import { HostRandom } from "../host/random.ts";
import type { Recording } from "../record/recording.ts";
import type { StackParts } from "../stack/parts.ts";
import { DnsAnswers } from "./dns-answers.ts";
import { Published } from "./published.ts";
import { Recordings } from "./recordings.ts";
import { Reports } from "./reports.ts";
import { NetworkRules } from "./rules.ts";
import { Tape } from "./tape.ts";

/** The parts that `Network` calls. */
export interface ComposedNetwork {
  readonly clock: Clock;
  readonly tape: Tape;
  readonly tap: CableTap;
  readonly reports: Reports;
  readonly ownPorts: OwnPorts;
  readonly dns: NodeDns;
  readonly asker: Asker | null;
  readonly hook: FlowHook | null;
  readonly lan: CurrentLan;
  readonly recordings: Recordings;
  readonly rules: NetworkRules;
  readonly dnsAnswers: DnsAnswers;
  readonly published: Published;
  readonly guestForwards: GuestForwards;
  readonly guests: Guests;
  readonly badLine: BadLine;
  readonly cables: Cables;
  /** Frames and bytes sent to guests on all cables. */
  readonly sent: CableEnv["sent"];
}

/**
 * Where networks share a budget of bytes: the number of read slabs in use beyond which bytes that wait for hosts are
 * copied, and so counted.
 */
const SHARED_SLABS = 4;

/**
 * Makes the parts. `bytes` is the share of a budget that connections may hold beside their limits, `emitter` emits
 * events, and `ended` is aborted when the network closes.
 */
export function composeNetwork(
  options: ResolvedOptions,
  recording: Recording | null,
  bytes: ByteShare,
  emitter: EventEmitter<NetworkEvents>,
  ended: AbortSignal,
): ComposedNetwork {
  const { stack: config, outboundAddr, proxies } = options;
  const { limits } = config;
  const cableOf = (host: string): Link | null => lan.cableOf(host);

  // Reports
  const tape = new Tape(recording);
  const tap = new CableTap();
  const macOf = (host: string): string | null => lan.stack.macOf(host);
  const reports = new Reports(options, { emitter, tap, cableOf, macOf, rules: () => rules.list() });
  const notice = (text: string): void => reports.notice(text);
  if (recording !== null) recording.onEnd = notice;

  // Node's sockets, clock and random numbers
  const clock = new HostClock();
  const random = new HostRandom();
  const host = new NodeHostNet({ random, notice, ...(outboundAddr === null ? {} : { outboundAddr }) });
  const { ownPorts } = host;
  const { dnsInFlight: maxInFlight, dnsTcpInFlight: maxTcp } = limits;
  const dns = new NodeDns({ upstreams: options.dnsUpstream, maxInFlight, maxTcp });

  // Callbacks that decide about flows, beside the rules
  const asker = options.ask
    ? new Asker({
        ...{ limits, cableOf, onAsk: options.onAsk },
        answer: (id, verdict) => void rules.answer(id, verdict),
        failed: (error, question) => process.nextTick(() => emitter.emit("askError", error, question)),
        asked: (question) => process.nextTick(() => emitter.emit("ask", question)),
        full: () => reports.drop("asks-full"),
      })
    : null;
  const { onFlow, onFlowTimeout: timeout } = options;
  const failed = (error: Error, flow: Flow): void => process.nextTick(() => emitter.emit("flowError", error, flow));
  const busy = (): void => reports.drop("gate-busy");
  const hook = onFlow === null ? null : new FlowHook({ onFlow, timeout, limits, cableOf, failed, busy });

  // The stack and the switch
  const sent = { frames: 0, bytes: 0 };
  const poll = new BusyPoll(options.busyPoll, () => lan.taken.bytesIn + sent.bytes);
  const parts: StackParts = {
    ...{ dns, clock, random, trace: reports, gate: hook, rules: options.rules, asker, bytes },
    host: proxies.length === 0 ? host : new ProxiedNet(host, proxies, notice),
    files: options.tftp === null ? null : new NodeFiles(options.tftp),
    protectPort: (port) => ownPorts.protect(port),
    endOfTurn: (run) => void setImmediate(run),
    stirred: () => poll.stir(),
  };
  const lan = new CurrentLan(config, parts, tap, clock, recording);
  const rules = new NetworkRules({ lan, config, tape, asker }, options.ruleLines);
  const dnsAnswers = new DnsAnswers(lan, tape, options);
  const published = new Published(lan, config, tape, ended);
  const recordings = new Recordings({
    ...{ options, parts, lan, tape, notice, ended },
    rules: () => rules.list(),
    dnsHosts: () => dnsAnswers.hosts(),
    dnsZones: () => dnsAnswers.zones(),
  });

  // Services within this process
  const guestForwards = new GuestForwards(lan.local, cableOf, host, {
    limits,
    onOutput: (program, pid, line) => reports.event({ type: "program-output", program, pid, line }),
    onRefused: () => reports.drop("programs-full"),
  });
  const first = (): string => tape.aside(() => lan.stack.firstGuest().text);
  const guests = new Guests(config, lan.local, lan.stack.policy, first);

  // The cables
  const pool = new SlabPool(bytes.limited ? { cap: SHARED_SLABS } : {});
  const env: CableEnv = { receiver: lan, pool, trace: reports, clock, tap, limits, sent };
  const badLine = new BadLine(tap, { target: lan, clock, trace: reports });
  const cables = new Cables(env, config, ownPorts);
  return {
    ...{ clock, tape, tap, reports, ownPorts, dns, asker, hook, lan, recordings },
    ...{ rules, dnsAnswers, published, guestForwards, guests, badLine, cables, sent },
  };
}
