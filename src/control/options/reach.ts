/** Options about whom guests reach, and by which way. */
import * as z from "zod/mini";
import { cap } from "../limits.ts";
import { parseNameTtl } from "../name-ttl.ts";
import type { OnFlow } from "../on-flow.ts";
import { UPLINK_EXAMPLE } from "../uplink-rules.ts";
import { bool, checked, ip, LIST, list, type NetworkGroup, ON_OFF, TEXT } from "./description.ts";
import { MODES } from "./modes.ts";

const UPLINK = `expected an uplink like "${UPLINK_EXAMPLE}", { remotes: ["192.0.2.7"], vni: 42 }, or a list of them`;
const PROXY = 'expected a proxy like "socks5://127.0.0.1:1080", or a list of rules { match, proxy }';
const RULE_LIST = 'expected a list of rules like ["allow tcp *.debian.org:80", "default deny"]';

const uplink = () =>
  z.union([
    z.string(),
    z.strictObject({
      remotes: z.readonly(z.array(z.string())),
      vni: z.number(),
      local: z.optional(z.string()),
      mtu: z.optional(z.number()),
    }),
  ]);
const proxy = () => z.union([z.string(), z.strictObject({ match: z.optional(z.string()), proxy: z.string() })]);

const NAME_TTL = "expected seconds from 1 to 86400, the least and the most, like 60-3600";

export const REACH: NetworkGroup<
  | "mode"
  | "uplink"
  | "isolate"
  | "restrict"
  | "hostLoopback"
  | "dnsRebind"
  | "nameTtl"
  | "rules"
  | "onFlow"
  | "onFlowTimeout"
  | "proxy"
  | "outboundAddr"
> = {
  mode: {
    flag: "--mode <mode>",
    reading: TEXT,
    type: "Mode",
    help: "shared: guests reach each other, the host and the world; host-only: each other and the host; isolated: each other; bridged: the segment behind the uplink",
    initial: "shared",
    doc: 'Clients on the host get in by forwards in all of them. "isolated" is the same as `restrict`. In "bridged" the segment\'s router and DHCP serve the guests, and nothing of ours is on their cables, unless `dhcp` says so.',
    shape: () => z.enum(MODES, `expected ${MODES.join(", ")}`),
  },
  uplink: {
    flag: "--uplink <url>",
    reading: LIST,
    type: "string | UplinkOptions | readonly (string | UplinkOptions)[]",
    help: "connect guests to a segment of other machines: `vxlan://IP[:PORT][,IP…]?vni=N[&local=IP[:PORT]][&mtu=N]`",
    doc: 'In all modes but "bridged" our gateway serves those machines, too.',
    shape: () => z.union([uplink(), z.readonly(z.array(uplink()))], UPLINK),
  },
  isolate: {
    flag: "--isolate",
    reading: { as: "flag" },
    type: "boolean",
    help: "keep guests apart: none reaches another",
    initial: "off",
    shape: bool,
  },
  restrict: {
    flag: "--restrict [on|off]",
    reading: { as: "flag", orOnOff: true },
    netdev: "restrict",
    type: "boolean",
    help: "guests reach neither the host nor the world; forwards still work",
    initial: "off",
    shape: bool,
  },
  hostLoopback: {
    flag: "--host-loopback <on|off>",
    reading: ON_OFF,
    type: "boolean",
    help: "guests reach the host's 127.0.0.1 and ::1 by the gateway's addresses",
    initial: "on",
    shape: bool,
  },
  dnsRebind: {
    flag: "--dns-rebind <allow|refuse>",
    reading: TEXT,
    type: '"allow" | "refuse"',
    help: "whether answers of the host's resolvers may lead guests to private addresses",
    initial: "allow",
    more: "Private are 10.0.0.0/8, 127.0.0.0/8, fd00::/8 and the like. A refused name is REFUSED; names of split DNS are among them.",
    shape: () => z.enum(["allow", "refuse"], "expected allow or refuse"),
  },
  nameTtl: {
    flag: "--name-ttl <least[-most]>",
    reading: TEXT,
    type: "string",
    help: "how many seconds the addresses in an answer count for rules about its name: its TTL, within these bounds",
    initial: "60-86400",
    more: "See [Rules](rules.md#rules).",
    shape: () => checked(NAME_TTL, (text) => parseNameTtl(text) !== null),
  },
  rules: {
    flag: null,
    reading: LIST,
    type: "readonly string[]",
    help: 'which flows may begin, first match wins: `["allow tcp *.debian.org:80", "default deny"]`',
    initial: "all may",
    shape: () => list(z.string(RULE_LIST), RULE_LIST),
  },
  onFlow: {
    flag: null,
    reading: TEXT,
    type: "OnFlow",
    help: "called for every new flow, to allow, deny, redirect or take it over",
    shape: () => z.custom<OnFlow>((value) => typeof value === "function", 'expected a function like (flow) => "allow"'),
  },
  onFlowTimeout: {
    flag: null,
    reading: TEXT,
    type: "number",
    help: "milliseconds that a flow waits for the answer of `onFlow`; then it is refused",
    initial: "10000",
    shape: () => cap(600_000),
  },
  proxy: {
    flag: "--proxy <rule>",
    reading: LIST,
    type: "string | readonly (string | ProxyOptions)[]",
    help: "the proxy for guests' TCP connections: `[MATCH=]socks5://[USER:PASSWORD@]HOST[:PORT]`, `http://…` (CONNECT) or `direct`; the first rule that matches decides",
    more: "MATCH is `*.example.com`, an address or a network, with `:PORT` or not. UDP and ping go by none.",
    shape: () => z.union([z.string(), z.readonly(z.array(proxy()))], PROXY),
  },
  outboundAddr: {
    flag: "--outbound-addr <ip>",
    reading: TEXT,
    type: "string",
    help: "the source address of outgoing sockets",
    initial: "the host's choice",
    shape: ip,
  },
};
