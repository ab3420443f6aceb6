/**
 * `tslirp worker`, which only the supervisor starts: one network, whose guests come by the supervisor's channel. The
 * worker ends when the channel does, however the supervisor has ended.
 */
import type net from "node:net";
import { ConfigError } from "../../control/errors.ts";
import { createLog } from "../../control/log.ts";
import { makeFilesFor } from "../../host/ownership.ts";
import type { Network } from "../../network.ts";
import { becomeUser } from "../rights.ts";
import { type Session, startSession } from "../session.ts";
import type { News, Order, WorkerOptions } from "./messages.ts";

/** Resolves with the exit status. */
export async function work(): Promise<number> {
  if (process.send === undefined)
    throw new ConfigError("worker", undefined, "expected serve --workers, which starts its workers itself");
  const told = new Promise<void>((resolve) => {
    process.once("disconnect", resolve);
    process.once("SIGTERM", resolve);
  });
  const options = await Promise.race([startOrder(), told]);
  if (options === undefined) return 0;
  // A terminal sends these signals to the supervisor, too. The supervisor decides.
  for (const signal of ["SIGINT", "SIGHUP"] as const) process.on(signal, () => {});
  let session: Session | null = null;
  try {
    session = await start(options);
    const { network } = session;
    process.on("message", (order: Order, socket?: net.Socket) => obey(network, order, socket));
    await say({ news: "ready" });
    await told;
    return 0;
  } catch (error) {
    await say({ news: "failed", why: (error as Error).message });
    return 1;
  } finally {
    await session?.close();
  }
}

function startOrder(): Promise<WorkerOptions> {
  return new Promise((resolve) => {
    process.once("message", (order: Order) => {
      if (order.order === "start") resolve(order.options);
    });
  });
}

/**
 * Keeps the order of `rights.ts`: open sockets, become the user, then write files. A worker that is started later is
 * that user already.
 */
async function start({ number, network, session: options, user }: WorkerOptions): Promise<Session> {
  if (user !== null) makeFilesFor(user);
  const log = createLog(options.log).child({ worker: number });
  const session = await startSession(network, options, log);
  try {
    if (user !== null && process.getuid!() === 0) becomeUser(user);
    await session.begin();
    return session;
  } catch (error) {
    await session.close();
    throw error;
  }
}

function obey(network: Network, order: Order, socket: net.Socket | undefined): void {
  switch (order.order) {
    case "serve":
      void served(network, socket).then(() => say({ news: "gone", cable: order.cable }));
      break;
    case "protect":
      network.protectPort(order.port);
      break;
    case "rules":
      network.setRules(order.lines);
  }
}

/** Resolves when the guest has left. */
async function served(network: Network, socket: net.Socket | undefined): Promise<void> {
  try {
    if (socket !== undefined) await network.attachAccepted(socket);
  } catch {
    // The network is closing.
    socket?.destroy();
  }
}

/** Resolves when the message is sent, or when the supervisor is gone. */
function say(news: News): Promise<void> {
  return new Promise((resolve) => {
    if (!process.connected) resolve();
    else process.send!(news, () => resolve());
  });
}
