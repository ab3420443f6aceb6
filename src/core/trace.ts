/**
 * Receives everything worth reporting. Counters, events, logs and captures come from here, so protocol code needs one
 * line for each. `drop` is on the packet path: it counts by reason and makes no object.
 */
export interface Trace {
  /** A packet was dropped; `reason` is one of `DROP_REASONS`. */
  drop(reason: DropReason): void;
  /** Rare, structured events: a lease, a flow opened or closed, a forward. */
  event(event: TraceEvent): void;
}

/**
 * Every reason for which a packet or connection is dropped. Each is a counter. Add new reasons here, in alphabetical
 * order.
 */
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
      /** "reclaimed": another guest needs the address, and its holder is gone or its cable holds most addresses. */
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
      /**
       * For TCP: how many segments were sent to the guest again, and its smoothed round-trip time in milliseconds (-1:
       * never measured).
       */
      retransmissions?: number;
      rtt?: number;
    }
  /** A rule has refused a flow, or ended one when the rules changed. */
  | {
      type: "flow-refused";
      proto: "tcp" | "udp" | "icmp" | "dns";
      /** The guest's `IP:PORT`; its address alone with ICMP. */
      guest: string;
      remote: string;
      /** The name by which the guest knows the remote address; for a query, the name asked for. */
      host: string | null;
      direction: "out" | "in";
      /** The guest's cable; null if no cable is known to have its address. */
      cable: string | null;
      /** The rule that decided, as it was written, or the default. */
      rule: string;
      /**
       * The reason in one line: the rule, and, behind it, the name that the connection's first bytes have shown
       * ("default deny: TLS name evil.test"), the limit that was reached ("limit any conns=50: 50 at once"), or the
       * rule that seems to fit and does not.
       */
      reason: string;
      /** The type that a DNS query asks for. */
      qtype?: number;
      /**
       * The narrowest rule that would have allowed the flow, if it stood before any rule that denies it; null if none
       * would.
       */
      remedy: string | null;
      /**
       * `NAME[PID]` of the process that asked, if the guest is a network namespace of this machine (a TAP) and the
       * process was found. The process chooses its name itself.
       */
      process?: string;
    }
  /**
   * Rules have let a flow begin, or a connection has shown another name than it began with. Reported if
   * `StackConfig.tellAllowed` is set.
   */
  | {
      type: "flow-allowed";
      proto: "tcp" | "udp" | "icmp" | "dns";
      guest: string;
      remote: string;
      host: string | null;
      direction: "out";
      /** The guest's cable; null if no cable is known to have its address. */
      cable: string | null;
      /** `NAME[PID]`, as for a refusal. */
      process?: string;
      /** The rule that decided, as it was written, or the default. */
      rule: string;
      /** The narrowest rule that allows the flow; null where a rule of its own does already. */
      needs: string | null;
      /** The name that the connection's first bytes have shown. `instead` is then the rule that is no longer needed. */
      shown?: string;
      instead?: string;
    }
  | {
      type: "tftp";
      guest: string;
      file: string;
      /** Bytes that the guest has acknowledged. */
      bytes: number;
      /** Why the transfer failed; null when the guest has the whole file. */
      error: string | null;
    }
  | {
      /**
       * A line from a guest forward's program. Or a line about a program that cannot be started; then `pid` is null.
       */
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
      /** The first four addresses in the answer. */
      addresses: readonly string[];
    }
  /**
   * A line for the user: guests want something that this network does not offer, and an option or a change would
   * provide it.
   */
  | { type: "notice"; text: string };

/** Reports nothing: for tests, and for networks that nobody watches. */
export const NO_TRACE: Trace = { drop() {}, event() {} };
