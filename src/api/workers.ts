/**
 * The control API of `serve --workers`. Each worker is a process with a network and an API of its own on a UNIX socket;
 * the supervisor's API leads there. A request under `/v1/networks/w2/` is passed unchanged to the second worker, and
 * its response, which may go on (events, packets, a capture), is passed back. The supervisor's API decides who may.
 */
import http, { type IncomingMessage, type OutgoingHttpHeaders, type ServerResponse } from "node:http";
import net from "node:net";
import { type Duplex, PassThrough, pipeline } from "node:stream";
import type { AttachAddress } from "../attach/address.ts";
import { refuseDial } from "./dial.ts";
import { listeningShown } from "./listening.ts";
import type { Api, ApiOptions } from "./server.ts";
import { type ApiSurroundings, askedOf, dialTarget, type SeveralNetworks, serveSeveral } from "./several.ts";
import { splice } from "./splice.ts";

/** Milliseconds after which a worker that has not begun its answer is reported as silent. */
const PATIENCE_MILLIS = 5_000;
/** The same where all workers are asked, and a stuck one would delay the others' figures. Milliseconds. */
const LIST_PATIENCE_MILLIS = 1_000;
/** Headers of a single connection (RFC 9110 section 7.6.1), and those meant for the supervisor. */
const NOT_PASSED_ON = new Set([
  ...["connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "upgrade", "expect"],
  ...["host", "authorization", "cookie"],
]);

/** A worker, as its supervisor sees it. */
export interface WorkerView {
  /** Counted from 1. */
  readonly number: number;
  /** Null between the end of a process and its successor. */
  readonly pid: number | null;
  /** Whether the worker accepts guests. */
  readonly ready: boolean;
  /** How many guests the worker has. */
  readonly guests: number;
  /** The path of its own API's socket. */
  readonly socket: string;
}

/** All workers of a supervisor. */
export interface WorkersView {
  workers(): readonly WorkerView[];
  /** The addresses at which guests attach. */
  listening(): readonly AttachAddress[];
  /** How many guests have been turned away in all. */
  readonly refused: number;
  /** Closes a port of this machine to all guests. */
  protectPort(port: number): void;
}

/** Serves the API of all workers' networks. Rejects with an `Error` of one line when the host refuses. */
export async function serveWorkersApi(workers: WorkersView, options: ApiOptions): Promise<Api> {
  return serveSeveral(options, (surroundings) => new Workers(workers, surroundings));
}

class Workers implements SeveralNetworks {
  readonly each = "worker";
  readonly #workers: WorkersView;
  readonly #surroundings: ApiSurroundings;

  constructor(workers: WorkersView, surroundings: ApiSurroundings) {
    this.#workers = workers;
    this.#surroundings = surroundings;
  }

  async list(): Promise<object[]> {
    return Promise.all(this.#workers.workers().map(described));
  }

  status(): object {
    const workers = this.#workers.workers();
    return {
      ...{ workers: workers.length, networks: workers.length, listening: listeningShown(this.#workers.listening()) },
      guests: workers.reduce((sum, { guests }) => sum + guests, 0),
      refused: this.#workers.refused,
    };
  }

  /** The metrics of all workers, each with its number as a label. A worker that does not answer is left out. */
  async metrics(): Promise<{ type: string; text: string }> {
    let type = "text/plain; version=0.0.4; charset=utf-8";
    const texts = await Promise.all(
      this.#workers.workers().map(async ({ number, socket }): Promise<[number, string]> => {
        const answer = await asked(socket, "/metrics").catch(() => null);
        if (answer === null) return [number, ""];
        type = answer.type ?? type;
        return [number, answer.text];
      }),
    );
    return { type, text: labelled(texts) };
  }

  take(request: IncomingMessage, response: ServerResponse): boolean {
    const wanted = askedOf(request.url, /^w/);
    const worker = wanted === null ? undefined : this.#worker(wanted.id);
    if (worker === undefined) return false;
    this.#handOn(worker, wanted!.path, request, response);
    return true;
  }

  /** `HOST.w2:22` is HOST in the second worker's network. */
  dial(target: string, socket: Duplex, head: Buffer): void {
    const wanted = dialTarget(target);
    if (wanted?.host === undefined)
      return refuseDial(socket, "400 Bad Request", "expected HOST.ID:PORT, with the ID of a worker: 10.0.2.15.w1:22");
    const worker = this.#worker(wanted.id);
    if (worker === undefined)
      return refuseDial(socket, "404 Not Found", `there is no worker ${wanted.id}; /v1/networks lists them`);
    const { host, port } = wanted;
    // The worker's answer is passed on unchanged.
    const there = net.connect({ path: worker.socket, allowHalfOpen: true });
    socket.on("error", () => there.destroy());
    socket.once("close", () => there.destroy());
    there.once("error", () => refuseDial(socket, "502 Bad Gateway", silent(worker)));
    there.once("connect", () => {
      there.removeAllListeners("error");
      there.write(`CONNECT ${host}:${port} HTTP/1.1\r\nHost: ${host}:${port}\r\n\r\n`);
      if (head.length > 0) there.write(head);
      splice(there, socket);
    });
  }

  protectPort(port: number): void {
    this.#workers.protectPort(port);
  }

  async close(): Promise<void> {}

  #worker(id: string): WorkerView | undefined {
    return this.#workers.workers().find(({ number }) => id === `w${number}`);
  }

  #handOn(worker: WorkerView, path: string, request: IncomingMessage, response: ServerResponse): void {
    const fail = (): void => {
      if (response.headersSent) return void response.destroy();
      const body = JSON.stringify({ error: silent(worker) });
      response.writeHead(503, { "content-type": "application/json; charset=utf-8" }).end(body);
    };
    const { method = "GET" } = request;
    const headers = { ...passedOn(request.headers), host: "localhost" };
    const there = http.request({ socketPath: worker.socket, agent: false, method, path, headers });
    there.setTimeout(PATIENCE_MILLIS, () => there.destroy(new Error("no answer in time")));
    there.on("error", fail);
    there.on("response", (answer) => {
      there.setTimeout(0);
      response.writeHead(answer.statusCode ?? 502, passedOn(answer.headers));
      // Sent at once, however long the first event takes.
      response.flushHeaders();
      const out = new PassThrough();
      this.#surroundings.endings.add(out, response);
      pipeline(answer, out, response, () => answer.destroy());
    });
    response.on("close", () => there.destroy());
    pipeline(request, there, () => {});
  }
}

