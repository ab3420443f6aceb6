/**
 * Guest forwards: addresses of the guests' network that lead to a program or server of the host. Whoever runs the
 * network has chosen them, so rules do not apply to them. SMB is two guest forwards whose program is Samba's server.
 */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { SmbOptions } from "../control/guestfwd-rules.ts";
import type { IpText } from "../core/address.ts";
import type { GuestForwardRule } from "../core/config.ts";
import type { HostNet } from "../core/host-net.ts";
import { Commands, type CommandsOptions, needCommands } from "../host/commands.ts";
import { removePrivate } from "../host/ownership.ts";
import { findSmbd, sambaCommand } from "../host/samba.ts";
import type { TcpService } from "../nat/services.ts";
import type { Local } from "../stack/local-services.ts";

/** The ports of NetBIOS sessions and of SMB. */
const SMB_PORTS: readonly number[] = [139, 445];

export class GuestForwards {
  readonly #local: Local;
  readonly #cableOf: (host: IpText) => object | null;
  readonly #host: HostNet;
  readonly #commands: Commands;
  /** The folder of Samba's own files; null without SMB. */
  #folder: string | null = null;

  /** `cableOf` returns the cable of the guest with this address. */
  constructor(
    local: Local,
    cableOf: (host: IpText) => object | null,
    host: HostNet,
    options: Omit<CommandsOptions, "host">,
  ) {
    this.#local = local;
    this.#cableOf = cableOf;
    this.#host = host;
    this.#commands = new Commands({ host, ...options });
  }

  /**
   * Throws an `Error` of one line when this host lacks something: Samba, a folder for its files, or a way to run
   * commands.
   */
  open(rules: readonly GuestForwardRule[], smb: SmbOptions | null): void {
    if (smb !== null || rules.some(({ target }) => "argv" in target)) needCommands();
    for (const rule of rules) this.#serve(rule);
    if (smb === null) return;
    const smbd = findSmbd();
    if (smbd === null)
      throw new Error(
        "cannot share a folder over SMB: no smbd on the PATH or in /usr/sbin; install Samba (Debian: apt install samba)",
      );
    this.#folder = mkdtempSync(path.join(tmpdir(), "tslirp-smb-"));
    const argv = sambaCommand(smbd, this.#folder, smb.folder);
    for (const port of SMB_PORTS) this.#serve({ server: smb.server, port, target: { argv } });
  }

  /** Ends the processes and removes their files. */
  async close(): Promise<void> {
    await this.#commands.close();
    if (this.#folder !== null) removePrivate(this.#folder);
    this.#folder = null;
  }

  #serve({ server, port, target }: GuestForwardRule): void {
    const service: TcpService =
      "argv" in target
        ? (events, guest) => this.#commands.connect(target.argv, events, this.#cableOf(guest.host))
        : (events) => this.#host.connectTcp(target, events);
    if (this.#local.serveTcp({ host: server, port }, service) === null)
      throw new Error(`cannot forward ${server}:${port}: it is in use`);
  }
}
