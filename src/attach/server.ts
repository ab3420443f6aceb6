/** Serves the guests that come to a listening socket of any kind, with cables on one network. */
import type { Link } from "../core/link.ts";
import { type AttachAddress, attachAddressText, type StreamAddress } from "./address.ts";
import type { Attachment, CableEnv } from "./attachment.ts";
import { type Arrival, type GuestDoor, type OpenGuestDoor, openDoor } from "./door.ts";
import { StreamLink } from "./stream.ts";

/** A door of connections, UNIX or TCP. */
export function streamDoor(address: StreamAddress): OpenGuestDoor {
  return (onArrival) =>
    openDoor(address, (socket) =>
      onArrival({
        plug: (name, env, onGone) => {
          const link = new StreamLink(name, env, onGone);
          link.startAccepted(socket);
          return link;
        },
        refuse: () => socket.destroy(),
      }),
    );
}

/**
 * Resolves when guests can connect. Rejects with an `Error` of one line, with the system's `code` where there is one.
 */
export async function listenStream(address: StreamAddress, env: CableEnv): Promise<Attachment> {
  return serveDoor(streamDoor(address), address, env);
}

/**
 * Serves the guests of a door, all on one network. `wanted` is its address, to name guests that come while it opens.
 */
export async function serveDoor(open: OpenGuestDoor, wanted: AttachAddress, env: CableEnv): Promise<Attachment> {
  const server = new GuestServer(wanted, env);
  await server.open(open);
  return server;
}

class GuestServer implements Attachment {
  readonly closed: Promise<void>;
  readonly #env: CableEnv;
  readonly #links: Set<Link> = new Set();
  #address: AttachAddress;
  #onClosed: () => void = () => {};
  #door: GuestDoor | null = null;
  #listening = false;
  #accepted = 0;

  constructor(wanted: AttachAddress, env: CableEnv) {
    this.#address = wanted;
    this.#env = env;
    this.closed = new Promise((resolve) => {
      this.#onClosed = resolve;
    });
  }

  get address(): AttachAddress {
    return this.#address;
  }

  async open(open: OpenGuestDoor): Promise<void> {
    this.#listening = true;
    this.#door = await open((arrival) => this.#accept(arrival));
    this.#address = this.#door.address;
  }

  async close(): Promise<void> {
    if (this.#listening) {
      this.#listening = false;
      await this.#door!.close();
      for (const link of [...this.#links]) link.close();
      this.#settle();
    }
    return this.closed;
  }

  #accept(arrival: Arrival): void {
    // Each cable holds about 1 MiB of buffers.
    const full = this.#links.size >= this.#env.limits.cables;
    if (full) this.#env.trace.drop("cables-full");
    if (!this.#listening || full) return arrival.refuse();
    const name = `${attachAddressText(this.#address)}#${++this.#accepted}`;
    let link: Link | null = null;
    let gone = false;
    link = arrival.plug(name, this.#env, () => {
      // A guest that left before it was served is gone before it has a link.
      gone = true;
      if (link !== null) this.#links.delete(link);
      this.#settle();
    });
    if (!gone) this.#links.add(link);
  }

  #settle(): void {
    if (!this.#listening && this.#links.size === 0) this.#onClosed();
  }
}
