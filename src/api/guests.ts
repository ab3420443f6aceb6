/**
 * The control API where each guest has a network of its own. The application for a guest's network is made when
 * somebody first asks for it, and only a few are kept, because most guests are never looked at.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { FastifyInstance } from "fastify";
import type { Registry } from "prom-client";
import type { GuestNetwork, GuestNetworks } from "../guest-networks.ts";
import { dial, refuseDial } from "./dial.ts";
import { guestMetrics } from "./guest-metrics.ts";
import { History } from "./history.ts";
import { listeningShown } from "./listening.ts";
import { Metrics } from "./metrics.ts";
import { RecentEvents } from "./recent.ts";
import { type Api, type ApiOptions, application } from "./server.ts";
import { type ApiSurroundings, askedOf, dialTarget, type SeveralNetworks, serveSeveral } from "./several.ts";

/** How many events are kept of each guest; there are many guests. */
const KEPT_EVENTS = 100;
/** How many guests may have an application at a time. */
const KEPT_APPS = 16;

/** The things kept of a guest for API clients. */
interface Looked {
  readonly recent: RecentEvents;
  app: Promise<FastifyInstance> | null;
}

/** Serves the API of all guests' networks. Rejects with an `Error` of one line when the host refuses. */
export async function serveGuestsApi(networks: GuestNetworks, options: ApiOptions): Promise<Api> {
  return serveSeveral(options, (surroundings) => new Guests(networks, options, surroundings));
}

function described({ id, cable, since, network }: GuestNetwork): object {
  const [lease] = network.leases();
  const { bytesIn, bytesOut, tcpFlows, udpFlows } = network.stats();
  const { ip = null, mac = null, hostname = null } = lease ?? {};
  return { id, cable, since, ip, mac, hostname, bytesIn, bytesOut, tcpFlows, udpFlows };
}

class Guests implements SeveralNetworks {
  readonly each = "guest";
  readonly #networks: GuestNetworks;
  readonly #version: string;
  readonly #surroundings: ApiSurroundings;
  readonly #registry: Registry;
  readonly #looked: Map<string, Looked> = new Map();
  /** Guests that have an application, the one asked longest ago first. */
  readonly #apps: Set<string> = new Set();
  readonly #come = ({ id, network }: GuestNetwork): void => {
    this.#looked.set(id, { recent: new RecentEvents(network, KEPT_EVENTS), app: null });
  };
  readonly #left = ({ id }: GuestNetwork): void => {
    this.#looked.get(id)?.recent.close();
    void this.#drop(id);
    this.#looked.delete(id);
  };

  constructor(networks: GuestNetworks, { version, processMetrics = true }: ApiOptions, surroundings: ApiSurroundings) {
    this.#networks = networks;
    this.#version = version;
    this.#surroundings = surroundings;
    this.#registry = guestMetrics(networks, processMetrics);
    for (const guest of networks.list()) this.#come(guest);
    networks.on("come", this.#come).on("left", this.#left);
  }

  list(): object[] {
    return this.#networks.list().map(described);
  }

  status(): object {
    const networks = this.#networks;
    return {
      ...{ perGuest: true, networks: networks.list().length, listening: listeningShown(networks.listening()) },
      ...{ rules: networks.rules(), heldBytes: networks.heldBytes, ...networks.totals() },
    };
  }

  async metrics(): Promise<{ type: string; text: string }> {
    return { type: this.#registry.contentType, text: await this.#registry.metrics() };
  }

  take(request: IncomingMessage, response: ServerResponse): boolean {
    const asked = askedOf(request.url, /^g/);
    const guest = asked === null ? null : this.#networks.get(asked.id);
    const looked = guest === null ? undefined : this.#looked.get(guest.id);
    if (guest === null || looked === undefined) return false;
    this.#apps.delete(guest.id);
    this.#apps.add(guest.id);
    if (this.#apps.size > KEPT_APPS) void this.#drop(this.#apps.values().next().value!);
    looked.app ??= this.#made(guest, looked.recent);
    request.url = asked!.path;
    looked.app.then(
      (app) => app.routing(request, response),
      () => response.writeHead(500).end(),
    );
    return true;
  }

  /**
   * `g1:22` is the guest's own address, `HOST.g1:22` is HOST in that guest's network, which has several addresses when the
   * guest is a machine with machines in it.
   */
  dial(target: string, socket: Duplex, head: Buffer): void {
    const wanted = dialTarget(target);
    const network = wanted === null ? undefined : this.#networks.get(wanted.id)?.network;
    const host = wanted?.host ?? network?.leases()[0]?.ip;
    if (wanted !== null && network !== undefined && host !== undefined)
      return void dial(network, `${host}:${wanted.port}`, socket, head);
    const line =
      "expected ID:PORT or HOST.ID:PORT, with the ID of a guest that /v1/networks lists and that has a lease";
    refuseDial(socket, wanted === null ? "400 Bad Request" : "404 Not Found", line);
  }

  protectPort(port: number): void {
    this.#networks.protectPort(port);
  }

  async close(): Promise<void> {
    this.#networks.off("come", this.#come).off("left", this.#left);
    for (const { recent } of this.#looked.values()) recent.close();
    await Promise.all([...this.#apps].map((id) => this.#drop(id)));
    this.#looked.clear();
    this.#registry.clear();
  }

  async #made({ network, since }: GuestNetwork, recent: RecentEvents): Promise<FastifyInstance> {
    const { token, endings } = this.#surroundings;
    const metrics = new Metrics(network, { process: false });
    const history = new History(network);
    const env = { network, recent, metrics, history, version: this.#version, startedAt: since, endings };
    const app = await application(env, token, () => {});
    app.addHook("onClose", async () => {
      metrics.close();
      history.close();
    });
    await app.ready();
    return app;
  }

  async #drop(id: string): Promise<void> {
    this.#apps.delete(id);
    const looked = this.#looked.get(id);
    const app = looked?.app ?? null;
    if (looked !== undefined) looked.app = null;
    await (await app?.catch(() => null))?.close();
  }
}
