/**
 * The host's side of the end-to-end tests: small real servers with contents that can be checked. They run in this
 * process (tests of `host/`) or in a namespace of their own (`e2e/services-process.ts`).
 *
 * Contents are a keystream (AES-CTR of zeros), so a byte that is lost, doubled or moved by any distance changes the digest.
 */
import { createCipheriv, createHash } from "node:crypto";
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { readFileSync } from "node:fs";
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { Readable } from "node:stream";
import { type DnsZone, startDnsServer } from "./e2e/dns-server.ts";

export interface ServicePorts {
  /** GET /bytes?n=N&seed=S, PUT /sink (answers with the body's SHA-256), GET of `files`. */
  readonly http: number;
  /** Sends back what comes, then FIN after FIN. */
  readonly echo: number;
  /** Reads to FIN, answers with the SHA-256 in hexadecimal, FIN. */
  readonly digest: number;
  /** Sends GREETING and FIN at once, reads on to the client's FIN. */
  readonly greet: number;
  /** As `digest`, but reads nothing before `resumeStalled()`. */
  readonly stall: number;
  /** Resets the connection after the first bytes. */
  readonly reset: number;
  readonly udpEcho: number;
}

/** What happened to a connection, a request, or a datagram (a request of udpEcho). */
export interface ServiceEvent {
  readonly service: string;
  readonly event: "open" | "close" | "request" | "answered";
  /** HTTP requests and answers: the URL; otherwise the client's address. */
  readonly subject: string;
  readonly bytes: number;
  /** Of what was received ("close" only). */
  readonly sha256: string | null;
  /** "ECONNRESET" and the like; null when both sides ended in order. */
  readonly error: string | null;
}

/** By path, a content or the file that has it. */
export type HttpFiles = Readonly<Record<string, string | { readonly file: string }>>;

export interface ServiceOptions {
  /** Where all but DNS listen, for this family only. */
  readonly host: string;
  /** Fixed ports, for rules that must be written before the services are up. Others are free ones. */
  readonly ports?: Partial<ServicePorts>;
  /** HTTP paths with fixed contents. */
  readonly files?: HttpFiles;
  /** A DNS server on port 53 of this address; none when absent. */
  readonly dns?: { readonly host: string; readonly zone: DnsZone };
  readonly onEvent?: (event: ServiceEvent) => void;
}

export interface Services {
  readonly ports: ServicePorts;
  resumeStalled(): void;
  close(): Promise<void>;
}

export const GREETING = "hello and goodbye\n";

/** `length` checkable bytes, in pieces of at most 64 KiB. */
export function* pattern(seed: number, length: number): Generator<Buffer> {
  const key = createHash("sha256").update(`seed ${seed}`).digest();
  const stream = createCipheriv("aes-256-ctr", key, Buffer.alloc(16));
  const zeros = Buffer.alloc(65_536);
  for (let left = length; left > 0; ) {
    const n = Math.min(left, zeros.length);
    yield stream.update(zeros.subarray(0, n));
    left -= n;
  }
}

export function patternSha256(seed: number, length: number): string {
  const hash = createHash("sha256");
  for (const piece of pattern(seed, length)) hash.update(piece);
  return hash.digest("hex");
}

