/** Guests that come by vhost-user: a UNIX socket to which front ends connect, one guest by each connection. */
import type net from "node:net";
import { hasKnownLayouts } from "../../host/libc.ts";
import { type SharedLibc, sharedLibc } from "../../host/shared-libc.ts";
import { attachAddressText, type VhostUserAddress } from "../address.ts";
import type { Attachment, CableEnv } from "../attachment.ts";
import { type Door, openDoor } from "../door.ts";
import { VhostUserSession } from "./session.ts";

/**
 * Resolves when front ends can connect. Rejects with an `Error` of one line, with the system's `code` where there is
 * one.
 */
export async function listenVhostUser(address: VhostUserAddress, env: CableEnv): Promise<Attachment> {
  const libc = sharedLibc();
  if (libc === null) throw new Error(`cannot listen on ${attachAddressText(address)}: ${whyNot()}`);
  const server = new VhostUserServer(address, env, libc);
  await server.open();
  return server;
}

function whyNot(): string {
  return hasKnownLayouts()
    ? "vhost-user needs the package koffi, which is not installed"
    : "vhost-user needs Linux on a 64-bit little-endian processor";
}

class VhostUserServer implements Attachment {
  readonly address: VhostUserAddress;
  readonly closed: Promise<void>;
  readonly #env: CableEnv;
  readonly #libc: SharedLibc;
  readonly #sessions: Set<VhostUserSession> = new Set();
  #onClosed: () => void = () => {};
  #door: Door | null = null;
  #listening = true;
  #accepted = 0;

  constructor(address: VhostUserAddress, env: CableEnv, libc: SharedLibc) {
    this.address = address;
    this.#env = env;
    this.#libc = libc;
    this.closed = new Promise((resolve) => {
      this.#onClosed = resolve;
    });
  }

  async open(): Promise<void> {
    const { path } = this.address;
    try {
      this.#door = await openDoor({ kind: "unix", path }, (socket) => this.#accept(socket));
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      const named = new Error(message.replace("unix:", "vhost-user:"));
      throw code === undefined ? named : Object.assign(named, { code });
    }
  }

  async close(): Promise<void> {
    if (this.#listening) {
      this.#listening = false;
      await this.#door!.close();
      for (const session of [...this.#sessions]) session.close();
      this.#settle();
    }
    return this.closed;
  }

  #accept(socket: net.Socket): void {
    const full = this.#sessions.size >= this.#env.limits.cables;
    if (full) this.#env.trace.drop("cables-full");
    if (!this.#listening || full) {
      socket.destroy();
      return;
    }
    const name = `${attachAddressText(this.address)}#${++this.#accepted}`;
    const session = new VhostUserSession(socket, name, this.#env, this.#libc, () => {
      this.#sessions.delete(session);
      this.#settle();
    });
    this.#sessions.add(session);
  }

  #settle(): void {
    if (!this.#listening && this.#sessions.size === 0) this.#onClosed();
  }
}
