/** Opens a cable's end at any address, for the command line and the library. */
import type { AttachAddress, DgramAddress, StreamAddress } from "./address.ts";
import type { Attachment, CableEnv } from "./attachment.ts";
import { connectStream } from "./client.ts";
import { listenDgram } from "./dgram.ts";
import { listenStream, serveDoor } from "./server.ts";
import { listenVhostUser } from "./vhost-user/server.ts";
import { NO_BROWSERS, type WsAccess } from "./ws-access.ts";
import { wsDoor } from "./ws-door.ts";

/**
 * Listens for guests at `address`. Resolves when they can connect; rejects with an `Error` of one line. `access`
 * concerns WebSockets.
 */
export async function listenAt(
  address: AttachAddress,
  env: CableEnv,
  access: WsAccess = NO_BROWSERS,
): Promise<Attachment> {
  if (address.kind === "udp") return listenDgram(address, env);
  if (address.kind === "vhost-user") return listenVhostUser(address, env);
  if (address.kind !== "ws") return listenStream(address, env);
  return serveDoor(wsDoor(address, { access, guests: env.limits.cables, trace: env.trace }), address, env);
}

/** Dials a guest's end at `address`: a stream until it answers, and again when it ends; UDP from a port of our own. */
export async function connectTo(address: StreamAddress | DgramAddress, env: CableEnv): Promise<Attachment> {
  if (address.kind !== "udp") return connectStream(address, env);
  const anywhere = address.host.includes(":") ? "::" : "0.0.0.0";
  return listenDgram({ kind: "udp", host: anywhere, port: 0 }, env, { remote: address });
}