export async function startServices(options: ServiceOptions): Promise<Services> {
  const report = options.onEvent ?? (() => {});
  const open = new Set<Socket>();
  const stalled = new Set<Socket>();
  const track = (socket: Socket): void => {
    open.add(socket);
    socket.on("close", () => open.delete(socket));
  };

  const tcp = (service: string, serve: (socket: Socket, digest: () => string) => void, paused = false): Server =>
    createServer({ allowHalfOpen: true, pauseOnConnect: paused }, (socket) => {
      track(socket);
      const subject = `${socket.remoteAddress}:${socket.remotePort}`;
      const hash = createHash("sha256");
      let error: string | null = null;
      report({ service, event: "open", subject, bytes: 0, sha256: null, error: null });
      socket.on("error", (e: NodeJS.ErrnoException) => {
        error = e.code ?? e.message;
      });
      socket.on("close", () =>
        report({ service, event: "close", subject, bytes: socket.bytesRead, sha256: hash.copy().digest("hex"), error }),
      );
      if (service !== "echo") socket.on("data", (piece) => hash.update(piece));
      serve(socket, () => hash.copy().digest("hex"));
    });

  const answerDigest = (socket: Socket, digest: () => string): void => {
    socket.on("end", () => socket.end(digest()));
  };
  const http = createHttpServer((request, response) => serveHttp(request, response, options.files ?? {}, report));
  http.on("connection", (socket) => {
    track(socket);
    const subject = `${socket.remoteAddress}:${socket.remotePort}`;
    report({ service: "http", event: "open", subject, bytes: 0, sha256: null, error: null });
  });
  const servers = {
    http,
    echo: tcp("echo", (socket) => socket.pipe(socket)),
    digest: tcp("digest", answerDigest),
    greet: tcp("greet", (socket) => socket.end(GREETING)),
    stall: tcp(
      "stall",
      (socket, digest) => {
        stalled.add(socket);
        socket.on("close", () => stalled.delete(socket));
        answerDigest(socket, digest);
      },
      true,
    ),
    reset: tcp("reset", (socket) => socket.once("data", () => socket.resetAndDestroy())),
  };
  const ports: Record<string, number> = {};
  for (const [name, server] of Object.entries(servers)) {
    await new Promise<void>((resolve, reject) =>
      server
        .once("error", reject)
        .listen(
          { port: options.ports?.[name as keyof ServicePorts] ?? 0, host: options.host, ipv6Only: true, backlog: 511 },
          resolve,
        ),
    );
    ports[name] = (server.address() as AddressInfo).port;
  }
  const udp = await udpEcho(options.host, options.ports?.udpEcho ?? 0, report);
  ports.udpEcho = udp.address().port;
  const dns = options.dns ? await startDnsServer(options.dns.host, options.dns.zone) : null;

  return {
    ports: ports as unknown as ServicePorts,
    resumeStalled(): void {
      for (const socket of stalled) socket.resume();
    },
    async close(): Promise<void> {
      for (const socket of open) socket.destroy();
      await Promise.all([
        ...Object.values(servers).map((server) => new Promise<void>((resolve) => server.close(() => resolve()))),
        new Promise<void>((resolve) => udp.close(() => resolve())),
        dns?.close(),
      ]);
    },
  };
}

function serveHttp(
  request: IncomingMessage,
  response: ServerResponse,
  files: HttpFiles,
  report: (event: ServiceEvent) => void,
): void {
  const subject = request.url ?? "/";
  const url = new URL(subject, "http://host");
  const found = files[url.pathname];
  const body = typeof found === "object" ? readFileSync(found.file) : found;
  report({ service: "http", event: "request", subject, bytes: 0, sha256: null, error: null });
  if (request.method === "PUT" || request.method === "POST") {
    const hash = createHash("sha256");
    request.on("data", (piece: Buffer) => hash.update(piece));
    request.on("end", () => response.end(hash.digest("hex")));
    return;
  }
  if (url.pathname === "/bytes") {
    const n = Number(url.searchParams.get("n"));
    response.writeHead(200, { "Content-Type": "application/octet-stream", "Content-Length": n });
    response.on("finish", () =>
      report({ service: "http", event: "answered", subject, bytes: n, sha256: null, error: null }),
    );
    Readable.from(pattern(Number(url.searchParams.get("seed")), n)).pipe(response);
    return;
  }
  if (body === undefined) {
    response.writeHead(404).end("not here\n");
    return;
  }
  response.writeHead(200, { "Content-Type": "text/plain", "Content-Length": Buffer.byteLength(body) }).end(body);
}

function udpEcho(host: string, port: number, report: (event: ServiceEvent) => void): Promise<UdpSocket> {
  const v6 = host.includes(":");
  const socket = createSocket({ type: v6 ? "udp6" : "udp4", ipv6Only: v6 });
  socket.on("message", (message, from) => {
    const subject = `${from.address}:${from.port}`;
    report({ service: "udpEcho", event: "request", subject, bytes: message.length, sha256: null, error: null });
    socket.send(message, from.port, from.address);
  });
  return new Promise((resolve, reject) => socket.once("error", reject).bind(port, host, () => resolve(socket)));
}
