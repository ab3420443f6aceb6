/** Port forwards: host ports that lead into guests, added and removed while the network runs. */
import { addressFromText, type Endpoint, endpointText, type IpAddress } from "../core/address.ts";
import type { Clock } from "../core/clock.ts";
import { closedError } from "../core/closed.ts";
import type { ForwardRule, StackConfig } from "../core/config.ts";
import type { HostListener, HostNet, HostUdp, UnixEndpoint } from "../core/host-net.ts";
import type { Link } from "../core/link.ts";
import type { Trace } from "../core/trace.ts";
import type { Neighbour, Neighbours } from "../proto/neighbours.ts";
import type { TcpNat } from "./tcp/tcp-nat.ts";
import type { UdpNat } from "./udp/udp-nat.ts";

/** A forward that is open. If the rule's port was 0, `address` has the port that the system chose. */
export interface OpenForward {
  readonly rule: ForwardRule;
  readonly address: Endpoint | UnixEndpoint;
}

interface Entry extends OpenForward {
  /** Stops listening. */
  close(): void;
}

/** Finds the guests of forwards that give a name, or no guest at all. */
export interface ForwardGuests {
  /** The address of the guest with this name; null when no guest has it. */
  named(name: string): IpAddress | null;
  /** The guest of forwards that name none. */
  first(): IpAddress;
}

/**
 * Closes a port of this machine to guests, at whatever address they dial it. Returns a function that opens it again.
 */
export type ProtectPort = (port: number) => () => void;

/** The parts of the network that forwards need. */
export interface ForwardContext {
  readonly host: HostNet;
  readonly tcp: TcpNat;
  readonly udp: UdpNat;
  readonly neighbours: Neighbours;
  readonly guests: ForwardGuests;
  readonly trace: Trace;
  readonly clock: Clock;
  /** The cables that are plugged in. */
  readonly links: ReadonlySet<Link>;
  /** Null: guests may reach forwards' ports. */
  readonly protectPort: ProtectPort | null;
  /** A deadline moved to an earlier time. */
  wake(): void;
}

/** The least time between two log lines about one forward. */
const NOTICE_PAUSE_MS = 60_000;
/**
 * How long after a client's arrival a guest that has not answered is reported: a guest that is there answers sooner.
 */
const PATIENCE_MS = 3_000;

export class Forwards {
  readonly #config: StackConfig;
  readonly #env: ForwardContext;
  readonly #entries: Entry[] = [];
  /** For each forward, by its teller, whose guest has not answered yet: when to report that. The earliest first. */
  readonly #doubts: Map<
    (what: string) => void,
    { readonly guest: Neighbour; readonly epoch: number; readonly at: number }
  > = new Map();
  /** How many forwards are about to listen. */
  #opening = 0;
  #closed = false;

  constructor(config: StackConfig, env: ForwardContext) {
    this.#config = config;
    this.#env = env;
  }

  list(): readonly OpenForward[] {
    return this.#entries.map(({ rule, address }) => ({ rule, address }));
  }

