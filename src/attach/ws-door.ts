/**
 * A listening socket by which guests come over WebSocket. The `ws` package, which speaks the protocol, is loaded when
 * the first such socket is asked for. A plain HTTP request gets a page that says what this is.
 *
 * A client that is not a guest yet can hold little: a request may take ten seconds and have Node's 16 kB of headers,
 * and the number of connections is limited. A message is one frame in one piece: no compression, no fragments, nothing
 * longer.
 */
import type http from "node:http";
import type net from "node:net";
import type { Duplex } from "node:stream";
import { MAX_FRAME } from "../core/link.ts";
import type { Trace } from "../core/trace.ts";
import { listening } from "../host/listen-unix.ts";
import { reasonOf } from "../host/reason.ts";
import { attachAddressText, type WsAddress } from "./address.ts";
import type { Arrival, GuestDoor, OpenGuestDoor } from "./door.ts";
import { attachWebSocket, type FrameSocket } from "./websocket.ts";
import { pathOf, type WsAccess, type WsRefusal, wsRefusal } from "./ws-access.ts";

const REQUEST_MILLIS = 10_000;
/** How many connections there may be beside those of guests: requests under way, and people who look at the page. */
const OTHERS = 64;
/** In how many pieces a message may come from the kernel: single bytes would cost a hundred times its length. */
const CHUNKS = 1_024;
/** "Try again later" (RFC 6455 section 7.4.1, as registered with IANA). */
const TRY_AGAIN = 1013;

/** How many milliseconds a client that is turned away may take to complete the closing handshake. */
const REFUSED_MILLIS = 1_000;

const OPTIONS = {
  noServer: true,
  clientTracking: false,
  perMessageDeflate: false,
  maxPayload: MAX_FRAME,
  // A frame comes as one fragment.
  maxFragments: 1,
  maxBufferedChunks: CHUNKS,
};

export interface WsDoorOptions {
  readonly access: WsAccess;
  /** How many guests there may be. */
  readonly guests: number;
  readonly trace: Trace;
}

/** Opening the door rejects with an `Error` of one line, with the system's `code` where there is one. */
export function wsDoor(wanted: WsAddress, options: WsDoorOptions): OpenGuestDoor {
  return (onArrival) => open(wanted, options, onArrival);
}

async function open(
  wanted: WsAddress,
  { access, guests, trace }: WsDoorOptions,
  onArrival: (arrival: Arrival) => void,
): Promise<GuestDoor> {
  const [{ createServer }, { WebSocketServer }] = await Promise.all([import("node:http"), import("ws")]);
  const upgrades = new WebSocketServer(OPTIONS);
  const limits = { headersTimeout: REQUEST_MILLIS, requestTimeout: REQUEST_MILLIS, keepAliveTimeout: REQUEST_MILLIS };
  const server = createServer({ ...limits, connectionsCheckingInterval: 1_000 }, (request, response) => {
    response.shouldKeepAlive = false;
    if (pathOf(request.url) !== wanted.path) return say(response, 404, `There is nothing here. Try ${wanted.path}.`);
    say(response, 200, ABOUT);
  });
  server.maxConnections = guests + OTHERS;
  server.on("drop", () => trace.drop("cables-full"));
  server.on("upgrade", (request: http.IncomingMessage, socket: Duplex, head: Buffer) => {
    // A client that has gone at once causes an error here.
    socket.on("error", () => {});
    const refusal = wsRefusal(request, wanted.path, access);
    if (refusal !== null) {
      trace.drop("ws-refused");
      return void refuse(socket, refusal);
    }
    upgrades.handleUpgrade(request, socket, head, (ws) => {
      ws.on("error", () => {});
      onArrival({
        plug: (name, env, onGone) => attachWebSocket(ws as unknown as FrameSocket, name, env, onGone),
        refuse: () => {
          ws.close(TRY_AGAIN, "no more guests now");
          setTimeout(() => ws.terminate(), REFUSED_MILLIS).unref();
        },
      });
    });
  });
  try {
    await listening(server, { host: wanted.host, port: wanted.port, exclusive: true });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const failure: NodeJS.ErrnoException = new Error(
      `cannot listen on ${attachAddressText(wanted)}: ${reasonOf(error)}`,
    );
    if (code !== undefined) failure.code = code;
    throw failure;
  }
  // Errors that come after listening are accept's (EMFILE): the next guest may succeed.
  server.on("error", () => {});
  return {
    address: { ...wanted, port: (server.address() as net.AddressInfo).port },
    close: async () => {
      server.close();
      // Connections of guests are not the server's any more; their cables end them.
      server.closeAllConnections();
    },
  };
}

const ABOUT =
  "This is tslirp's network for virtual machines. Guests come here by WebSocket, one Ethernet frame a message: " +
  "give this address, with ws: (or wss: behind a proxy that speaks TLS), to an emulator like v86 as its relay_url.";

function say(response: http.ServerResponse, status: number, text: string): void {
  response.writeHead(status, {
    "content-type": "text/plain; charset=utf-8",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
  });
  response.end(`${text}\n`);
}

async function refuse(socket: Duplex, { status, line }: WsRefusal): Promise<void> {
  const { STATUS_CODES } = await import("node:http");
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: text/plain\r\nContent-Length: ${line.length + 1}\r\nConnection: close\r\n\r\n${line}\n`,
  );
  setTimeout(() => socket.destroy(), REFUSED_MILLIS).unref();
}
