/**
 * Lifetimes as a property: machines come and go, take each other's addresses, dial, are dialled, stall and sleep, in an
 * order that a seed decides. After each step these hold:
 *
 * - no byte of one machine's flows reaches another machine, nor what another says one's far end;
 * - no flow outlives its guest by more than `absentSeconds`;
 * - no flow whose host takes nothing outlives a guest that has forgotten it without a word;
 * - a machine that is there gets a lease, its forward's clients, and what its connections are sent;
 * - when all are gone, nothing is held any more.
 */
import { cable } from "../../src/attach/memory.ts";
import { resolveOptions } from "../../src/control/options.ts";
import type { TraceEvent } from "../../src/core/trace.ts";
import { Stack } from "../../src/stack.ts";
import { ManualClock } from "../support/clock.ts";
import { type FakeFar, FakeHost } from "../support/fake-host.ts";
import { FAR_IP } from "../support/packet-script.ts";
import { SeededRandom } from "../support/random.ts";
import { type Connection, Machine } from "./machine.ts";

const MACHINES = 5;
const SECOND = 1_000;
const DAY = 86_400 * SECOND;
export const ABSENT = 30;
/** Where both forwards lead. */
const FORWARDED = "10.0.2.15";
const HERE = { host: "127.0.0.1", port: 8080 };
const HERE_UDP = { host: "127.0.0.1", port: 5353 };
/** More than a far end that has stalled takes, in bytes. */
const MUCH = 70_000;
/** Two minutes until the guest is asked, and two more for what it had sent. */
const FORGOTTEN = 250 * SECOND;
/** The clock steps that there are, in milliseconds. */
const STEPS = [200, SECOND, 5 * SECOND, ABSENT * SECOND, 200 * SECOND, 3_600 * SECOND, DAY];

interface Dialled {
  readonly machine: Machine;
  readonly connection: Connection;
  readonly far: FakeFar;
  sent: number;
}

export class LifetimeWorld {
  readonly steps: string[] = [];
  readonly #clock = new ManualClock(1_000);
  readonly #host = new FakeHost();
  readonly #stack: Stack;
  readonly #machines: Machine[];
  readonly #random: SeededRandom;
  readonly #violations: string[] = [];
  /** When each address was last some plugged machine's, and when each flow was first seen. */
  readonly #held: Map<string, number> = new Map();
  /** When each address was last known to be behind a cable. */
  readonly #reached: Map<string, number> = new Map();
  readonly #seen: Map<string, number> = new Map();
  #dialled: Dialled[] = [];
  #clients: FakeFar[] = [];
  /** Far ends that have said all they have to say. */
  readonly #ended: WeakSet<FakeFar> = new WeakSet();
  /** Whose datagrams came from a port of the host's. */
  readonly #mappings: Map<number, string> = new Map();
  /** Why flows have ended since the network began to close. */
  #closing: Map<string, string> | null = null;
  readonly #udpFar;

  constructor(seed: number, judged: boolean) {
    this.#random = new SeededRandom(seed);
    const { stack } = resolveOptions({
      ...{ mtu: 1500, ipv6: false, limits: { absentSeconds: ABSENT } },
      hostfwd: [`tcp:127.0.0.1:8080-${FORWARDED}:80`, `udp:127.0.0.1:5353-${FORWARDED}:53`],
    });
    const gate = {
      active: true,
      judge: (_flow: unknown, done: (ruling: { action: "allow" }) => void) =>
        this.#host.defer(() => done({ action: "allow" })),
    };
    this.#stack = new Stack(stack, {
      ...{ host: this.#host, clock: this.#clock, random: new SeededRandom(seed + 1), gate: judged ? gate : null },
      dns: { query: (_query, _tcp, answer) => answer(null), close() {} },
      trace: { drop() {}, event: (event) => this.#event(event) },
    });
    this.#machines = Array.from({ length: MACHINES }, (_, i) => new Machine(i, (what) => this.#violations.push(what)));
    this.#udpFar = this.#host.udpFar({ host: FAR_IP, port: 7 });
  }

  async open(): Promise<void> {
    await this.#stack.open();
  }

  /** One step. Throws what does not hold. */
  async step(): Promise<void> {
    const machine = this.#pick(this.#machines)!;
    const [name, act] = this.#pick(this.#actions())!;
    this.steps.push(`${name} ${machine.letter}`);
    await act(machine);
    await this.#settle();
    this.#check();
  }

