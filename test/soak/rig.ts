/** The soak's guest, host and programs: the end-to-end rig, with the control API and traffic at both ends. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ApiClient } from "../../src/cli/ctl/client.ts";
import type { Namespace } from "../support/e2e/namespace.ts";
import { GUEST, Rig } from "../support/e2e/rig.ts";
import type { ServicePorts } from "../support/services.ts";
import { Traffic } from "./traffic.ts";

export { GATEWAY, OUTSIDE, OUTSIDE_NAME, RESOLVER, url } from "../support/e2e/rig.ts";

/** On the host's 127.0.0.1, to the guest's echo. */
export const FORWARD_PORT = 7777;
const GUEST_ECHO_PORT = 7;
/** Whose TXT record only TCP can carry. */
export const LONG = "long.e2e.test";

export interface Surroundings {
  readonly rig: Rig;
  readonly api: ApiClient;
  readonly guest: Traffic;
  readonly host: Traffic;
  readonly ports: ServicePorts;
  close(): Promise<void>;
}

/** `record` is the file that all of it is recorded in, without payload. */
export async function startSoakRig(record: string): Promise<Surroundings> {
  const folder = mkdtempSync(join(tmpdir(), "tslirp-soak-"));
  const path = join(folder, "api.sock");
  const hostfwd = [`tcp:127.0.0.1:${FORWARD_PORT}-${GUEST}:${GUEST_ECHO_PORT}`];
  const rig = await Rig.online({
    hostfwd,
    args: ["--api", `unix:${path}`, "--record", record, "--record-payload", "off"],
  });
  // A card with a short queue drops what it has no room for. Data is sent again; a lost RST is a connection that stays.
  rig.guest.ip("link", "set", "tap0", "txqueuelen", "10000");
  const [guest, host] = [new Traffic(rig.guest), new Traffic(rig.host)];
  await guest.call("serveEcho", { port: GUEST_ECHO_PORT });
  const api = new ApiClient({ kind: "unix", path }, null);
  const close = async (): Promise<void> => {
    await rig.close();
    rmSync(folder, { recursive: true });
  };
  return { rig, api, guest, host, ports: rig.services.ports, close };
}

/** Frames that the guest's card has dropped, both ways. */
export async function cardDrops(guest: Namespace): Promise<number> {
  const [card] = JSON.parse((await guest.run("ip", ["-s", "-j", "link", "show", "tap0"])).stdout);
  return card.stats64.rx.dropped + card.stats64.tx.dropped;
}
