/**
 * Where everything worth knowing is reported. Counters, events, logs and captures come from here, so the protocol code
 * has one line for each. `drop` and `count` are on the packet path: a number per reason, no object.
 */
export interface Trace {
  /** A packet was dropped; `reason` is one of `DROP_REASONS`. */
  drop(reason: DropReason): void;
  /** Rare, structured events: a lease, a flow opened or closed, a forward. */
  event(event: TraceEvent): void;
}

/** Every reason for which a packet or connection is dropped, each a counter. Add yours here, in alphabetical order. */
export const DROP_REASONS = [
  "arp-malformed",
  "arp-spoofed",
  "asks-full",
  "audit-full",
  "bridge-control",
  "cable-full",
  "cables-full",
  "clients-full",
  "conn-limit",
  "denied",
  "dhcp-malformed",
  "dhcp-no-address",
  "dhcp-not-holder",
  "dhcp-relayed",
  "dhcp6-malformed",
  "dhcp6-no-address",
  "dhcp6-not-holder",
  "dhcp6-relayed",
  "dns-busy",
  "dns-malformed",
  "dns-rate",
  "dns-rebind",
  "eth-short",
  "eth-type",
  "flow-table-full",
  "forwards-full",
  "frame-too-long",
  "gate-busy",
  "guest-unreachable",
  "half-open-full",
  "host-full",
  "icmp-checksum",
  "icmp-rate",
  "icmp-table-full",
  "icmp-type",
  "icmp-unasked",
  "impaired",
  "impaired-queue",
  "ip-destination",
  "ip-fragment",
  "ip-header",
  "ip-malformed",
  "ip-protocol",
  "ip-source",
  "ip-ttl",
  "isolated",
  "learned-full",
  "mac-flapping",
  "mac-spoofed",
  "macs-full",
  "memory-full",
  "name-refused",
  "names-full",
  "ndp-malformed",
  "ndp-rogue",
  "ndp-spoofed",
  "neighbours-full",
  "network-closed",
  "offload-malformed",
  "policy",
  "programs-full",
  "reassembly-full",
  "receive-full",
  "storm",
  "tcp-checksum",
  "tcp-malformed",
  "tcp-no-flow",
  "tcp-paws",
  "tcp-set-back",
  "tcp-window",
  "tftp-busy",
  "tftp-malformed",
  "udp-malformed",
  "udp-rate",
  "udp-table-full",
  "uplink-mtu",
  "virtio-ring",
  "vlan-tagged",
  "vxlan-malformed",
  "vxlan-peer",
  "vxlan-vni",
  "ws-refused",
] as const;
export type DropReason = (typeof DROP_REASONS)[number];

export type TraceEvent =
  | {
      type: "lease";
      mac: string;
      ip: string;
      hostname: string | null;
      /** "reclaimed": its holder is gone, or its cable holds most, and another guest needs the address. */
      action: "bound" | "released" | "declined" | "reclaimed";
    }
  | {
      type: "flow-open";
      proto: "tcp" | "udp" | "icmp";
      guest: string;
      remote: string;
      /** The name by which guests know the remote address; null when there is none. */
      host: string | null;
      direction: "out" | "in";
    }
  | {
      type: "flow-close";
      proto: "tcp" | "udp" | "icmp";
      guest: string;
      remote: string;
      host: string | null;
      bytesUp: number;
      bytesDown: number;
      reason: string;
      /** TCP: segments sent to the guest again, and its smoothed round trip in milliseconds (-1: never measured). */
      retransmissions?: number;
      rtt?: number;
    }
  /** A rule has refused a flow, or ended one when the rules changed. */
  | {
      type: "flow-refused";
      proto: "tcp" | "udp" | "icmp" | "dns";
      /** `IP:PORT`; the address alone with ICMP. */
      guest: string;
      remote: string;
      /** The name by which the guest knows the remote address, or that it asked for. */
      host: string | null;
      direction: "out" | "in";
      /** The guest's; null while nobody is known to have its address. */
      cable: string | null;
      /** The rule as it was written, or the default. */
      rule: string;
      /**
       * Why, in one line: the rule, and behind it what the connection's first bytes have shown ("default deny: TLS name
       * evil.test"), which limit it was ("limit any conns=50: 50 at once"), or which rule does not mean it after all.
       */
      reason: string;
      /** What a query asks for. */
      qtype?: number;
      /** The narrowest rule that would have allowed it, before any that denies it; null where none would. */
      remedy: string | null;
      /**
       * `NAME[PID]` of the process that asked, where the guest is a network namespace of this machine (a TAP) and the process was
       * found: the name is its own word.
       */
      process?: string;
    }
  /** Rules have let a flow begin, or a connection has shown another name than it began with; told where `StackConfig.tellAllowed`. */
  | {
      type: "flow-allowed";
      proto: "tcp" | "udp" | "icmp" | "dns";
      guest: string;
      remote: string;
      host: string | null;
      direction: "out";
      /** The guest's; null while nobody is known to have its address. */
      cable: string | null;
      /** As of a refusal. */
      process?: string;
      /** The rule as it was written, or the default. */
      rule: string;
      /** The narrowest rule that allows it; null where a rule of its own has. */
      needs: string | null;
      /** What the connection's first bytes have shown; `instead` is then the rule that it does without. */
      shown?: string;
      instead?: string;
    }
  | {
      type: "tftp";
      guest: string;
      file: string;
      /** Acknowledged by the guest. */
      bytes: number;
      /** Null when the guest has all of it. */
      error: string | null;
    }
  | {
      /** A line from a guest forward's program, or about one that cannot be started, which has no pid. */
      type: "program-output";
      program: string;
      pid: number | null;
      line: string;
    }
  | {
      type: "dns";
      guest: string;
      name: string;
      qtype: number;
      rcode: number;
      millis: number;
      /** Addresses in the answer, the first four. */
      addresses: readonly string[];
    }
  /** A line for whoever runs this: something that guests want is not to be had here, and what would allow it. */
  | { type: "notice"; text: string };

/** For tests and for networks that nobody watches. */
export const NO_TRACE: Trace = { drop() {}, event() {} };
