/** A cable's end at any address: the way in for the command line and the library. */
import type { AttachAddress } from "./address.ts";
import type { Attachment, CableEnv } from "./attachment.ts";
import { connectStream } from "./client.ts";
import { listenDgram } from "./dgram.ts";
import { listenStream } from "./server.ts";

/** Waits for guests at `address`. Resolves when they can come; rejects with an `Error` of one line. */
export function listenAt(address: AttachAddress, env: CableEnv): Promise<Attachment> {
  return address.kind === "udp" ? listenDgram(address, env) : listenStream(address, env);
}

/** Dials a guest's end at `address`: a stream again and again, UDP from a port of our own. */
export async function connectTo(address: AttachAddress, env: CableEnv): Promise<Attachment> {
  if (address.kind !== "udp") return connectStream(address, env);
  const anywhere = address.host.includes(":") ? "::" : "0.0.0.0";
  return listenDgram({ kind: "udp", host: anywhere, port: 0 }, env, { remote: address });
}
