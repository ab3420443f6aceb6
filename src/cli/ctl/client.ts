/** A client of the control API: JSON requests, and the API's streams. */
import type { IncomingMessage, RequestOptions } from "node:http";
import type { Duplex } from "node:stream";
import type { StreamAddress } from "../../attach/address.ts";
import { reasonOf } from "../../host/reason.ts";

const TIMEOUT_MILLIS = 10_000;

export class ApiClient {
  readonly #target: RequestOptions;
  readonly #where: string;
  readonly #network: string | null;

  /**
   * `token` is null for a UNIX socket. `network` is the id of one of several networks, or null for all, or for the
   * only one.
   */
  constructor(address: StreamAddress, token: string | null, network: string | null = null) {
    this.#network = network;
    const place = address.kind === "unix" ? { socketPath: address.path } : { host: address.host, port: address.port };
    this.#target = { ...place, headers: token === null ? {} : { authorization: `Bearer ${token}` }, agent: false };
    this.#where = address.kind === "unix" ? `unix:${address.path}` : `tcp:${address.host}:${address.port}`;
  }

  get<T>(path: string): Promise<T> {
    return this.#json("GET", path, undefined);
  }

  post<T>(path: string, body: object): Promise<T> {
    return this.#json("POST", path, body);
  }

  delete<T>(path: string): Promise<T> {
    return this.#json("DELETE", path, undefined);
  }

  put<T>(path: string, body: object): Promise<T> {
    return this.#json("PUT", path, body);
  }

  /**
   * The body of a long response, such as a live capture or events. It ends when tslirp does, and throws when the
   * connection breaks.
   */
  async *stream(path: string): AsyncGenerator<Buffer> {
    const response = await this.#request("GET", path, undefined);
    if (response.statusCode !== 200) throw new Error(await errorOf(response));
    try {
      yield* response;
    } catch {
      throw new Error(`the API at ${this.#where} has gone without a word`);
    }
  }

  /** A stream to a guest's port. */
  async dial(target: string): Promise<Duplex> {
    const http = await import("node:http");
    return new Promise((resolve, reject) => {
      const path = this.#network === null ? target : target.replace(/(?=:[0-9]+$)/, `.${this.#network}`);
      const request = http.request({ ...this.#target, method: "CONNECT", path });
      request.on("connect", (response, socket: Duplex, head: Buffer) => {
        if (response.statusCode === 200) {
          if (head.length > 0) socket.unshift(head);
          resolve(socket);
          return;
        }
        // A proxy's refusal has its reason in the body, which Node does not parse for CONNECT.
        let text = head.toString();
        socket.on("data", (chunk: Buffer) => {
          text += chunk.toString();
        });
        socket.on("close", () => reject(new Error(text.trim() || `the API said ${response.statusCode}`)));
      });
      request.on("error", (error) => reject(this.#unreachable(error)));
      request.end();
    });
  }

  async #json<T>(method: string, path: string, body: object | undefined): Promise<T> {
    const response = await this.#request(method, path, body);
    if ((response.statusCode ?? 500) >= 300) throw new Error(await errorOf(response));
    const text = await textOf(response);
    return (text === "" ? undefined : JSON.parse(text)) as T;
  }

  async #request(method: string, path: string, body: object | undefined): Promise<IncomingMessage> {
    const http = await import("node:http");
    return new Promise((resolve, reject) => {
      const own = this.#network === null ? path : path.replace(/^\/v1\//, `/v1/networks/${this.#network}/`);
      const request = http.request({ ...this.#target, method, path: own }, (response) => {
        request.setTimeout(0);
        resolve(response);
      });
      request.setTimeout(TIMEOUT_MILLIS, () => request.destroy(new Error("no answer in time")));
      request.on("error", (error) => reject(this.#unreachable(error)));
      if (body !== undefined) request.setHeader("content-type", "application/json");
      request.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  #unreachable(error: Error): Error {
    const line = `cannot reach the API at ${this.#where}: ${reasonOf(error)}`;
    const nobody = /^(?:ENOENT|ECONNREFUSED)$/.test((error as NodeJS.ErrnoException).code ?? "");
    return new Error(
      nobody ? `${line}; start tslirp with --api ADDRESS, and tell ctl by --api if it is another` : line,
    );
  }
}

async function textOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

async function errorOf(response: IncomingMessage): Promise<string> {
  const text = await textOf(response);
  try {
    return (JSON.parse(text) as { error?: string }).error ?? text;
  } catch {
    return text || `the API said ${response.statusCode}`;
  }
}
