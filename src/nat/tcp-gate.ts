/** What a gate says about a guest's connection, which waits in HELD until then: nothing has been sent to the guest. */
import { addressFromText, type Endpoint } from "../core/address.ts";
import type { Ruling } from "../core/gate.ts";
import { HELD } from "../proto/tcp/tcb.ts";
import { PROTO_TCP } from "../wire/ipv4.ts";
import { TCP_HEADER } from "../wire/tcp.ts";
import { PROHIBITED } from "./icmp-errors.ts";
import type { RuleGate } from "./rule-gate.ts";
import type { TcpFlow } from "./tcp-flow.ts";
import type { TcpSurroundings } from "./tcp-nat.ts";

/** Asks about a flow of the guest's end `guest`, and does what is decided. */
export function askGate(gate: RuleGate, flow: TcpFlow, guest: Endpoint, env: TcpSurroundings): void {
  const remote = { host: flow.remote.text, port: flow.localPort };
  gate.judge({ proto: "tcp", guest, remote, hosts: flow.hosts, qtype: 0 }, (ruling, look) => {
    // The guest may have given up meanwhile, or the network closed.
    if (!flow.inTable || flow.tcb.state !== HELD) return;
    carryOut(flow, guest, remote, ruling, env);
    if (look !== null && flow.host !== null && ruling.action !== "take")
      flow.host = flow.nat.openings.watch(flow, look);
    env.flush();
  });
}

function carryOut(flow: TcpFlow, guest: Endpoint, remote: Endpoint, ruling: Ruling, env: TcpSurroundings): void {
  if (ruling.action === "deny") return deny(flow, ruling.how, "denied", env);
  if (ruling.action === "take") {
    flow.host = ruling.taker.stream(flow);
    return;
  }
  if (ruling.action !== "redirect") {
    const host = env.policy.hostSide(flow.remote);
    if (host === null) deny(flow, "reset", "policy", env);
    else flow.host = env.host.connectTcp({ host, port: remote.port }, flow, flow.hosts);
    return;
  }
  const service = env.service(addressFromText(ruling.to.host), ruling.to.port);
  flow.host = service === null ? env.host.connectTcp(ruling.to, flow) : service(flow, guest);
}

/** RST; an ICMP error, which a SYN-SENT guest believes (RFC 5461); or silence. */
function deny(flow: TcpFlow, how: "reset" | "icmp" | "drop", reason: "denied" | "policy", env: TcpSurroundings): void {
  const { guest, tcb } = flow;
  env.trace.drop(reason);
  if (how === "icmp") {
    const ports = (flow.guestPort << 16) | flow.localPort;
    const gateway = env.policy.gatewayFor(guest.family);
    env.errors.recalled(guest, gateway, PROHIBITED, flow.remote, PROTO_TCP, TCP_HEADER, ports, tcb.irs);
  }
  if (how === "reset") tcb.abort();
  else tcb.drop();
  flow.nat.remove(flow, reason);
}