  /** Everybody leaves. Throws what is still held after all times. */
  async finish(): Promise<void> {
    for (const machine of this.#machines) this.#unplug(machine);
    for (const far of this.#fars()) far.unstall();
    await this.#advance(2 * DAY);
    await this.#settle();
    this.#check();
    const held = Object.entries(this.#stack.gauges()).filter(([, value]) => value !== 0);
    if (held.length > 0) throw new Error(`still held when all are gone: ${held.join("; ")}`);
    // Both forwards.
    if (this.#host.open !== 2) throw new Error(`${this.#host.open} host sockets are open, expected the 2 forwards`);
  }

  /**
   * The network closes in the middle of everything. Throws what is left of it, and who is not told: each flow ends for
   * that reason, each far end and each machine that hears is told, and what machines send then begins nothing.
   */
  async teardown(): Promise<void> {
    const keys = new Set(this.#stack.flows().map(({ proto, guest, remote }) => `${proto} ${guest} ${remote}`));
    const fars = this.#fars();
    const told = this.#machines.flatMap((m) =>
      m.connections
        .filter(({ ip, port, farPort, state }) => {
          const there = m.cable !== null && !this.#stalled.has(m) && this.#stack.cableOf(ip) === m.cable.link;
          return there && state === "open" && keys.has(`tcp ${ip}:${port} ${FAR_IP}:${farPort}`);
        })
        .map((connection) => ({ m, connection })),
    );
    for (const m of this.#machines) m.insistent = true;
    this.#closing = new Map();
    this.#stack.close();
    for (const m of this.#machines) {
      if (m.ip === null) continue;
      m.dial(80);
      m.datagram(4_000, 7);
      m.ping(1);
    }
    await this.#settle();
    const ended = this.#closing;
    const wrong = [...keys]
      .filter((key) => ended.get(key) !== "network closed")
      .map((key) => `${key}: ${ended.get(key)}`);
    for (const { m, connection } of told) if (connection.state !== "closed") wrong.push(`${m.letter} is not told`);
    for (const far of fars) if (far.closed === undefined) wrong.push("a far end is not told");
    for (const [gauge, value] of Object.entries(this.#stack.gauges())) if (value !== 0) wrong.push(`${gauge} ${value}`);
    if (this.#host.open !== 0) wrong.push(`${this.#host.open} host sockets`);
    if (this.#stack.pollAt() !== Number.POSITIVE_INFINITY) wrong.push("a deadline");
    wrong.push(...this.#violations);
    if (wrong.length > 0) throw new Error(`left by a network that closed: ${wrong.join("; ")}`);
  }

  #event(event: TraceEvent): void {
    if (event.type === "flow-close") this.#closing?.set(`${event.proto} ${event.guest} ${event.remote}`, event.reason);
    if (event.type !== "flow-close" || event.reason !== "guest-gone") return;
    const held = this.#reached.get(event.guest.split(":")[0]!);
    if (held !== undefined && this.#clock.now() - held < (ABSENT - 1) * SECOND)
      this.#violations.push(`${event.guest} has not been gone long when its flow ends`);
  }

  #actions(): [string, (machine: Machine) => unknown][] {
    return [
      ["plug", (m) => this.#plug(m)],
      ["unplug", (m) => this.#unplug(m)],
      ["reconnect", (m) => this.#reconnect(m)],
      ["lease", (m) => this.#lease(m)],
      ["renew", (m) => void (m.cable !== null && !this.#stalled.has(m) && m.renew())],
      ["take the address of another", (m) => this.#takeAddress(m)],
      ["follow another at once", (m) => this.#follow(m)],
      ["follow another at once", (m) => this.#follow(m)],
      ["take a place of its own", (m) => this.#configure(m, `10.0.2.${100 + this.#below(3)}`)],
      ["start anew", (m) => m.forgetConnections()],
      ["dial", (m) => this.#dial(m)],
      ["dial", (m) => this.#dial(m)],
      ["be dialled", () => this.#client()],
      ["write", (m) => this.#pick(m.connections) && m.write(this.#pick(m.connections)!, 100)],
      ["hear", () => this.#farSends()],
      ["end", (m) => this.#pick(m.connections) && m.end(this.#pick(m.connections)!)],
      ["reset", (m) => this.#pick(m.connections) && m.reset(this.#pick(m.connections)!)],
      ["far end", () => this.#farEnds()],
      ["far reset", () => this.#pick(this.#fars())?.reset()],
      ["far stalls", () => this.#pick(this.#fars())?.stall()],
      ["far goes on", () => this.#pick(this.#fars())?.unstall()],
      ["is deaf", (m) => (m.deaf = true)],
      ["hears", (m) => (m.deaf = false)],
      ["cable stalls", (m) => this.#stall(m, true)],
      ["cable goes on", (m) => this.#stall(m, false)],
      ["datagram", (m) => m.datagram(4_000 + this.#below(3), 7)],
      ["answered", () => this.#answer()],
      ["datagram to a forward", () => this.#clientDatagram()],
      ["ping", (m) => m.ping(1 + this.#below(2))],
      ["time", () => this.#advance(this.#pick(STEPS)!)],
      ["time", () => this.#advance(this.#pick(STEPS)!)],
      ["all is well", (m) => this.#serve(m)],
      ["sends what nobody takes, and forgets", (m) => this.#forget(m)],
    ];
  }

  readonly #stalled: Set<Machine> = new Set();

  #plug(m: Machine): void {
    if (m.cable !== null) return;
    m.cable = cable(this.#stack, { onFrame: (frame) => m.receive(frame) });
    m.addresses.clear();
    m.hello();
  }

  #unplug(m: Machine): void {
    m.cable?.close();
    m.cable = null;
    this.#stalled.delete(m);
  }

  #reconnect(m: Machine): void {
    this.#unplug(m);
    this.#plug(m);
  }

  #stall(m: Machine, stalled: boolean): void {
    if (m.cable === null) return;
    m.cable.stall(stalled);
    if (stalled) this.#stalled.add(m);
    else this.#stalled.delete(m);
  }

  #lease(m: Machine): void {
    if (m.cable === null || this.#stalled.has(m)) return;
    if (!m.lease()) this.#violations.push(`${m.letter} gets no lease`);
  }

  #takeAddress(m: Machine): void {
    const other = this.#pick(this.#machines)!;
    if (other !== m && other.ip !== null && other.cable === null) this.#configure(m, other.ip);
  }

  /** Another's cable is pulled, and this machine is there with its address. */
  #follow(m: Machine): void {
    const other = this.#pick(this.#machines)!;
    if (other === m || other.ip === null || other.cable === null) return;
    this.#unplug(other);
    this.#plug(m);
    this.#configure(m, other.ip);
  }

  #configure(m: Machine, ip: string): void {
    m.forgetConnections();
    m.ip = ip;
    m.hello();
  }

  #dial(machine: Machine): void {
    if (machine.cable === null) return;
    const before = this.#host.dialled.length;
    const connection = machine.dial(80);
    this.#host.run();
    const far = this.#host.dialled[before];
    if (far !== undefined && connection !== null) this.#dialled.push({ machine, connection, far, sent: 0 });
  }

  #client(): FakeFar {
    const client = this.#host.dial(HERE);
    this.#clients.push(client);
    return client;
  }

  #farSends(): void {
    const dialled = this.#pick(this.#dialled);
    if (dialled !== undefined) this.#tell(dialled, 500);
    const client = this.#pick(this.#clients);
    const owner = client && this.#ownerOf(client);
    if (owner !== undefined && !this.#ended.has(client!)) client!.send(owner.letter.toLowerCase().repeat(500));
  }

  #tell(dialled: Dialled, len: number): void {
    if (dialled.far.closed !== undefined || this.#ended.has(dialled.far)) return;
    dialled.far.send(dialled.machine.letter.toLowerCase().repeat(len));
    dialled.sent += len;
  }

  #farEnds(): void {
    const far = this.#pick(this.#fars());
    if (far === undefined) return;
    far.end();
    this.#ended.add(far);
  }

  /** The machine that has taken a client. */
  #ownerOf(client: FakeFar): Machine | undefined {
    const { port } = client.at as { port: number };
    return this.#machines.find((m) => m.clients.has(port));
  }

  #answer(): void {
    const [port, letter] = this.#pick([...this.#mappings]) ?? [0, ""];
    if (letter !== "") this.#udpFar.send(letter.toLowerCase().repeat(30), { host: "127.0.0.1", port });
  }

  /** The only machine there that says it has the forwards' address. */
  #forwarded(): Machine | undefined {
    const all = this.#machines.filter((m) => m.cable !== null && m.addresses.has(FORWARDED));
    return all.length === 1 && all[0]!.ip === FORWARDED ? all[0] : undefined;
  }

  #clientDatagram(): void {
    const owner = this.#forwarded();
    if (owner === undefined) return;
    const client = this.#host.udpFar({ host: "203.0.113.1", port: 4_000 + this.#below(3) });
    client.send(owner.letter.toLowerCase().repeat(10), HERE_UDP);
  }

  /** A machine that is there, hears and has an address of its own is served. */
  async #serve(m: Machine): Promise<void> {
    if (m.cable === null || this.#stalled.has(m) || m.deaf) return;
    this.#lease(m);
    const rival = this.#machines.some((each) => each !== m && each.cable !== null && each.addresses.has(m.ip!));
    if (rival) return;
    if (this.#forwarded() === m) {
      const client = this.#client();
      await this.#advance(2 * SECOND);
      const { port } = client.at as { port: number };
      if (!m.clients.has(port)) this.#violations.push(`${m.letter} is not dialled by its forward`);
    }
    const mine = this.#dialled.filter((d) => d.machine === m && m.connections.includes(d.connection));
    for (const d of mine) this.#tell(d, 100);
    await this.#advance(100 * SECOND);
    for (const { connection, far, sent } of mine) {
      if (far.closed !== undefined || connection.state !== "open") continue;
      if (connection.got !== sent) this.#violations.push(`${m.letter} has ${connection.got} bytes of ${sent}`);
    }
  }

  /** What a machine has sent waits for a host that takes nothing, and the machine's kernel has given the connection up. */
  async #forget(m: Machine): Promise<void> {
    if (m.cable === null || this.#stalled.has(m)) return;
    const rival = this.#machines.some((each) => each !== m && each.cable !== null && each.addresses.has(m.ip!));
    const mine = this.#dialled.find((d) => d.machine === m && m.connections.includes(d.connection));
    if (rival || mine === undefined || mine.connection.state !== "open") return;
    mine.far.stall();
    for (let sent = 0; sent < MUCH; sent += 1_400) m.write(mine.connection, 1_400);
    if (this.#below(2) === 0) m.end(mine.connection);
    await this.#settle();
    m.connections = m.connections.filter((each) => each !== mine.connection);
    await this.#advance(FORGOTTEN);
    await this.#settle();
    if (mine.far.closed === undefined) this.#violations.push(`${m.letter} has forgotten a connection that goes on`);
  }

  /** Time passes, deadline by deadline. What a machine answers meanwhile arrives: its cable hands that over in a microtask. */
  async #advance(millis: number): Promise<void> {
    const end = this.#clock.now() + millis;
    for (;;) {
      this.#host.run();
      await Promise.resolve();
      this.#host.run();
      const next = this.#stack.pollAt();
      this.#notice();
      if (next > end) break;
      this.#clock.advance(Math.max(0, next - this.#clock.now()));
      this.#stack.poll(this.#clock.now());
    }
    this.#clock.advance(end - this.#clock.now());
  }

  async #settle(): Promise<void> {
    this.#host.run();
    await Promise.resolve();
    this.#host.run();
    this.#dialled = this.#dialled.filter(({ far }) => far.closed === undefined);
    this.#clients = this.#clients.filter(({ closed }) => closed === undefined);
  }

  /** Which addresses are somebody's now, and which flows there are. */
  #notice(): void {
    const now = this.#clock.now();
    for (const m of this.#machines) if (m.cable !== null) for (const ip of m.addresses) this.#held.set(ip, now);
    for (const ip of this.#held.keys()) if (this.#stack.cableOf(ip) !== null) this.#reached.set(ip, now);
  }

  #check(): void {
    this.#notice();
    const now = this.#clock.now();
    const keys = new Set<string>();
    for (const { proto, guest, remote, direction } of this.#stack.flows()) {
      const key = `${proto} ${direction} ${guest} ${remote}`;
      keys.add(key);
      if (!this.#seen.has(key)) this.#seen.set(key, now);
      const since = Math.max(this.#held.get(guest.split(":")[0]!) ?? 0, this.#seen.get(key)!);
      if (now - since > (ABSENT + 1) * SECOND) this.#violations.push(`${key} outlives its guest`);
    }
    for (const key of this.#seen.keys()) if (!keys.has(key)) this.#seen.delete(key);
    for (const { machine, far } of this.#dialled) this.#only(machine, far.text);
    for (const client of this.#clients) {
      const owner = this.#ownerOf(client);
      if (owner !== undefined) this.#only(owner, client.text);
    }
    for (const { bytes, from } of this.#udpFar.received.splice(0)) {
      const letter = String.fromCharCode(bytes[0]!);
      const known = this.#mappings.get(from.port);
      if (known !== undefined && known !== letter) this.#violations.push(`${letter} speaks by ${known}'s mapping`);
      this.#mappings.set(from.port, letter);
    }
    if (this.#violations.length > 0) throw new Error(this.#violations.join("; "));
  }

  #only({ letter }: Machine, text: string): void {
    for (const char of text)
      if (char !== letter) return void this.#violations.push(`${letter}'s far end heard ${char}`);
  }

  #fars(): FakeFar[] {
    return [...this.#dialled.map(({ far }) => far), ...this.#clients];
  }

  #below(n: number): number {
    return (this.#random.u32() >>> 0) % n;
  }

  #pick<T>(from: readonly T[]): T | undefined {
    return from[this.#below(Math.max(1, from.length))];
  }
}

/** A world of a seed, for so many steps, and then its end: all leave, or the network closes. Throws with the steps that led there. */
export async function live(seed: number, steps: number, end: "finish" | "teardown" = "finish"): Promise<void> {
  const world = new LifetimeWorld(seed, seed % 2 === 1);
  await world.open();
  try {
    for (let i = 0; i < steps; i++) await world.step();
    await world[end]();
  } catch (error) {
    const last = world.steps.slice(-25).join(", ");
    throw new Error(`seed ${seed}, step ${world.steps.length}: ${(error as Error).message} (last: ${last})`, {
      cause: error,
    });
  }
}
