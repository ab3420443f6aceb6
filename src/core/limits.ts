/**
 * Caps on what guests, clients and servers can make a network hold: docs/limits.md has a row for each, with its counter
 * and its test. A cap per guest counts by cable, because a guest can use any MAC. Nearly everywhere one guest may have
 * three quarters of the whole, so that it cannot keep the others out.
 */
export interface Limits {
  /** TCP connections. */
  readonly tcpFlows: number;
  readonly tcpFlowsPerGuest: number;
  /** TCP connections that are not established yet. A new one ends the oldest, of the same guest if it has one. */
  readonly halfOpen: number;
  readonly halfOpenPerGuest: number;
  /** Seconds that the flows of a guest without a cable wait for it to come back. */
  readonly absentSeconds: number;
  /**
   * UDP ports of guests, and clients of forwards; with rules or `onFlow`, each destination counts. A new flow ends the
   * one that has been silent longest.
   */
  readonly udpFlows: number;
  readonly udpFlowsPerGuest: number;
  /**
   * Echo identifiers; with rules or `onFlow`, each destination counts. A new flow ends the one that has been silent
   * longest.
   */
  readonly icmpFlows: number;
  readonly icmpFlowsPerGuest: number;
  /** Flows that wait for the answer of `onFlow`. */
  readonly heldFlows: number;
  readonly heldFlowsPerGuest: number;
  /**
   * Bytes of connections that are held until their first bytes show a name. When these are too many, the longest wait
   * ends.
   */
  readonly nameWaitingBytes: number;
  /** DNS queries under way, and how many of them may go over TCP. */
  readonly dnsInFlight: number;
  readonly dnsInFlightPerGuest: number;
  readonly dnsTcpInFlight: number;
  readonly dnsTcpInFlightPerGuest: number;
  /** Connections to the network's DNS server. A new one ends the one that has been idle longest. */
  readonly dnsConnections: number;
  /**
   * Names that guests have resolved. A new name replaces the oldest of the guest that has most. Here a guest is a MAC.
   */
  readonly names: number;
  readonly namesPerGuest: number;
  readonly tftpSessions: number;
  readonly tftpSessionsPerGuest: number;
  /** Incomplete datagrams, and their bytes. A new one replaces the oldest, of the same guest if it has one. */
  readonly reassemblies: number;
  readonly reassembliesPerGuest: number;
  readonly reassemblyBytes: number;
  readonly reassemblyBytesPerGuest: number;
  /** Addresses of guests. A new one replaces the oldest, of the same guest if it has one. */
  readonly neighbours: number;
  readonly neighboursPerGuest: number;
  /**
   * Addresses leased at a time by DHCP (`leases`) and by DHCPv6 (`leases6`), if the net has as many; and addresses of
   * either pool that one guest may use without a lease (`claimsPerGuest`).
   */
  readonly leases: number;
  readonly leasesPerGuest: number;
  readonly leases6: number;
  readonly leases6PerGuest: number;
  readonly claimsPerGuest: number;
  /**
   * MAC addresses that the switch knows, of guests and behind each uplink. A new one replaces the oldest of the same
   * cable or uplink.
   */
  readonly macs: number;
  readonly macsPerGuest: number;
  readonly uplinkMacs: number;
  /** Frames to all guests that one cable may send in a second, and at once. */
  readonly floodRate: number;
  /** Guests that may be attached by one listening socket. */
  readonly cables: number;
  /** Host ports that lead to guests. */
  readonly forwards: number;
  /** Running programs of guest forwards, Samba's among them. */
  readonly programs: number;
  readonly programsPerGuest: number;
  /** Rules that `learn` writes, and how many of them one guest may cause. */
  readonly learnedRules: number;
  readonly learnedRulesPerGuest: number;
  /** Questions that wait for an answer of `ask`. */
  readonly asks: number;
  readonly asksPerGuest: number;
  /** Bytes of the audit that wait for the disk. */
  readonly auditBytes: number;
  /** Running captures, and bytes of each that its writer has not taken. */
  readonly captures: number;
  readonly captureBytes: number;
  /** Clients of the API, streams of events among them, and clients of the SOCKS server. */
  readonly apiClients: number;
  readonly apiStreams: number;
  readonly socksClients: number;
  /**
   * Bytes under way to the guest of one connection (`sendBuffer`), and of all connections (`sendBytes`). Each
   * connection may hold a quarter of the free bytes, and 2 kB in any case.
   */
  readonly sendBuffer: number;
  readonly sendBytes: number;
  readonly sendBytesPerGuest: number;
  /**
   * Bytes from the guest of one connection that its host has not taken (`receiveBuffer`), and of all connections
   * (`receiveBytes`).
   */
  readonly receiveBuffer: number;
  readonly receiveBytes: number;
  readonly receiveBytesPerGuest: number;
  /**
   * Bytes from guests, of all connections, that arrived ahead of a gap. More bytes are dropped, and guests send them
   * again.
   */
  readonly outOfOrderBytes: number;
  readonly outOfOrderBytesPerGuest: number;
}

/** Upper bounds of the caps: of entries that have a table slot each, of others, and of bytes. */
const COUNT = 65_536;
const MANY = 1_048_576;
const BYTES = 1_073_741_824;

/** Each cap's default, and the most that it may be set to. */
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
  sendBuffer: [4_194_304, BYTES],
  sendBytes: [67_108_864, BYTES],
  sendBytesPerGuest: [50_331_648, BYTES],
  receiveBuffer: [1_048_576, BYTES],
  receiveBytes: [67_108_864, BYTES],
  receiveBytesPerGuest: [50_331_648, BYTES],
  outOfOrderBytes: [67_108_864, BYTES],
  outOfOrderBytesPerGuest: [50_331_648, BYTES],
};

function column(i: 0 | 1): Limits {
  return Object.fromEntries(Object.entries(CAPS).map(([name, caps]) => [name, caps[i]])) as unknown as Limits;
}

export const DEFAULT_LIMITS: Limits = column(0);
/** The most that each cap may be set to. */
export const MOST_LIMITS: Limits = column(1);
