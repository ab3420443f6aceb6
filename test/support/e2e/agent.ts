/**
 * TCP and UDP clients with manners that curl and socat do not have, run inside a namespace: `agent.ts NAME JSON`
 * prints one JSON line. Real sockets of the guest's kernel; the assertions stay with the tests.
 */
import { createHash } from "node:crypto";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { Readable } from "node:stream";
import { helper } from "../program.ts";
import { pattern, patternSha256 } from "../services.ts";
import type { Namespace } from "./namespace.ts";

interface Target {
  readonly host: string;
  readonly port: number;
}

interface Outcome {
  readonly bytes: number;
  readonly sha256: string;
  readonly text: string;
  readonly error: string | null;
}

/** Reads a connection to its end, whichever end that is. */
function readAll(socket: Socket): Promise<Outcome> {
  const hash = createHash("sha256");
  let head = "";
  let error: string | null = null;
  socket.on("data", (piece: Buffer) => {
    hash.update(piece);
    if (head.length < 200) head += piece.toString("latin1", 0, 200);
  });
  socket.on("error", (e: NodeJS.ErrnoException) => {
    error = e.code ?? e.message;
  });
  return new Promise((resolve) =>
    socket.on("close", () =>
      resolve({ bytes: socket.bytesRead, sha256: hash.digest("hex"), text: head.slice(0, 200), error }),
    ),
  );
}

export interface Commands {
  /** `count` connections to an echo, all open before any sends; each sends its own `bytes`, FIN, and reads to FIN. */
  echoMany(args: Target & { count: number; bytes: number }): Promise<{ right: number; errors: string[] }>;
  /** Sends, closes its half, reads on. */
  sendThenRead(args: Target & { seed: number; bytes: number }): Promise<Outcome>;
  /** Reads to the server's FIN first, then sends and closes. */
  readThenSend(args: Target & { seed: number; bytes: number }): Promise<Outcome>;
  /** Sends a line and waits for the end. */
  poke(args: Target): Promise<Outcome>;
  /** Sends a line, waits for its echo, resets. */
  abort(args: Target): Promise<{ done: true }>;
  /** Connected UDP datagrams to a closed port until the kernel reports an error. */
  udpRefused(args: Target): Promise<{ error: string | null }>;
  /** Echo of datagrams of these sizes, one after the other; gives the sizes that came back right. */
  udpEcho(args: Target & { sizes: readonly number[] }): Promise<{ sizes: number[] }>;
  /** One datagram, one answer. */
  udpAsk(args: Target & { text: string }): Promise<{ answer: string | null }>;
}

export const commands: Commands = {
  async echoMany({ host, port, count, bytes }) {
    const sockets = Array.from({ length: count }, () => connect({ host, port, allowHalfOpen: true }));
    const errors: string[] = [];
    await Promise.all(sockets.map((socket) => once(socket, "connect").catch((e) => errors.push(String(e.code)))));
    const outcomes = await Promise.all(
      sockets.map((socket, seed) => {
        Readable.from(pattern(seed, bytes)).pipe(socket);
        return readAll(socket);
      }),
    );
    errors.push(...outcomes.flatMap((outcome) => outcome.error ?? []));
    return { right: outcomes.filter((outcome, seed) => outcome.sha256 === patternSha256(seed, bytes)).length, errors };
  },
  sendThenRead({ host, port, seed, bytes }) {
    const socket = connect({ host, port, allowHalfOpen: true });
    Readable.from(pattern(seed, bytes)).pipe(socket);
    return readAll(socket);
  },
  readThenSend({ host, port, seed, bytes }) {
    const socket = connect({ host, port, allowHalfOpen: true });
    socket.on("end", () => Readable.from(pattern(seed, bytes)).pipe(socket));
    return readAll(socket);
  },
  poke({ host, port }) {
    const socket = connect({ host, port });
    socket.write("hello\n");
    return readAll(socket);
  },
  async abort({ host, port }) {
    const socket = connect({ host, port });
    socket.on("error", () => {});
    socket.write("hello\n");
    await once(socket, "data");
    socket.resetAndDestroy();
    await once(socket, "close");
    return { done: true };
  },
  async udpRefused({ host, port }) {
    const socket = udpSocket(host);
    const failed = once(socket, "error").then(
      ([error]) => error,
      (error) => error,
    );
    socket.connect(port, host);
    await once(socket, "connect");
    socket.send("anyone?");
    const timeout = new Promise<null>((resolve) => setTimeout(resolve, 3000, null));
    const error = (await Promise.race([failed, timeout])) as NodeJS.ErrnoException | null;
    socket.close();
    return { error: error?.code ?? null };
  },
  async udpEcho({ host, port, sizes }) {
    const socket = udpSocket(host);
    const right: number[] = [];
    for (const size of sizes) {
      const sent = Buffer.concat([...pattern(size, size)]);
      const answer = await ask(socket, host, port, sent);
      if (answer?.equals(sent)) right.push(size);
    }
    socket.close();
    return { sizes: right };
  },
  async udpAsk({ host, port, text }) {
    const socket = udpSocket(host);
    const answer = await ask(socket, host, port, Buffer.from(text));
    socket.close();
    return { answer: answer?.toString() ?? null };
  },
};

function udpSocket(host: string): ReturnType<typeof createSocket> {
  return createSocket(host.includes(":") ? "udp6" : "udp4");
}

function ask(
  socket: ReturnType<typeof createSocket>,
  host: string,
  port: number,
  sent: Buffer,
): Promise<Buffer | null> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, 3000, null);
    socket.once("message", (message) => {
      clearTimeout(timer);
      resolve(message);
    });
    socket.send(sent, port, host);
  });
}

/** Runs one of the commands above in `namespace`. */
export async function agent<K extends keyof Commands>(
  namespace: Namespace,
  name: K,
  args: Parameters<Commands[K]>[0],
  timeout = 30_000,
): Promise<Awaited<ReturnType<Commands[K]>>> {
  const result = await namespace.run(process.execPath, [...helper("agent"), name, JSON.stringify(args)], timeout);
  if (result.code !== 0) throw new Error(`${name} in ${namespace.name}: exit ${result.code}: ${result.stderr}`);
  return JSON.parse(result.stdout);
}

if (process.argv[1] === import.meta.filename) {
  const [name, json] = process.argv.slice(2);
  const command = commands[name as keyof Commands] as (args: unknown) => Promise<unknown>;
  const result = await command(JSON.parse(json ?? "{}"));
  process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
}
