/**
 * A UDP mapping on one unconnected socket that receives ICMP errors: one port for all destinations (RFC 4787 section
 * 4.1), without the peers of `udp.ts`. Hop limit and DF are the guest's, so its traceroute shows the routers on the
 * path, and a datagram that is too big gets an error with the MTU.
 */
import type { Endpoint, HostIcmpError, HostUdp, HostUdpEvents } from "../core/host-net.ts";
import type { Random } from "../core/random.ts";
import { HeardSocket } from "./heard-socket.ts";
import { type Inbox, LastSender } from "./inbox.ts";
import type { Libc, QueuedError } from "./libc.ts";
import type { Outbox, Sender } from "./outbox.ts";
import type { OwnPorts } from "./own-ports.ts";
import { PORT_TRIES, randomPort, type UdpEnv } from "./udp.ts";

const IPPROTO_UDP = 17;
const MAX_DATAGRAM = 65_507;

export class HeardUdp extends HeardSocket implements HostUdp, Sender {
  firstMessage = -1;
  lastMessage = -1;
  runs = true;
  readonly #outbox: Outbox;
  readonly #events: HostUdpEvents;
  readonly #ownPorts: OwnPorts;
  readonly #from: LastSender = new LastSender();

  /** Throws a Node error (EMFILE, EADDRNOTAVAIL). */
  constructor(libc: Libc, outbox: Outbox, family: 4 | 6, address: string, env: UdpEnv, events: HostUdpEvents) {
    super(libc, family, open(libc, family, address, env.random), true);
    this.#outbox = outbox;
    this.#ownPorts = env.ownPorts;
    this.#events = events;
  }

  send(bytes: Uint8Array, at: number, len: number, to: Endpoint, ttl: number, df: boolean): void {
    if (this.closed || to.port === 0) return;
    if (this.#ownPorts.hasUdp(to.host, to.port)) return this.#fail(hostSays("ECONNREFUSED"), to);
    if (len > MAX_DATAGRAM) return this.#fail(hostSays("EMSGSIZE"), to);
    if (!this.hasOptions(ttl, df)) {
      if (this.firstMessage >= 0) this.#outbox.flush();
      this.setOptions(ttl, df);
    }
    if (this.#outbox.corked) this.#outbox.add(this, bytes, at, len, to);
    else this.sendNow(bytes, at, len, to);
  }

  sendNow(bytes: Uint8Array, at: number, len: number, to: Endpoint): void {
    const error = this.transmit(bytes.subarray(at, at + len), len, to.host, to.port);
    if (error !== null) this.#fail(error, to);
  }

  override lost(count: number): void {
    this.#events.onUdpLost?.(count);
  }

  /** Sends the datagrams that wait in the outbox first. */
  override close(): void {
    if (this.firstMessage >= 0) this.#outbox.flush();
    super.close();
  }

  #fail(error: HostIcmpError, to: Endpoint): void {
    process.nextTick(() => this.closed || this.#events.onUdpError(error, to));
  }

  protected received(inbox: Inbox, i: number, at: number, len: number): void {
    this.#events.onDatagram(inbox.bytes, at, len, inbox.sender(i, this.#from));
  }

  protected heard(e: QueuedError, error: HostIcmpError): () => void {
    const to = { host: e.to, port: e.port };
    return () => this.#events.onUdpError(error, to);
  }
}

function hostSays(code: string): HostIcmpError {
  return { code, from: null, type: -1, icmpCode: -1, mtu: 0 };
}

/** A socket bound to an unpredictable port that nobody has. */
function open(libc: Libc, family: 4 | 6, address: string, random: Random): number {
  const fd = libc.socket(family, IPPROTO_UDP);
  if (family === 6) libc.v6Only(fd);
  for (let tries = 1; ; tries++) {
    try {
      libc.bind(fd, address, randomPort(random));
      return fd;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EADDRINUSE" && tries < PORT_TRIES) continue;
      libc.close(fd);
      throw error;
    }
  }
}
