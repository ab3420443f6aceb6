/**
 * The control API where each guest has a network of its own: a list of them, their metrics, and for each what the API of
 * one network has, below `/v1/networks/ID/`. The application that tells of a guest's network is made when somebody first
 * asks for it, and a few are kept: most guests are never looked at.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import swagger from "@fastify/swagger";
import type { FastifyInstance } from "fastify";
import { DEFAULT_LIMITS } from "../core/limits.ts";
import type { GuestNetwork, GuestNetworks } from "../guest-networks.ts";
import { newToken } from "../host/token.ts";
import { refusal } from "./access.ts";
import { dial, refuseDial } from "./dial.ts";
import { Endings } from "./endings.ts";
import { guestMetrics } from "./guest-metrics.ts";
import { Metrics } from "./metrics.ts";
import { addPage } from "./page.ts";
import { RecentEvents } from "./recent.ts";
import { SCHEMAS } from "./schemas.ts";
import { type Api, type ApiOptions, application, bareApp, listen } from "./server.ts";

/** Of each guest: there are many. */
const KEPT_EVENTS = 100;
/** Guests that are looked at, at a time. */
const KEPT_APPS = 16;

/** What is kept of a guest for those who look. */
interface Looked {
  readonly recent: RecentEvents;
  app: Promise<FastifyInstance> | null;
}

/** Serves the API of all guests' networks. Rejects with an `Error` of one line when the host refuses. */
export async function serveGuestsApi(networks: GuestNetworks, options: ApiOptions): Promise<Api> {
  const { address, version } = options;
  const token = address.kind === "unix" ? null : (options.token ?? newToken());
  const sockets = new Set<Duplex>();
  const endings = new Endings();
  const guests = new Guests(networks, token, version, endings);
  const { apiClients } = DEFAULT_LIMITS;
  const app = bareApp(
    token,
    apiClients,
    () => {},
    (server) => {
      server.on("connection", (socket) => {
        sockets.add(socket);
        socket.on("close", () => sockets.delete(socket));
      });
      server.on("connect", (request, socket: Duplex, head: Buffer) => {
        if (refusal(request, token) !== null)
          return refuseDial(socket, "401 Unauthorized", "expected Authorization: Bearer TOKEN");
        void dialGuest(networks, request.url ?? "", socket, head);
      });
      // Before Fastify's own listener: a guest's application answers what is about that guest.
      const [own] = server.listeners("request") as ((request: IncomingMessage, response: ServerResponse) => void)[];
      server.removeAllListeners("request");
      server.on("request", (request, response) => {
        if (refusal(request, token) !== null || !guests.take(request, response)) own!(request, response);
      });
    },
    ownersOnly,
  );
  const registry = guestMetrics(networks, options.processMetrics ?? true);
  const startedAt = Date.now();
  await app.register(swagger, { openapi: { info: { title: "tslirp control API", version } } });
  app.get(
    "/v1/networks",
    {
      schema: {
        summary: "Guests, each with its network; below /v1/networks/ID/ is what the API of one network has",
        response: { 200: SCHEMAS.list },
      },
    },
    async () => networks.list().map(described),
  );
  app.get(
    "/v1/status",
    { schema: { summary: "What runs, and its counters", response: { 200: SCHEMAS.open } } },
    async () => ({
      ...{ version, pid: process.pid, uptimeSeconds: (Date.now() - startedAt) / 1000, perGuest: true },
      ...{
        networks: networks.list().length,
        rules: networks.rules(),
        heldBytes: networks.heldBytes,
        ...networks.totals(),
      },
    }),
  );
  app.get(
    "/metrics",
    { schema: { summary: "Prometheus metrics", produces: ["text/plain"] } },
    async (_request, reply) => {
      reply.type(registry.contentType);
      return registry.metrics();
    },
  );
  addPage(app);
  app.get("/openapi.json", { schema: { hide: true } }, async () => app.swagger());
  return listen(app, sockets, {
    ...{ address, token, endings },
    protect: (port) => {
      networks.protectPort(port);
      return () => {};
    },
    close: async () => {
      await app.close();
      await guests.close();
      registry.clear();
    },
  });
}

