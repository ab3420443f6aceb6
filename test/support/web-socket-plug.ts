/** A guest's end of a cable over WebSocket, for the embedded guest. */
import { once } from "node:events";
import { type ClientOptions, WebSocket } from "ws";
import type { GuestCable } from "../../src/cli/guest/guest.ts";
import type { Plug } from "./embedded-guest.ts";

export interface WebSocketPlug extends Plug {
  readonly ws: WebSocket;
  /** Resolves with the close code. */
  readonly closed: Promise<number>;
}

/** Resolves when it is connected. */
export async function webSocketPlug(url: string, options: ClientOptions = {}): Promise<WebSocketPlug> {
  const ws = new WebSocket(url, options);
  const closed = new Promise<number>((resolve) => ws.on("close", resolve));
  await once(ws, "open");
  ws.on("error", () => {});
  const cable: GuestCable & { close(): void } = {
    onFrame: null,
    send: (frame) => ws.send(frame.slice()),
    close: () => ws.terminate(),
  };
  ws.on("message", (data: Buffer) => cable.onFrame?.(new Uint8Array(data)));
  return { ws, closed, cable: () => cable };
}
