/**
 * Caps on what guests, clients and servers can make a network hold: docs/limits.md has a row for each, with its counter
 * and its test. What is for each guest is for each cable, since a guest calls itself by any MAC it likes. Nearly
 * everywhere one guest may have three quarters of all, so that it cannot keep the others out.
 */
export interface Limits {
  /** TCP connections. */
  readonly tcpFlows: number;
  readonly tcpFlowsPerGuest: number;
  /** Of these, not established yet: the oldest makes room, the same guest's if it has one. */
  readonly halfOpen: number;
  readonly halfOpenPerGuest: number;
  /** Seconds that the flows of a guest without a cable wait for it to come back. */
  readonly absentSeconds: number;
  /** UDP ports of guests, and clients of forwards; with rules or `onFlow` each destination. The longest silent makes room. */
  readonly udpFlows: number;
  readonly udpFlowsPerGuest: number;
  /** Echo identifiers; with rules or `onFlow` each destination. The longest silent makes room. */
  readonly icmpFlows: number;
  readonly icmpFlowsPerGuest: number;
  /** Flows that wait for the answer of `onFlow`. */
  readonly heldFlows: number;
  readonly heldFlowsPerGuest: number;
  /** Bytes of connections that wait for a name to show; the longest wait ends. */
  readonly nameWaitingBytes: number;
  /** DNS queries under way, and those over TCP among them. */
  readonly dnsInFlight: number;
  readonly dnsInFlightPerGuest: number;
  readonly dnsTcpInFlight: number;
  readonly dnsTcpInFlightPerGuest: number;
  /** Connections to our DNS server; the longest idle makes room. */
  readonly dnsConnections: number;
  /** Names that guests have resolved; the oldest of whoever has most make room. A guest is a MAC here. */
  readonly names: number;
  readonly namesPerGuest: number;
  readonly tftpSessions: number;
  readonly tftpSessionsPerGuest: number;
  /** Incomplete datagrams and their bytes; the oldest makes room, the same guest's if it has one. */
  readonly reassemblies: number;
  readonly reassembliesPerGuest: number;
  readonly reassemblyBytes: number;
  readonly reassemblyBytesPerGuest: number;
  /** Addresses of guests; the oldest makes room, the same guest's if it has one. */
  readonly neighbours: number;
  readonly neighboursPerGuest: number;
  /** Addresses that DHCP and DHCPv6 give at a time, as far as the net has them, and those of either pool that one guest may use without a lease. */
  readonly leases: number;
  readonly leasesPerGuest: number;
  readonly leases6: number;
  readonly leases6PerGuest: number;
  readonly claimsPerGuest: number;
  /** MAC addresses that the switch knows, of guests and behind each uplink; one's own oldest makes room. */
  readonly macs: number;
  readonly macsPerGuest: number;
  readonly uplinkMacs: number;
  /** Frames to all a second, and at once, from one cable. */
  readonly floodRate: number;
  /** Guests at one listening socket. */
  readonly cables: number;
  /** Host ports that lead into guests. */
  readonly forwards: number;
  /** Programs of guest forwards, Samba's among them. */
  readonly programs: number;
  readonly programsPerGuest: number;
  /** Rules that `learn` writes, and those that one guest may have caused. */
  readonly learnedRules: number;
  readonly learnedRulesPerGuest: number;
  /** Questions that wait for an answer of `ask`. */
  readonly asks: number;
  readonly asksPerGuest: number;
  /** Bytes of the audit that wait for the disk. */
  readonly auditBytes: number;
  /** Captures that run, and bytes of each that its writer has not taken. */
  readonly captures: number;
  readonly captureBytes: number;
  /** Clients of the API, streams of events among them, and clients of the SOCKS server. */
  readonly apiClients: number;
  readonly apiStreams: number;
  readonly socksClients: number;
  /** Bytes towards one connection's guest, and towards all: each may hold a quarter of what is left, and 2 kB in any case. */
  readonly sendBuffer: number;
  readonly sendBytes: number;
  /** Bytes from one connection's guest that its host has not taken, and those of all connections. */
  readonly receiveBuffer: number;
  readonly receiveBytes: number;
  readonly receiveBytesPerGuest: number;
  /** Bytes from guests that came before their turn, of all connections; more are dropped, and come again. */
  readonly outOfOrderBytes: number;
}

/** The most of whatever has its own place in a table, and of bytes. */
const COUNT = 65_536;
const MANY = 1_048_576;
const BYTES = 1_073_741_824;

/** By default, and at the most. */
const CAPS: { readonly [K in keyof Limits]: readonly [usual: number, most: number] } = {
  tcpFlows: [16_384, MANY],
  tcpFlowsPerGuest: [12_288, MANY],
  halfOpen: [1_024, COUNT],
  halfOpenPerGuest: [768, COUNT],
  absentSeconds: [120, COUNT],
  udpFlows: [4_096, COUNT],
  udpFlowsPerGuest: [3_072, COUNT],
  icmpFlows: [512, COUNT],
  icmpFlowsPerGuest: [64, COUNT],
  heldFlows: [1_024, COUNT],
  heldFlowsPerGuest: [768, COUNT],
  nameWaitingBytes: [16_777_216, BYTES],
  dnsInFlight: [512, COUNT],
  dnsInFlightPerGuest: [384, COUNT],
  dnsTcpInFlight: [64, COUNT],
  dnsTcpInFlightPerGuest: [48, COUNT],
  dnsConnections: [256, COUNT],
  names: [65_536, MANY],
  namesPerGuest: [49_152, MANY],
  tftpSessions: [64, 1_024],
  tftpSessionsPerGuest: [16, 1_024],
  reassemblies: [256, COUNT],
  reassembliesPerGuest: [192, COUNT],
  reassemblyBytes: [4_194_304, BYTES],
  reassemblyBytesPerGuest: [3_145_728, BYTES],
  neighbours: [1_024, COUNT],
  neighboursPerGuest: [768, COUNT],
  leases: [16, 4_096],
  leasesPerGuest: [12, 4_096],
  leases6: [256, 4_096],
  leases6PerGuest: [192, 4_096],
  claimsPerGuest: [4, COUNT],
  macs: [1_024, COUNT],
  macsPerGuest: [64, COUNT],
  uplinkMacs: [4_096, MANY],
  floodRate: [5_000, MANY],
  cables: [64, COUNT],
  forwards: [4_096, COUNT],
  programs: [64, COUNT],
  programsPerGuest: [48, COUNT],
  learnedRules: [4_000, 4_000],
  learnedRulesPerGuest: [3_000, 4_000],
  asks: [256, 4_096],
  asksPerGuest: [64, 4_096],
  auditBytes: [4_194_304, BYTES],
  captures: [16, 1_024],
  captureBytes: [16_777_216, BYTES],
  apiClients: [256, COUNT],
  apiStreams: [64, COUNT],
  socksClients: [1_024, COUNT],
  sendBuffer: [1_048_576, BYTES],
  sendBytes: [67_108_864, BYTES],
  receiveBuffer: [1_048_576, BYTES],
  receiveBytes: [67_108_864, BYTES],
  receiveBytesPerGuest: [50_331_648, BYTES],
  outOfOrderBytes: [67_108_864, BYTES],
};

function column(i: 0 | 1): Limits {
  return Object.fromEntries(Object.entries(CAPS).map(([name, caps]) => [name, caps[i]])) as unknown as Limits;
}

export const DEFAULT_LIMITS: Limits = column(0);
/** What each may be set to at the most. */
export const MOST_LIMITS: Limits = column(1);