function passedOn(headers: http.IncomingHttpHeaders): OutgoingHttpHeaders {
  const passed = Object.entries(headers).filter(([name]) => !NOT_PASSED_ON.has(name) && name !== "transfer-encoding");
  return Object.fromEntries(passed);
}

function silent({ number, ready }: WorkerView): string {
  return ready ? `worker ${number} does not answer` : `worker ${number} is being started again`;
}

async function described(worker: WorkerView): Promise<object> {
  const { number, pid, guests } = worker;
  const about = { id: `w${number}`, worker: number, pid, guests };
  const figures = { bytesIn: null, bytesOut: null, tcpFlows: null, udpFlows: null };
  try {
    const status = JSON.parse((await asked(worker.socket, "/v1/status")).text) as typeof figures;
    const { bytesIn, bytesOut, tcpFlows, udpFlows } = status;
    return { ...about, bytesIn, bytesOut, tcpFlows, udpFlows };
  } catch {
    return { ...about, ...figures };
  }
}

/** Asks a worker's API. Rejects when there is no answer in time. */
function asked(
  socketPath: string,
  path: string,
): Promise<{ readonly type: string | undefined; readonly text: string }> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(LIST_PATIENCE_MILLIS);
    const request = http.get({ socketPath, path, agent: false, signal }, (answer) => {
      let text = "";
      answer.setEncoding("utf8").on("data", (chunk: string) => {
        text += chunk;
      });
      answer.on("error", reject);
      answer.on("end", () => {
        if (answer.statusCode === 200) resolve({ type: answer.headers["content-type"], text });
        else reject(new Error(`status ${answer.statusCode}`));
      });
    });
    request.on("error", reject);
  });
}

/**
 * Joins several workers' metrics into one text (https://prometheus.io/docs/instrumenting/exposition_formats/). Help and
 * type of a metric stand once, and below them the samples of all workers, with `worker="2"` as the first label.
 */
export function labelled(texts: readonly (readonly [worker: number, text: string])[]): string {
  const metrics = new Map<string, { readonly head: Map<string, string>; readonly samples: string[] }>();
  for (const [worker, text] of texts) {
    let name = "";
    for (const line of text.split("\n")) {
      const [, word, metric] = /^# (HELP|TYPE) (\S+)/.exec(line) ?? [];
      if (metric !== undefined) name = metric;
      let known = metrics.get(name);
      if (known === undefined) metrics.set(name, (known = { head: new Map(), samples: [] }));
      if (word !== undefined) known.head.set(word, line);
      else if (line !== "")
        known.samples.push(
          line.replace(/^([\w:]+)(?:\{|(?= ))/, (start, sample: string) =>
            start.endsWith("{") ? `${sample}{worker="${worker}",` : `${sample}{worker="${worker}"}`,
          ),
        );
    }
  }
  return [...metrics.values()].map(({ head, samples }) => `${[...head.values(), ...samples].join("\n")}\n`).join("\n");
}
