/**
 * What the soak's traffic does, as a program that lives in a namespace as long as the soak and is told each piece of
 * work over IPC: the end-to-end tests' clients (`support/e2e/agent`), and those that only a long run needs.
 */
import { createHash } from "node:crypto";
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { Resolver } from "node:dns/promises";
import { once } from "node:events";
import { get } from "node:http";
import { connect, createServer, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { type Commands as AgentCommands, commands as agentCommands } from "../support/e2e/agent.ts";
import type { Namespace } from "../support/e2e/namespace.ts";
import { GREETING, pattern, patternSha256, type ServicePorts } from "../support/services.ts";
import { seeded } from "../support/tcb-pair.ts";

interface Target {
  readonly host: string;
  readonly port: number;
}

/** How a short connection begins and ends. */
export const ENDINGS = ["guest-fin", "host-fin", "guest-reset", "host-reset", "refused", "unreachable"] as const;
export type Ending = (typeof ENDINGS)[number];
/** Addresses that the host has no route to, and a port where nobody listens. */
const NOWHERE = "192.0.2.1";
const NOBODY = 9;
const CONCURRENT = 8;
/** A short connection that takes longer hangs. */
const SHORT_MILLIS = 30_000;

export interface SoakCommands extends AgentCommands {
  /** An HTTP download. */
  download(args: { url: string }): Promise<{ bytes: number; sha256: string }>;
  /** Requests of 1 to 2000 bytes to an echo on one connection, each after the answer to the one before. */
  chatty(args: Target & { seed: number; requests: number }): Promise<{ right: number }>;
  /** Short connections; how many of each ending went as they should, and what the others said. */
  churn(args: {
    host: string;
    ports: ServicePorts;
    seed: number;
    count: number;
    endings: readonly Ending[];
  }): Promise<{ right: Partial<Record<Ending, number>>; wrong: string[] }>;
  /** Opens connections to an echo and keeps them. */
  hold(args: Target & { count: number }): Promise<{ open: number }>;
  /** A line there and back on some of those that are kept. */
  touchHeld(args: { seed: number; count: number }): Promise<{ right: number }>;
  /** Ends them; gives how many were still open. */
  release(args: object): Promise<{ open: number }>;
  /** DNS queries; what was not as it should be. */
  dns(args: {
    server: string;
    name: string;
    address: string;
    longName: string;
    count: number;
  }): Promise<{ right: number; wrong: string[] }>;
  /** Datagrams to an echo, one after the other from one port, each sent again until it is answered. */
  datagrams(args: Target & { seed: number; count: number }): Promise<{ right: number; again: number }>;
  /** An echo server on a port. */
  serveEcho(args: { port: number }): Promise<{ port: number }>;
}

let held: Socket[] = [];
let udp: UdpSocket | null = null;
let sequence = 0;

/** Sends and waits until as much has come back; whether it is the same. */
async function thereAndBack(socket: Socket, bytes: Buffer): Promise<boolean> {
  socket.write(bytes);
  const pieces: Buffer[] = [];
  for (let left = bytes.length; left > 0; ) {
    const [piece] = (await once(socket, "data")) as [Buffer];
    pieces.push(piece);
    left -= piece.length;
  }
  return Buffer.concat(pieces).equals(bytes);
}

/** One short connection; null when it went as it should. */
async function shortConnection(
  ending: Ending,
  host: string,
  ports: ServicePorts,
  seed: number,
): Promise<string | null> {
  const size = 1 + (seed % 20_000);
  const is = (good: boolean, outcome: unknown): string | null =>
    good ? null : `${ending}: ${JSON.stringify(outcome)}`;
  if (ending === "guest-fin") {
    const outcome = await agentCommands.sendThenRead({ host, port: ports.digest, seed, bytes: size });
    return is(outcome.error === null && outcome.text === patternSha256(seed, size), outcome);
  }
  if (ending === "host-fin") {
    const outcome = await agentCommands.readThenSend({ host, port: ports.greet, seed, bytes: size });
    return is(outcome.error === null && outcome.text === GREETING, outcome);
  }
  if (ending === "guest-reset") {
    await agentCommands.abort({ host, port: ports.echo });
    return null;
  }
  const target =
    ending === "unreachable"
      ? { host: NOWHERE, port: 80 }
      : { host, port: ending === "refused" ? NOBODY : ports.reset };
  const outcome = await agentCommands.poke(target);
  const expected = {
    "host-reset": ["ECONNRESET"],
    refused: ["ECONNREFUSED"],
    // ICMP errors are limited in number; the RST that follows is not.
    unreachable: ["ENETUNREACH", "EHOSTUNREACH", "ECONNREFUSED"],
  };
  return is(expected[ending].includes(outcome.error ?? ""), outcome);
}

const commands: SoakCommands = {
  ...agentCommands,
  async download({ url }) {
    const [response] = await once(get(url, { agent: false }), "response");
    const hash = createHash("sha256");
    let bytes = 0;
    for await (const piece of response as AsyncIterable<Buffer>) {
      hash.update(piece);
      bytes += piece.length;
    }
    return { bytes, sha256: hash.digest("hex") };
  },
  async chatty({ host, port, seed, requests }) {
    const socket = connect({ host, port, noDelay: true });
    const random = seeded(seed);
    let right = 0;
    for (let i = 0; i < requests; i++) {
      const bytes = Buffer.concat([...pattern(seed + i, 1 + Math.floor(random() * 2000))]);
      if (await thereAndBack(socket, bytes)) right++;
    }
    socket.end();
    await once(socket, "close");
    return { right };
  },
  async churn({ host, ports, seed, count, endings }) {
    const right: Partial<Record<Ending, number>> = {};
    const wrong: string[] = [];
    let next = 0;
    const worker = async (): Promise<void> => {
      while (next < count) {
        const nth = next++;
        const ending = endings[nth % endings.length]!;
        const trouble = await Promise.race([
          shortConnection(ending, host, ports, seed + nth),
          sleep(SHORT_MILLIS, `${ending}: no end after ${SHORT_MILLIS / 1000} s`, { ref: false }),
        ]);
        if (trouble !== null) wrong.push(trouble);
        else right[ending] = (right[ending] ?? 0) + 1;
      }
    };
    await Promise.all(Array.from({ length: CONCURRENT }, worker));
    return { right, wrong };
  },
  async hold({ host, port, count }) {
    held = Array.from({ length: count }, () => connect({ host, port, noDelay: true }));
    await Promise.all(held.map((socket) => once(socket, "connect")));
    for (const socket of held) socket.on("error", () => {});
    return { open: held.length };
  },
  async touchHeld({ seed, count }) {
    const random = seeded(seed);
    const some = new Set(Array.from({ length: count }, () => held[Math.floor(random() * held.length)]!));
    const line = Buffer.from(`still here ${seed}\n`);
    const right = await Promise.all([...some].map((socket) => thereAndBack(socket, line)));
    return { right: right.every(Boolean) ? count : right.filter(Boolean).length };
  },
  async release() {
    const open = held.filter((socket) => !socket.destroyed && socket.writable);
    await Promise.all(
      open.map((socket) => {
        socket.end();
        return once(socket, "close");
      }),
    );
    held = [];
    return { open: open.length };
  },
  async dns({ server, name, address, longName, count }) {
    const resolver = new Resolver({ timeout: 1000, tries: 8 });
    resolver.setServers([server]);
    const wrong: string[] = [];
    const failure = (error: NodeJS.ErrnoException): string => error.code ?? error.message;
    const check = (what: string, got: unknown, want: unknown): void => {
      if (got !== want) wrong.push(`${what}: ${got} instead of ${want}`);
    };
    for (let i = 0; i < count; i++) {
      if (i % 3 === 0) check("A", await resolver.resolve4(name).then((all) => all.join(), failure), address);
      else if (i % 3 === 1)
        check("NXDOMAIN", await resolver.resolve4(`no-${i}.${name}`).then((all) => all.join(), failure), "ENOTFOUND");
      else {
        const length = await resolver.resolveTxt(longName).then((all) => all[0]!.join("").length, failure);
        check("TXT over TCP", length, 2000);
      }
    }
    return { right: count - wrong.length, wrong };
  },
  async datagrams({ host, port, seed, count }) {
    udp ??= createSocket("udp4");
    const socket = udp;
    const random = seeded(seed);
    let right = 0;
    let again = 0;
    for (let i = 0; i < count; i++) {
      const bytes = Buffer.concat([Buffer.alloc(4), ...pattern(seed + i, Math.floor(random() * 1400))]);
      bytes.writeUInt32BE(sequence++, 0);
      for (let tries = 0; tries < 20; tries++) {
        if (tries > 0) again++;
        if (!(await echoed(socket, host, port, bytes))) continue;
        right++;
        break;
      }
    }
    return { right, again };
  },
  async serveEcho({ port }) {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on("error", () => {});
      socket.pipe(socket);
    });
    server.listen(port, "0.0.0.0");
    await once(server, "listening");
    return { port };
  },
};

