/** The control API's routes, each of which makes one call of the library. */
import { PassThrough } from "node:stream";
import type { FastifyInstance, FastifyReply } from "fastify";
import type { Capture, CaptureOptions } from "../control/capture.ts";
import { ConfigError } from "../control/errors.ts";
import { endpointText } from "../core/address.ts";
import { reasonOf } from "../host/reason.ts";
import { forwardText, guestText, type OpenForward } from "../nat/forwards.ts";
import type { Network } from "../network.ts";
import { dnsRoutes } from "./dns-routes.ts";
import type { Endings } from "./endings.ts";
import { EventStreams } from "./event-stream.ts";
import type { History } from "./history.ts";
import { listeningShown } from "./listening.ts";
import type { Metrics } from "./metrics.ts";
import { PacketWatcher, packetFilter } from "./packets.ts";
import type { RecentEvents } from "./recent.ts";
import { recordingRoutes } from "./recording-routes.ts";
import {
  type AnswerRequest,
  type CaptureRequest,
  type ImpairmentRequest,
  type PublishRequest,
  type RulesRequest,
  SCHEMAS,
} from "./schemas.ts";

export interface Surroundings {
  readonly network: Network;
  readonly recent: RecentEvents;
  readonly metrics: Metrics;
  readonly history: History;
  readonly version: string;
  readonly startedAt: number;
  readonly endings: Endings;
}

/** Ids by which clients name things that have no name of their own. */
class Ids<T extends object> {
  readonly #prefix: string;
  readonly #ids: WeakMap<T, string> = new WeakMap();
  #next = 1;

  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  of(thing: T): string {
    let id = this.#ids.get(thing);
    if (id === undefined) {
      id = `${this.#prefix}${this.#next++}`;
      this.#ids.set(thing, id);
    }
    return id;
  }
}

export function addRoutes(app: FastifyInstance, env: Surroundings): void {
  statusRoutes(app, env);
  forwardRoutes(app, env.network);
  captureRoutes(app, env);
  recordingRoutes(app, env.network);
  impairmentRoutes(app, env.network);
  ruleRoutes(app, env.network);
  dnsRoutes(app, env.network);
  eventRoutes(app, env);
}

function statusRoutes(app: FastifyInstance, env: Surroundings): void {
  const { network, recent, metrics, history, version, startedAt } = env;
  const get = (url: string, summary: string, response: object, handler: () => unknown): void => {
    app.get(url, { schema: { summary, response: { 200: response } } }, async () => handler());
  };
  get("/v1/status", "What runs, since when, with which addresses, and its counters", SCHEMAS.open, () => ({
    version,
    pid: process.pid,
    uptimeSeconds: (Date.now() - startedAt) / 1000,
    cables: network.cables(),
    listening: listeningShown(network.listening()),
    net: `${network.config.net}/${network.config.prefix}`,
    host: network.config.host,
    dns: network.config.dns,
    mtu: network.config.mtu,
    restrict: network.config.restrict,
    hostOnly: network.config.hostOnly,
    isolate: network.config.isolate,
    gateway: network.config.gateway,
    uplinks: network.uplinks().map(({ name, remotes, stats }) => ({ name, remotes, ...stats })),
    ...network.stats(),
  }));
  get("/v1/history", "Throughput of the last minutes, while somebody asks", SCHEMAS.history, () => ({
    samples: history.samples(),
  }));
  get("/v1/flows", "Connections and mappings that exist", SCHEMAS.list, () => network.flows());
  get("/v1/leases", "Addresses bound by DHCP", SCHEMAS.list, () =>
    network.leases().map((lease) => ({ ...lease, cable: network.cableOf(lease.ip) })),
  );
  app.get<{ Querystring: { last?: number } }>(
    "/v1/dns",
    {
      schema: {
        summary: "The latest DNS queries of guests, the oldest first",
        querystring: {
          type: "object",
          properties: { last: { type: "integer", minimum: 1, maximum: 1000, default: 100 } },
        },
        response: { 200: SCHEMAS.list },
      },
    },
    async ({ query }) => recent.latest("dns", query.last ?? 100).map(({ time, data }) => ({ time, ...data })),
  );
  app.get<{ Querystring: { last?: number } }>(
    "/v1/refusals",
    {
      schema: {
        summary: "What rules have refused, the oldest first: how often, by which rule, and which rule would allow it",
        querystring: {
          type: "object",
          properties: { last: { type: "integer", minimum: 1, maximum: 500, default: 100 } },
        },
        response: { 200: SCHEMAS.list },
      },
    },
    async ({ query }) => recent.refusals(query.last ?? 100).map(({ time, count, data }) => ({ time, count, ...data })),
  );
  app.get<{ Querystring: { flow: string } }>(
    "/v1/why",
    {
      schema: {
        summary: "What would become of a flow, and by which rule: tcp api.example.org:443",
        querystring: { type: "object", required: ["flow"], properties: { flow: { type: "string", maxLength: 400 } } },
        response: { 200: SCHEMAS.open, 400: SCHEMAS.failure },
      },
    },
    async ({ query }) => network.explain(query.flow),
  );
  app.get(
    "/metrics",
    { schema: { summary: "Prometheus metrics", produces: ["text/plain"] } },
    async (_request, reply) => {
      reply.type(metrics.registry.contentType);
      return metrics.registry.metrics();
    },
  );
}

