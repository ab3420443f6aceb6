/** `tslirp serve`: a network for the guests that come, until a signal says stop. */
import fs from "node:fs";
import path from "node:path";
import type { Api } from "../api/server.ts";
import type { Socks } from "../api/socks.ts";
import { attachAddressText, type StreamAddress } from "../attach/address.ts";
import { createLog, type Logger } from "../control/log.ts";
import { shellLine } from "../control/qemu-args.ts";
import { forwardText } from "../nat/forwards.ts";
import { createNetwork, type Network } from "../network.ts";
import type { ServeOptions } from "./arguments.ts";
import { runtimeFolder, tokenFile } from "./runtime-folder.ts";
import { version } from "./version.ts";

/** Resolves when stopped as asked. Rejects with an `Error` of one line when the host refuses something. */
export async function serve(options: ServeOptions): Promise<void> {
  const log = createLog({ level: options.logLevel, json: options.logJson });
  const stopped = stopSignal();
  const network = await createNetwork(options.network);
  let api: Api | null = null;
  let socks: Socks | null = null;
  try {
    report(network, log);
    if (options.capture !== null) {
      const { file, options: how } = options.capture;
      void network.capture(file, how).closed.then((error) => {
        if (error !== null) log.error(`capture to ${file} ended: ${error.message}`);
      });
    }
    network.impair(options.impair, options.impairSeed);
    if (options.socks !== null) {
      const { serveSocks } = await import("../api/socks.ts");
      socks = await serveSocks(network, options.socks);
      log.info(`SOCKS5 on ${attachAddressText(socks.address)}`);
    }
    api = options.api === null ? null : await openApi(network, options.api, log);
    let over: Promise<unknown> = stopped;
    if (options.fd !== null) {
      // With nothing but an inherited cable there is nothing left to do when it ends.
      const gone = network.attachFd(options.fd);
      if (options.listen.length + options.connect.length === 0) over = Promise.race([stopped, gone]);
    }
    for (const address of options.connect) await network.dial(address);
    for (const address of listenAddresses(options)) {
      const args = await network.listen(address, options.id);
      process.stdout.write(`Waiting for guests. Append to QEMU's arguments:\n  ${shellLine(args)}\n`);
    }
    await over;
    log.info("stopping");
  } finally {
    await api?.close();
    await socks?.close();
    await network.close();
  }
}

/** Loaded only when asked for: it is much code. */
async function openApi(network: Network, address: StreamAddress, log: Logger): Promise<Api> {
  const { serveApi } = await import("../api/server.ts");
  const api = await serveApi(network, { address, version: version() });
  if (api.address.kind === "unix") {
    log.info(`API on unix:${api.address.path}`);
    return api;
  }
  const { host, port } = api.address;
  const file = tokenFile(port);
  fs.writeFileSync(file, `${api.token}\n`, { mode: 0o600 });
  log.info(`API on tcp:${host}:${port}, its token in ${file}`);
  return {
    ...api,
    close: () => {
      fs.rmSync(file, { force: true });
      return api.close();
    },
  };
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

function report(network: Network, log: Logger): void {
  for (const { rule, address } of network.forwards()) {
    log.info(`forward ${forwardText({ ...rule, host: address }, network.config.firstGuest)}`);
  }
  network.on("lease", ({ action, ...lease }) => log.info(lease, `lease ${action}`));
  network.on("flowOpen", (flow) => log.debug(flow, "flow open"));
  network.on("flowClose", (flow) => log.debug(flow, "flow close"));
  network.on("tftp", (transfer) => log.info(transfer, transfer.error === null ? "tftp sent" : "tftp not sent"));
  network.on("notice", ({ text }) => log.warn(text));
  network.on("dns", (query) => log.debug(query, "dns"));
}
