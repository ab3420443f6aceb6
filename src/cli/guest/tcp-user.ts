/** A connection of the guest, as its user sees it. */

export type TcpState =
  | "CLOSED"
  | "SYN-SENT"
  | "SYN-RECEIVED"
  | "ESTABLISHED"
  | "FIN-WAIT-1"
  | "FIN-WAIT-2"
  | "CLOSE-WAIT"
  | "CLOSING"
  | "LAST-ACK"
  | "TIME-WAIT";

/** Why a connection ended: null after both directions ended in order. */
export type TcpEnd = null | "refused" | "reset" | "timeout";

export interface TcpEvents {
  onConnect?(): void;
  /** Bytes from the peer. The callee may keep them. */
  onData?(bytes: Uint8Array): void;
  /** The peer has sent FIN; all its bytes have been handed over. */
  onEnd?(): void;
  /** `write` takes bytes again, after it has taken fewer than it was given. */
  onWritable?(): void;
  onClose?(end: TcpEnd): void;
}

export interface TcpOptions {
  /** How many bytes `write` takes before they are acknowledged. */
  readonly sendBuffer?: number;
  /** How many bytes are kept for a user that does not read: the largest window. */
  readonly receiveBuffer?: number;
  readonly sack?: boolean;
  readonly timestamps?: boolean;
  readonly windowScale?: boolean;
}