function forwardRoutes(app: FastifyInstance, network: Network): void {
  const ids = new Ids<OpenForward["rule"]>("f");
  const show = (forward: OpenForward) => {
    const { rule, address } = forward;
    const host = "path" in address ? `unix:${address.path}` : endpointText(address);
    const first = network.config.firstGuest;
    const guest = guestText(rule, first);
    return { id: ids.of(rule), rule: forwardText({ ...rule, host: address }, first), proto: rule.proto, host, guest };
  };
  app.get(
    "/v1/forwards",
    { schema: { summary: "Host ports that lead into guests", response: { 200: SCHEMAS.forwards } } },
    async () => network.forwards().map(show),
  );
  app.post<{ Body: PublishRequest }>(
    "/v1/forwards",
    {
      schema: {
        summary: "Opens forwards: all of the rule's, or none",
        body: SCHEMAS.publishRequest,
        response: { 201: SCHEMAS.forwards, 400: SCHEMAS.failure, 409: SCHEMAS.failure },
      },
    },
    async ({ body }, reply) => {
      const opened = await network.publish(body.rule);
      return reply.code(201).send(opened.map(show));
    },
  );
  app.delete<{ Params: { id: string } }>(
    "/v1/forwards/:id",
    {
      schema: {
        summary: "Closes a forward; its connections go on",
        response: { 204: { type: "null" }, 404: SCHEMAS.failure },
      },
    },
    async ({ params }, reply) => {
      const forward = network.forwards().find(({ rule }) => ids.of(rule) === params.id);
      if (forward === undefined) return missing(reply, `there is no forward ${params.id}`);
      network.unpublish(forward);
      return reply.code(204).send();
    },
  );
}

function captureRoutes(app: FastifyInstance, { network, endings }: Surroundings): void {
  const ids = new Ids<Capture>("c");
  const ours = new WeakSet<Capture>();
  const show = (capture: Capture) => ({ id: ids.of(capture), byApi: ours.has(capture), ...capture.stats });
  app.get("/v1/captures", { schema: { summary: "Captures that run", response: { 200: SCHEMAS.captures } } }, async () =>
    network.captures().map(show),
  );
  app.post<{ Body: CaptureRequest }>(
    "/v1/captures",
    {
      schema: {
        summary: "Begins a capture into a file",
        body: SCHEMAS.captureRequest,
        response: { 201: SCHEMAS.capture, 400: SCHEMAS.failure },
      },
    },
    async ({ body }, reply) => {
      const { file, ...options } = body;
      const capture = network.capture(file, options);
      ours.add(capture);
      // The client is told now that a file cannot be opened, and need not find out later.
      const error = await capture.opened;
      if (error !== null) return reply.code(400).send({ error: `cannot capture to ${file}: ${reasonOf(error)}` });
      return reply.code(201).send(show(capture));
    },
  );
  app.delete<{ Params: { id: string } }>(
    "/v1/captures/:id",
    {
      schema: {
        summary: "Ends a capture and tells what it holds",
        response: { 200: SCHEMAS.capture, 404: SCHEMAS.failure },
      },
    },
    async ({ params }, reply) => {
      const capture = network.captures().find((each) => ids.of(each) === params.id);
      if (capture === undefined) return missing(reply, `there is no capture ${params.id}`);
      await capture.stop();
      return show(capture);
    },
  );
  app.get<{ Querystring: { filter?: string; snapLength?: number } }>(
    "/v1/capture",
    {
      schema: {
        summary: "A live capture as pcapng, until the client goes: for `wireshark -k -i -`",
        querystring: {
          type: "object",
          properties: { filter: { type: "string" }, snapLength: { type: "integer", minimum: 1, maximum: 65_553 } },
        },
        produces: ["application/x-pcapng"],
      },
    },
    async ({ query }, reply) => {
      const out = new PassThrough();
      const options: CaptureOptions = { filter: query.filter, snapLength: query.snapLength };
      const capture = network.capture(out, options);
      ours.add(capture);
      endings.add(out, reply.raw);
      reply.raw.on("close", () => {
        void capture.stop();
      });
      return reply.type("application/x-pcapng").send(out);
    },
  );
}

