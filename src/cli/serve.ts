/** `tslirp serve`: a network for the guests that come, until a signal says stop. */
import path from "node:path";
import { createLog } from "../control/log.ts";
import { shellLine } from "../control/qemu-args.ts";
import { makeFilesFor, ownerName } from "../host/ownership.ts";
import type { ServeOptions } from "./arguments.ts";
import { say } from "./output.ts";
import { becomeUser, findUser } from "./rights.ts";
import { runtimeFolder } from "./runtime-folder.ts";
import { startSession } from "./session.ts";

/** Resolves when stopped as asked. Rejects with an `Error` of one line when the host refuses something. */
export async function serve(options: ServeOptions): Promise<void> {
  const log = createLog(options.session.log);
  const user = options.user === null ? null : findUser(options.user);
  if (user !== null) makeFilesFor(user);
  const stopped = stopSignal();
  const session = await startSession(options.network, options.session, log);
  const { network } = session;
  try {
    const listening: (readonly string[])[] = [];
    for (const address of listenAddresses(options)) listening.push(await network.listen(address, options.id));
    if (user !== null) {
      becomeUser(user);
      log.info(`root's rights are given up: now ${ownerName()}`);
    }
    session.begin();
    let over: Promise<unknown> = stopped;
    if (options.fd !== null) {
      // With nothing but an inherited cable there is nothing left to do when it ends.
      const gone = network.attachFd(options.fd);
      if (options.listen.length + options.connect.length === 0) over = Promise.race([stopped, gone]);
    }
    for (const address of options.connect) await network.dial(address);
    for (const args of listening) say(`Waiting for guests. Append to QEMU's arguments:\n  ${shellLine(args)}\n`);
    await over;
    log.info("stopping");
  } finally {
    await session.close();
  }
}

function listenAddresses(options: ServeOptions): readonly string[] {
  if (options.listen.length + options.connect.length > 0 || options.fd !== null) return options.listen;
  return [`unix:${path.join(runtimeFolder(), `${options.id}.sock`)}`];
}

/** The first SIGINT or SIGTERM. The second one ends the process at once. */
function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    const stop = () => {
      process.off("SIGINT", stop);
      process.off("SIGTERM", stop);
      resolve();
    };
    process.on("SIGINT", stop);
    process.on("SIGTERM", stop);
  });
}
