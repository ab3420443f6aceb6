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
  /** Bytes buffered towards one guest connection, and from one. */
  readonly sendBuffer: number;
  readonly receiveBuffer: number;
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
  sendBuffer: [1_048_576, BYTES],
  receiveBuffer: [262_144, BYTES],
};

function column(i: 0 | 1): Limits {
  return Object.fromEntries(Object.entries(CAPS).map(([name, caps]) => [name, caps[i]])) as unknown as Limits;
}

export const DEFAULT_LIMITS: Limits = column(0);
/** What each may be set to at the most. */
export const MOST_LIMITS: Limits = column(1);