function ruleRoutes(app: FastifyInstance, network: Network): void {
  const show = () => ({ rules: network.rules() });
  app.get(
    "/v1/rules",
    { schema: { summary: "What guests may begin, in order", response: { 200: SCHEMAS.rules } } },
    async () => show(),
  );
  app.get(
    "/v1/limits",
    { schema: { summary: "What guests have used of the limits that rules set", response: { 200: SCHEMAS.list } } },
    async () => network.limits(),
  );
  app.get(
    "/v1/asks",
    { schema: { summary: "Flows that wait for an answer (`--ask`)", response: { 200: SCHEMAS.list } } },
    async () => network.asks(),
  );
  app.post<{ Params: { id: string }; Body: AnswerRequest }>(
    "/v1/asks/:id",
    {
      schema: {
        summary: "Answers: once, or always by a rule",
        body: SCHEMAS.answer,
        response: { 200: SCHEMAS.rules, 404: SCHEMAS.failure },
      },
    },
    async ({ params, body }, reply) => {
      if (network.answer(params.id, body.verdict)) return show();
      return missing(reply, `no question ${params.id} waits: it has been answered, or nobody has in time`);
    },
  );
  app.put<{ Body: RulesRequest }>(
    "/v1/rules",
    {
      schema: {
        summary: "Other rules in place of all there were; flows that they allow go on, others end",
        body: SCHEMAS.rules,
        response: { 200: SCHEMAS.rules, 400: SCHEMAS.failure },
      },
    },
    async ({ body }) => {
      network.setRules(body.rules);
      return show();
    },
  );
}

function impairmentRoutes(app: FastifyInstance, network: Network): void {
  const show = () => ({ rules: [...network.impairment()] });
  app.get(
    "/v1/impairment",
    { schema: { summary: "How guests' lines are impaired", response: { 200: SCHEMAS.impairment } } },
    async () => show(),
  );
  app.put<{ Body: ImpairmentRequest }>(
    "/v1/impairment",
    {
      schema: {
        summary: "Impairs guests' lines by these rules instead of those before",
        body: SCHEMAS.impairmentRequest,
        response: { 200: SCHEMAS.impairment, 400: SCHEMAS.failure },
      },
    },
    async ({ body }) => {
      network.impair(body.rules, body.seed);
      return show();
    },
  );
}

function eventRoutes(app: FastifyInstance, { network, recent, endings }: Surroundings): void {
  const streams = new EventStreams(network.config.limits.apiStreams, endings, () => network.refusedClient());
  app.get(
    "/v1/events",
    {
      schema: {
        summary: "Events as they happen: lease, flowOpen, flowClose, flowRefused, dns, drop",
        produces: ["text/event-stream"],
      },
    },
    async (_request, reply) =>
      streams.serve(reply, (write) => recent.watch(({ id, type, time, data }) => write(type, { time, ...data }, id))),
  );
  app.get<{ Querystring: { filter?: string } }>(
    "/v1/packets",
    {
      schema: {
        summary: "Packets in words, as many as a person can see; how many were skipped is told",
        querystring: { type: "object", properties: { filter: { type: "string" } } },
        produces: ["text/event-stream"],
      },
    },
    async ({ query }, reply) => {
      const filter = packetFilter(query.filter);
      return streams.serve(reply, (write) => {
        const watcher = new PacketWatcher(network, filter, write);
        return () => watcher.end();
      });
    },
  );
}

function missing(reply: FastifyReply, error: string): FastifyReply {
  return reply.code(404).send({ error });
}

/** Error codes by which the host refuses an address or a file. */
const HOST_REFUSES: ReadonlySet<string> = new Set([
  ...["EADDRINUSE", "EADDRNOTAVAIL", "EAFNOSUPPORT", "EINVAL", "EACCES", "EPERM", "EROFS"],
  ...["EEXIST", "ENOENT", "ENOTDIR", "ENAMETOOLONG", "ENOTSUP"],
]);

/** The HTTP status and the one line for an error. */
export function failure(error: unknown): { status: number; line: string } {
  const { statusCode, code, message } = error as { statusCode?: number; code?: string; message: string };
  const line = message.replace(/\s*[\r\n]+\s*/g, " ");
  if (error instanceof ConfigError) return { status: 400, line };
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) return { status: statusCode, line };
  if (code !== undefined && HOST_REFUSES.has(code)) return { status: 409, line };
  return { status: 500, line };
}
