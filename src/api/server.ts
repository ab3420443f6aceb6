/**
 * The control API: HTTP on a UNIX socket (0600) or on loopback TCP with a token.
 *
 * Requests are checked by their JSON schemas, which `/openapi.json` shows. HTTP's CONNECT opens a stream to a guest's
 * port, so that any program that knows proxies can reach guests through here. The API's own port is closed to guests.
 */
import { createServer, type IncomingMessage, type Server } from "node:http";
import type net from "node:net";
import type { Duplex } from "node:stream";
import swagger from "@fastify/swagger";
import fastify, { type FastifyInstance } from "fastify";
import type { StreamAddress } from "../attach/address.ts";
import { listening, listenUnix, type UnixFile } from "../host/listen-unix.ts";
import { reasonOf } from "../host/reason.ts";
import { newToken } from "../host/token.ts";
import type { Network } from "../network.ts";
import { refusal } from "./access.ts";
import { ClientPlaces } from "./client-places.ts";
import { dial } from "./dial.ts";
import { Endings } from "./endings.ts";
import { History } from "./history.ts";
import { Metrics } from "./metrics.ts";
import { addPage, isPage } from "./page.ts";
import { RecentEvents } from "./recent.ts";
import { addRoutes, failure, type Surroundings } from "./routes.ts";

const MAX_BODY = 65_536;
/** Milliseconds after which a client that has not sent a whole request is disconnected. */
const REQUEST_TIMEOUT_MILLIS = 30_000;

export interface ApiOptions {
  readonly address: StreamAddress;
  /** The version that /v1/status tells. */
  readonly version: string;
  /** Whether metrics include the process's own: event-loop lag, memory, CPU (true). */
  readonly processMetrics?: boolean;
  /** The token that clients must show on TCP (a random one). */
  readonly token?: string;
}

/** An API that listens. */
export interface Api {
  /** The address, with the port that was taken if the wanted port was 0. */
  readonly address: StreamAddress;
  /** The token that clients must show as `Authorization: Bearer …`; null on a UNIX socket. */
  readonly token: string | null;
  /** Ends the API and its open streams. Resolves when all sockets are closed. */
  close(): Promise<void>;
}

