/**
 * The servers that the demo's guest reaches, all on this machine's loopback: a web server, a resolver that knows one
 * name, a UDP echo, and a port on which nobody listens.
 */
import { createHash, randomBytes } from "node:crypto";
import { createSocket, type Socket } from "node:dgram";
import { EventEmitter, once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

/** The name of the web server. `.test` is reserved for tests (RFC 6761). */
export const WEB_NAME = "www.demo.test";

export class World extends EventEmitter<{ request: [url: URL] }> {
  /** The content of `/file`. */
  readonly file: Buffer = randomBytes(1_048_576);
  /** Bodies by path. A request for another path gets an empty body, and is reported like the others. */
  readonly pages: Map<string, string | Buffer> = new Map([["/file", this.file]]);
  readonly #web: Server;
  readonly #dns: Socket = createSocket("udp4");
  readonly #echo: Socket = createSocket("udp4");
  readonly #webIp: string;
  #refused = 0;

  private constructor(webIp: string) {
    super();
    this.#webIp = webIp;
    this.#web = createServer((request, response) => {
      const url = new URL(request.url ?? "/", this.web);
      const body = this.pages.get(url.pathname) ?? "";
      response.setHeader("Content-Length", Buffer.byteLength(body));
      response.end(body);
      this.emit("request", url);
    });
    this.#dns.on("message", (query, from) => {
      const answer = this.#answer(query);
      if (answer !== null) this.#dns.send(answer, from.port, from.address);
    });
    this.#echo.on("message", (bytes, from) => this.#echo.send(bytes, from.port, from.address));
  }

  /** `webIp` is the address that the name resolves to: the gateway's, by which guests reach this machine's loopback. */
  static async open(webIp: string): Promise<World> {
    const world = new World(webIp);
    world.#web.listen(0, "127.0.0.1");
    world.#dns.bind(0, "127.0.0.1");
    world.#echo.bind(0, "127.0.0.1");
    const closed = createServer().listen(0, "127.0.0.1");
    const ends = [world.#web, world.#dns, world.#echo, closed];
    await Promise.all(ends.map((end) => once(end, "listening")));
    world.#refused = (closed.address() as AddressInfo).port;
    closed.close();
    return world;
  }

  /** The web server's address, as the guest uses it. */
  get web(): string {
    return `http://${WEB_NAME}:${(this.#web.address() as AddressInfo).port}`;
  }

  get dnsPort(): number {
    return this.#dns.address().port;
  }

  get echoPort(): number {
    return this.#echo.address().port;
  }

  /** A TCP port that was free a moment ago. */
  get refusedPort(): number {
    return this.#refused;
  }

  get fileHash(): string {
    return createHash("sha256").update(this.file).digest("hex");
  }

  close(): void {
    this.#web.close();
    this.#web.closeAllConnections();
    this.#dns.close();
    this.#echo.close();
  }

  /** Answers a query: with an A record for the known name, otherwise with NXDOMAIN (RFC 1035 section 4.1). */
  #answer(query: Buffer): Buffer | null {
    let end = 12;
    const labels: string[] = [];
    while (end < query.length && query[end] !== 0) {
      labels.push(query.toString("latin1", end + 1, end + 1 + query[end]!));
      end += 1 + query[end]!;
    }
    end += 5;
    if (end > query.length) return null;
    const known = labels.join(".").toLowerCase() === WEB_NAME;
    const address = known && query.readUInt16BE(end - 4) === 1;
    const head = Buffer.alloc(12);
    query.copy(head, 0, 0, 2);
    head.writeUInt16BE(known ? 0x8580 : 0x8583, 2);
    head.writeUInt16BE(1, 4);
    head.writeUInt16BE(address ? 1 : 0, 6);
    const record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, ...this.#webIp.split(".").map(Number)];
    return Buffer.concat([head, query.subarray(12, end), Buffer.from(address ? record : [])]);
  }
}
