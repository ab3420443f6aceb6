/** What the compliance suite needs around a `HostNet`: far ends to play with, and a way to wait. */
import type { Endpoint, HostNet, IpText, UnixEndpoint } from "../../src/core/host-net.ts";

/** The other end of a TCP connection. */
export interface Far {
  /** All bytes that have arrived. */
  readonly received: Uint8Array;
  /** It has seen FIN. */
  readonly ended: boolean;
  /** `undefined` while open, `null` after both ends' FIN, else the code. */
  readonly closed: string | null | undefined;
  send(bytes: Uint8Array | string): void;
  end(): void;
  reset(): void;
  stall(): void;
  unstall(): void;
}

export interface FarUdp {
  readonly at: Endpoint;
  readonly received: readonly { readonly bytes: Uint8Array; readonly from: Endpoint }[];
  send(bytes: Uint8Array | string, to: Endpoint): void;
}

export interface Rig {
  readonly net: HostNet;
  /** Where connections are accepted, and the far ends of those so far. */
  serve(): Promise<{ readonly at: Endpoint; readonly far: readonly Far[] }>;
  /** A client of one of `net`'s listeners. */
  dial(at: Endpoint | UnixEndpoint): Far;
  udpFar(): Promise<FarUdp>;
  /** An address at which nobody is, for TCP and UDP. */
  readonly refused: Endpoint;
  /** One to which there is no way. */
  readonly unreachable: Endpoint;
  /** Who answers echo requests; null where the machine has no means of sending any. */
  readonly echoes: IpText | null;
  /** Waits until it holds; fails when it never does. */
  until(holds: () => boolean): Promise<void>;
  /** Waits long enough for what must not happen to have happened. */
  quiet(): Promise<void>;
  /** How many sockets are open: `net`'s, and on a real host the far ends', too. */
  handles(): number;
  /** Ends the far ends. */
  close(): Promise<void>;
}