/** Whether this datagram came back within a second; late copies of others are passed over. */
function echoed(socket: UdpSocket, host: string, port: number, bytes: Buffer): Promise<boolean> {
  return new Promise((resolve) => {
    const over = (good: boolean): void => {
      clearTimeout(timer);
      socket.off("message", onMessage);
      resolve(good);
    };
    const onMessage = (message: Buffer): void => {
      if (message.equals(bytes)) over(true);
    };
    const timer = setTimeout(over, 1000, false);
    socket.on("message", onMessage);
    socket.send(bytes, port, host);
  });
}

interface Request {
  readonly id: number;
  readonly name: keyof SoakCommands;
  readonly args: never;
}

/** The parent's handle. */
export class Traffic {
  readonly #send: (request: object) => void;
  readonly #waiting: Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }> = new Map();
  #next = 1;

  constructor(namespace: Namespace) {
    const child = namespace.spawn(process.execPath, ["--import", "tsx", import.meta.filename], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    child.on("message", ({ id, result, error }: { id: number; result: never; error?: string }) => {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) waiting?.resolve(result);
      else waiting?.reject(new Error(error));
    });
    child.once("exit", (code) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`the traffic ended with ${code}`));
    });
    this.#send = (request) => void child.send(request);
  }

  /** Does one piece of work. Rejects when it takes longer than `timeout` milliseconds. */
  call<K extends keyof SoakCommands>(
    name: K,
    args: Parameters<SoakCommands[K]>[0],
    timeout = 60_000,
  ): ReturnType<SoakCommands[K]> {
    const id = this.#next++;
    const answer = new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${name} hung: no end after ${timeout} ms`)), timeout);
      const settled =
        <T>(settle: (value: T) => void) =>
        (value: T) => {
          clearTimeout(timer);
          settle(value);
        };
      this.#waiting.set(id, { resolve: settled(resolve), reject: settled(reject) });
    });
    this.#send({ id, name, args });
    return answer as ReturnType<SoakCommands[K]>;
  }
}

/** The child. */
if (process.argv[1] === import.meta.filename && process.send) {
  const send = (message: object): void => void process.send?.(message);
  process.on("disconnect", () => process.exit(0));
  process.on("message", ({ id, name, args }: Request) => {
    (commands[name] as (a: never) => Promise<unknown>)(args).then(
      (result) => send({ id, result }),
      (error: unknown) => send({ id, error: `${name}: ${error instanceof Error ? error.message : error}` }),
    );
  });
}
