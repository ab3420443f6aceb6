/** What a gate says about a guest's connection, which waits in HELD until then: nothing has been sent to the guest. */
import { addressFromText, type Endpoint } from "../../core/address.ts";
import type { Ruling } from "../../core/gate.ts";
import type { HostTcp, HostTcpEvents } from "../../core/host-net.ts";
import type { DropReason } from "../../core/trace.ts";
import { HELD } from "../../proto/tcp/tcb.ts";
import { PROTO_TCP } from "../../wire/ipv4.ts";
import { TCP_HEADER } from "../../wire/tcp.ts";
import type { NatContext } from "../context.ts";
import { PROHIBITED } from "../icmp/icmp-errors.ts";
import { leaveAll } from "../rules/meters.ts";
import type { RuleGate } from "../rules/rule-gate.ts";
import type { TcpFlow } from "./tcp-flow.ts";

/** Asks about a flow of the guest's end `guest`, and does what is decided. */
export function askGate(gate: RuleGate, flow: TcpFlow, guest: Endpoint, env: NatContext): void {
  const remote = { host: flow.far.text, port: flow.farPort };
  gate.judge({ proto: "tcp", guest, remote, hosts: flow.hosts, qtype: 0 }, (ruling, { nameCheck, meters }) => {
    // The guest may have given up meanwhile, or the network closed.
    if (!flow.inTable || flow.tcb.state !== HELD) return leaveAll(meters);
    flow.meters = meters;
    carryOut(flow, guest, remote, ruling, env);
    if (nameCheck !== null && flow.host !== null && ruling.action !== "take")
      flow.host = flow.nat.firstBytes.watch(flow, nameCheck);
    env.flush();
  });
}

function carryOut(flow: TcpFlow, guest: Endpoint, remote: Endpoint, ruling: Ruling, env: NatContext): void {
  if (ruling.action === "deny") return deny(flow, ruling.how, ruling.reason ?? "denied", env);
  const connect = (by: (events: HostTcpEvents) => HostTcp): void => {
    flow.host = flow.nat.pacer.pace(flow, flow.meters, by);
  };
  if (ruling.action === "take") return connect((events) => ruling.taker.stream(events));
  if (ruling.action !== "redirect") {
    const host = env.policy.hostSide(flow.far);
    if (host === null) return deny(flow, "reset", "policy", env);
    return connect((events) => env.host.connectTcp({ host, port: remote.port }, events, flow.hosts));
  }
  const { to } = ruling;
  const service = env.service(addressFromText(to.host), to.port);
  connect((events) => (service === null ? env.host.connectTcp(to, events) : service(events, guest)));
}

/** RST; an ICMP error, which a SYN-SENT guest believes (RFC 5461); or silence. */
function deny(flow: TcpFlow, how: "reset" | "icmp" | "drop", reason: DropReason, env: NatContext): void {
  const { guest, tcb } = flow;
  env.trace.drop(reason);
  if (how === "icmp") {
    const ports = (flow.guestPort << 16) | flow.farPort;
    const gateway = env.policy.gatewayFor(guest.family);
    env.errors.recalled(guest, gateway, PROHIBITED, flow.far, PROTO_TCP, TCP_HEADER, ports, tcb.irs);
  }
  if (how === "reset") tcb.abort();
  else tcb.drop();
  flow.nat.remove(flow, reason);
}