  /**
   * Listens, at `at` if that is given (where the rule leaves the port open). Rejects with the host's error (EADDRINUSE,
   * EACCES), which names the address; also when there are too many forwards, or the network has closed meanwhile.
   */
  async add(rule: ForwardRule, at: Endpoint | UnixEndpoint = rule.host): Promise<OpenForward> {
    const { forwards } = this.#config.limits;
    this.#needOpen();
    if (this.#entries.length + this.#opening >= forwards) {
      this.#env.trace.drop("forwards-full");
      throw new Error(`there are ${forwards} already, as many as the limit forwards allows`);
    }
    this.#opening++;
    try {
      const entry = await this.#listen(rule, at);
      // The network has closed meanwhile, so nobody else would close this forward.
      if (this.#closed) entry.close();
      this.#needOpen();
      this.#entries.push(entry);
      return entry;
    } finally {
      this.#opening--;
    }
  }

  #needOpen(): void {
    if (this.#closed) throw closedError();
  }

  async #listen(rule: ForwardRule, at: Endpoint | UnixEndpoint): Promise<Entry> {
    const { port, name } = rule.guest;
    const fixed = rule.guest.host === null ? null : addressFromText(rule.guest.host);
    const target = (): Neighbour | null => {
      const address = name === undefined ? (fixed ?? this.#env.guests.first()) : this.#env.guests.named(name);
      return address === null ? null : this.#env.neighbours.expect(address);
    };
    const tell = this.#teller(rule);
    let listener: HostListener;
    let socket: HostUdp | null = null;
    if (rule.proto === "tcp" || "path" in at)
      listener = await this.#env.host.listenTcp(at, (client) => {
        // A client whose guest nobody can name is reset.
        const guest = target();
        if (guest === null) tell("a client is refused: no guest has that name");
        else if (this.#env.links.size === 0) {
          this.#env.trace.drop("guest-unreachable");
          tell("a client is refused: no guest is plugged in");
        } else {
          this.#doubt(guest, tell);
          this.#env.tcp.accept(guest, port, client);
        }
      });
    else {
      const bound = await this.#env.host.bindUdp(at, {
        onDatagram: (bytes, at, len, from) => {
          const guest = target();
          if (socket === null || guest === null) return;
          this.#doubt(guest, tell);
          this.#env.udp.fromClient(guest, port, socket, from, bytes, at, len);
        },
        onUdpError: () => {},
        onUdpLost: (count) => this.#env.udp.lost(count),
      });
      socket = bound;
      listener = bound;
    }
    const { address } = listener;
    // Guests are isolated from each other, and must not meet by the host's loopback.
    const protectPort = this.#config.isolate ? this.#env.protectPort : null;
    const open = "port" in address ? (protectPort?.(address.port) ?? null) : null;
    const close = (): void => {
      listener.close();
      if (socket !== null) this.#env.udp.forwardClosed(socket);
      open?.();
    };
    return { rule, address, close };
  }

  /** Returns a function that logs lines about a forward, no more than one a minute. */
  #teller(rule: ForwardRule): (what: string) => void {
    let last = Number.NEGATIVE_INFINITY;
    return (what) => {
      const now = this.#env.clock.now();
      if (now - last < NOTICE_PAUSE_MS) return;
      last = now;
      const text = `forward ${forwardText(rule, this.#env.guests.first().text)}: ${what}`;
      this.#env.trace.event({ type: "notice", text });
    };
  }

  /** A client has come for a guest that may not be there: `poll` looks again later. */
  #doubt(guest: Neighbour, tell: (what: string) => void): void {
    if (guest.link !== null || this.#doubts.has(tell)) return;
    this.#doubts.set(tell, { guest, epoch: guest.epoch, at: this.#env.clock.now() + PATIENCE_MS });
    if (this.#doubts.size === 1) this.#env.wake();
  }

  pollAt(): number {
    for (const { at } of this.#doubts.values()) return at;
    return Number.POSITIVE_INFINITY;
  }

  /** Logs which guests have not answered. */
  poll(now: number): void {
    for (const [tell, { guest, epoch, at }] of this.#doubts) {
      if (at > now) return;
      this.#doubts.delete(tell);
      // If the epoch has changed, the guest has answered and gone again.
      if (guest.link === null && guest.epoch === epoch)
        tell(`a client waits, and nobody answers for ${guest.address.text}: is the guest's network up?`);
    }
  }

  /** Stops listening; TCP connections that exist go on. False when this forward is not open. */
  remove(forward: OpenForward): boolean {
    const i = this.#entries.findIndex((e) => e.rule === forward.rule);
    if (i < 0) return false;
    this.#entries[i]!.close();
    this.#entries.splice(i, 1);
    return true;
  }

  /** Closes all forwards for good. */
  close(): void {
    this.#closed = true;
    for (const entry of this.#entries) entry.close();
    this.#entries.length = 0;
    this.#doubts.clear();
  }
}

/** "tcp 127.0.0.1:2222 -> 10.0.2.15:22", for logs and errors. */
export function forwardText(rule: ForwardRule, firstLease: string): string {
  const host = "path" in rule.host ? `unix:${rule.host.path}` : endpointText(rule.host);
  return `${rule.proto} ${host} -> ${guestText(rule, firstLease)}`;
}

/** The guest's end of a forward: "10.0.2.15:22", "web:22". */
export function guestText({ guest: { host, name, port } }: ForwardRule, firstLease: string): string {
  return endpointText({ host: name ?? host ?? firstLease, port });
}
