/**
 * The control API of a process with several networks: a list of them at `/v1/networks`, sums and metrics, and under
 * `/v1/networks/ID/` the API of each network. The owner of the networks provides the answers.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import swagger from "@fastify/swagger";
import { DEFAULT_LIMITS } from "../core/limits.ts";
import { newToken } from "../host/token.ts";
import { refusal } from "./access.ts";
import { refuseDial } from "./dial.ts";
import { Endings } from "./endings.ts";
import { addPage } from "./page.ts";
import { SCHEMAS } from "./schemas.ts";
import { type Api, type ApiOptions, bareApp, listen } from "./server.ts";

/** A process's networks, as far as their API needs them. */
export interface SeveralNetworks {
  /** The kind of thing that has a network (`guest`, `worker`), for an error about a request that names none. */
  readonly each: string;
  /** The answer of `/v1/networks`: an object for each network, with an `id`. */
  list(): object[] | Promise<object[]>;
  /** The fields of `/v1/status` beside version and start time. */
  status(): object;
  /** The answer of `/metrics`, in Prometheus's text format. */
  metrics(): Promise<{ readonly type: string; readonly text: string }>;
  /** Answers an allowed request that is about one network. False when there is no such network. */
  take(request: IncomingMessage, response: ServerResponse): boolean;
  /** A CONNECT to a port in one of the networks. `head` has the bytes that the client sent behind the request. */
  dial(target: string, socket: Duplex, head: Buffer): void;
  /** Closes a port of this machine to all guests. */
  protectPort(port: number): void;
  /** Frees everything kept for API clients. */
  close(): Promise<void>;
}

/** The parts that the APIs of such networks use. */
export interface ApiSurroundings {
  readonly token: string | null;
  readonly endings: Endings;
}

/** Serves the API of several networks. Rejects with an `Error` of one line when the host refuses. */
export async function serveSeveral(
  { address, version, token: given }: ApiOptions,
  make: (surroundings: ApiSurroundings) => SeveralNetworks,
): Promise<Api> {
  const token = address.kind === "unix" ? null : (given ?? newToken());
  const sockets = new Set<Duplex>();
  const endings = new Endings();
  const networks = make({ token, endings });
  const app = bareApp(
    token,
    DEFAULT_LIMITS.apiClients,
    () => {},
    (server) => {
      server.on("connection", (socket) => {
        sockets.add(socket);
        socket.on("close", () => sockets.delete(socket));
      });
      server.on("connect", (request, socket: Duplex, head: Buffer) => {
        if (refusal(request, token) === null) networks.dial(request.url ?? "", socket, head);
        else refuseDial(socket, "401 Unauthorized", "expected Authorization: Bearer TOKEN");
      });
      // Called before Fastify's own listener: a request about one network is answered by that network.
      const [own] = server.listeners("request") as ((request: IncomingMessage, response: ServerResponse) => void)[];
      server.removeAllListeners("request");
      server.on("request", (request, response) => {
        if (refusal(request, token) !== null || !networks.take(request, response)) own!(request, response);
      });
    },
    (path) => whereItIs(path, networks.each),
  );
  const startedAt = Date.now();
  await app.register(swagger, { openapi: { info: { title: "tslirp control API", version } } });
  app.get(
    "/v1/networks",
    {
      schema: {
        summary: `A network for each ${networks.each}; below /v1/networks/ID/ is what the API of one network has`,
        response: { 200: SCHEMAS.list },
      },
    },
    async () => networks.list(),
  );
  app.get(
    "/v1/status",
    { schema: { summary: "What runs, and its counters", response: { 200: SCHEMAS.open } } },
    async () => ({
      ...{ version, pid: process.pid, uptimeSeconds: (Date.now() - startedAt) / 1000 },
      ...networks.status(),
    }),
  );
  app.get(
    "/metrics",
    { schema: { summary: "Prometheus metrics", produces: ["text/plain"] } },
    async (_request, reply) => {
      const { type, text } = await networks.metrics();
      return reply.type(type).send(text);
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
      await networks.close();
    },
  });
}

/** The hint for a path that only the API of one network has. */
function whereItIs(path: string, each: string): string | null {
  const rest = path.startsWith("/v1/") && !path.startsWith("/v1/networks/") ? path.slice("/v1/".length) : null;
  return rest === null
    ? null
    : `each ${each} has a network of its own: ask /v1/networks/ID/${rest} (tslirp ctl --network ID); /v1/networks lists them (tslirp ctl networks)`;
}

/** The network that a request is about, and the path within that network's API. */
export function askedOf(url: string | undefined, id: RegExp): { readonly id: string; readonly path: string } | null {
  const match = /^\/v1\/networks\/([a-z][0-9]+)\/(.*)$/s.exec(url ?? "");
  return match === null || !id.test(match[1]!) ? null : { id: match[1]!, path: `/v1/${match[2]!}` };
}

/** A CONNECT's target: `ID:PORT`, or `HOST.ID:PORT`. */
export function dialTarget(
  target: string,
): { readonly host: string | undefined; readonly id: string; readonly port: string } | null {
  const [, host, id, port] = /^(?:(.+)\.)?([a-z][0-9]+):([0-9]{1,5})$/.exec(target) ?? [];
  return id === undefined || port === undefined ? null : { host, id, port };
}