/** What one network's API has, asked of all. */
function ownersOnly(path: string): string | null {
  const rest = path.startsWith("/v1/") && !path.startsWith("/v1/networks/") ? path.slice("/v1/".length) : null;
  return rest === null
    ? null
    : `each guest has a network of its own: ask /v1/networks/ID/${rest}; /v1/networks lists them`;
}

/**
 * CONNECT to a guest's port: `g1:22` is the guest's own address, `HOST.g1:22` is HOST in that guest's network, which has
 * several addresses when the guest is a machine with machines in it.
 */
async function dialGuest(networks: GuestNetworks, target: string, socket: Duplex, head: Buffer): Promise<void> {
  const match = /^(?:(.+)\.)?(g[0-9]+):([0-9]{1,5})$/.exec(target);
  const network = match === null ? undefined : networks.get(match[2]!)?.network;
  const [, host = network?.leases()[0]?.ip, , port] = match ?? [];
  if (network === undefined || host === undefined) {
    const line =
      "expected ID:PORT or HOST.ID:PORT, with the ID of a guest that /v1/networks lists and that has a lease";
    return refuseDial(socket, match === null ? "400 Bad Request" : "404 Not Found", line);
  }
  await dial(network, `${host}:${port}`, socket, head);
}

function described({ id, cable, since, network }: GuestNetwork): object {
  const [lease] = network.leases();
  const { bytesIn, bytesOut, tcpFlows, udpFlows } = network.stats();
  const { ip = null, mac = null, hostname = null } = lease ?? {};
  return { id, cable, since, ip, mac, hostname, bytesIn, bytesOut, tcpFlows, udpFlows };
}

class Guests {
  readonly #networks: GuestNetworks;
  readonly #token: string | null;
  readonly #version: string;
  readonly #endings: Endings;
  readonly #looked: Map<string, Looked> = new Map();
  /** Those that have an application, the one asked longest ago first. */
  readonly #apps: Set<string> = new Set();
  readonly #come = ({ id, network }: GuestNetwork): void => {
    this.#looked.set(id, { recent: new RecentEvents(network, KEPT_EVENTS), app: null });
  };
  readonly #left = ({ id }: GuestNetwork): void => {
    this.#looked.get(id)?.recent.close();
    void this.#drop(id);
    this.#looked.delete(id);
  };

  constructor(networks: GuestNetworks, token: string | null, version: string, endings: Endings) {
    this.#endings = endings;
    this.#networks = networks;
    this.#token = token;
    this.#version = version;
    for (const guest of networks.list()) this.#come(guest);
    networks.on("come", this.#come).on("left", this.#left);
  }

  /** Answers a request about one guest; false when it is about none that is there. */
  take(request: IncomingMessage, response: ServerResponse): boolean {
    const match = /^\/v1\/networks\/(g[0-9]+)\/(.*)$/s.exec(request.url ?? "");
    const guest = match === null ? null : this.#networks.get(match[1]!);
    const looked = guest === null ? undefined : this.#looked.get(guest.id);
    if (guest === null || looked === undefined) return false;
    this.#apps.delete(guest.id);
    this.#apps.add(guest.id);
    if (this.#apps.size > KEPT_APPS) void this.#drop(this.#apps.values().next().value!);
    looked.app ??= this.#made(guest, looked.recent);
    request.url = `/v1/${match![2]!}`;
    looked.app.then(
      (app) => app.routing(request, response),
      () => response.writeHead(500).end(),
    );
    return true;
  }

  async close(): Promise<void> {
    this.#networks.off("come", this.#come).off("left", this.#left);
    for (const { recent } of this.#looked.values()) recent.close();
    await Promise.all([...this.#apps].map((id) => this.#drop(id)));
    this.#looked.clear();
  }

  async #made({ network, since }: GuestNetwork, recent: RecentEvents): Promise<FastifyInstance> {
    const metrics = new Metrics(network, { process: false });
    const env = { network, recent, metrics, version: this.#version, startedAt: since, endings: this.#endings };
    const app = await application(env, this.#token, () => {});
    app.addHook("onClose", async () => metrics.close());
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