/** Serves the API of `network`. Rejects with an `Error` of one line when the host refuses. */
export async function serveApi(network: Network, options: ApiOptions): Promise<Api> {
  const { address } = options;
  const token = address.kind === "unix" ? null : (options.token ?? newToken());
  const recent = new RecentEvents(network);
  const metrics = new Metrics(network, { process: options.processMetrics ?? true });
  const sockets = new Set<Duplex>();
  const endings = new Endings();
  const history = new History(network);
  const env = { network, recent, metrics, history, version: options.version, startedAt: Date.now(), endings };
  const app = await application(env, token, (server) => {
    server.on("connection", (socket) => {
      sockets.add(socket);
      socket.on("close", () => sockets.delete(socket));
    });
    server.on("connect", (request, socket: Duplex, head: Buffer) => {
      const why = refusal(request, token);
      if (why === null) void dial(network, request.url ?? "", socket, head);
      else socket.end("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
  });
  return listen(app, sockets, {
    ...{ address, token, endings },
    protect: (port) => network.protectPort(port),
    close: async () => {
      await app.close();
      recent.close();
      metrics.close();
      history.close();
    },
  });
}

/** Where an application's server listens, and the functions that go with that. */
interface Listening {
  readonly address: StreamAddress;
  readonly token: string | null;
  /** The open streams, which are ended in order. */
  readonly endings: Endings;
  /** Closes the port to guests. Returns a function that opens it again. */
  protect(port: number): () => void;
  close(): Promise<void>;
}

/**
 * Listens. Rejects with an `Error` of one line when the host refuses; everything is closed then. `sockets` are the
 * open ones.
 */
export async function listen(
  app: FastifyInstance,
  sockets: ReadonlySet<Duplex>,
  { address, token, endings, protect, close: closeRest }: Listening,
): Promise<Api> {
  let file: UnixFile | null = null;
  let unprotect = (): void => {};
  const close = async (): Promise<void> => {
    file?.unlink();
    await endings.end();
    // Fastify has not made the server listen, so it does not close it either.
    const ended = new Promise<void>((resolve) => app.server.close(() => resolve()));
    for (const socket of sockets) socket.destroy();
    await ended;
    await closeRest();
    unprotect();
  };
  try {
    await app.ready();
    if (address.kind === "unix") {
      file = await listenUnix(app.server, address.path);
      return { address, token, close };
    }
    await listening(app.server, { host: address.host, port: address.port, exclusive: true });
    const { port } = app.server.address() as net.AddressInfo;
    unprotect = protect(port);
    return { address: { ...address, port }, token, close };
  } catch (error) {
    await close();
    const where = address.kind === "unix" ? `unix:${address.path}` : `tcp:${address.host}:${address.port}`;
    throw new Error(`cannot serve the API on ${where}: ${reasonOf(error)}`, { cause: error });
  }
}

/** The application for one network. `prepare` is called with its server. */
export async function application(
  env: Surroundings,
  token: string | null,
  prepare: (server: Server) => void,
): Promise<FastifyInstance> {
  const { network, version } = env;
  const app = bareApp(token, network.config.limits.apiClients, () => network.refusedClient(), prepare);
  await app.register(swagger, { openapi: { info: { title: "tslirp control API", version } } });
  addRoutes(app, env);
  addPage(app);
  app.get("/openapi.json", { schema: { hide: true } }, async () => app.swagger());
  return app;
}

/**
 * The common part of the API's applications: access, and errors in one line. `hint` may add to the error for an
 * unknown path.
 */
export function bareApp(
  token: string | null,
  clients: number,
  refused: () => void,
  prepare: (server: Server) => void,
  hint: (path: string) => string | null = () => null,
): FastifyInstance {
  const app = fastify({
    bodyLimit: MAX_BODY,
    // Values are converted to their schemas' types, as queries need. Unknown fields stay, so that schemas refuse them.
    ajv: { customOptions: { coerceTypes: "array", removeAdditional: false } },
    serverFactory: (handler) => {
      const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MILLIS }, handler);
      prepare(server);
      seat(server, new ClientPlaces(clients, refused), token);
      return server;
    },
  });
  app.addHook("onRequest", async (request, reply) => {
    const why = refusal(request.raw, token);
    if (why === "host") return reply.code(403).send({ error: "expected a loopback name in the Host header" });
    if (why === "token" && !isPage(request.url)) {
      return reply
        .code(401)
        .header("www-authenticate", "Bearer")
        .send({ error: "expected Authorization: Bearer TOKEN" });
    }
  });
  app.setErrorHandler((error, _request, reply) => {
    const { status, line } = failure(error);
    return reply.code(status).send({ error: line });
  });
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split("?")[0]!;
    const methods = ["GET", "POST", "PUT", "DELETE"] as const;
    const allowed = methods.filter((method) => app.findRoute({ method, url: path }) !== null);
    if (allowed.length === 0)
      return reply.code(404).send({ error: hint(path) ?? `there is no ${path}; see /openapi.json` });
    return reply
      .code(405)
      .header("allow", allowed.join(", "))
      .send({ error: `expected ${allowed.join(" or ")} for ${path}` });
  });
  return app;
}

/** Limits the connections of `server`. With a token, those that have not shown it give way to others. */
function seat(server: Server, places: ClientPlaces<net.Socket>, token: string | null): void {
  const asks = (request: IncomingMessage): void => {
    if (refusal(request, token) === null) places.known(request.socket);
  };
  server.on("connection", (socket) => {
    places.arrived(socket);
    if (token === null) places.known(socket);
  });
  server.prependListener("request", asks);
  server.prependListener("connect", asks);
}
