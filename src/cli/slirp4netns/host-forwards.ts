/**
 * slirp4netns' API socket (`--api-socket`). Each connection carries one JSON request (`add_hostfwd`, `list_hostfwd`
 * or `remove_hostfwd`) and one answer.
 */
import net from "node:net";
import * as z from "zod/mini";
import { listenUnix, type UnixFile } from "../../host/listen-unix.ts";
import type { Network } from "../../network.ts";

const MOST_REQUEST = 4_096;
const WAIT_MILLIS = 5_000;
const PORT = z.int().check(z.minimum(1), z.maximum(65_535));
/** An empty text means no address, too: podman sends it. */
const ADDRESS = z.optional(z.union([z.ipv4(), z.literal("")]));
const REQUEST = z.discriminatedUnion("execute", [
  z.object({
    execute: z.literal("add_hostfwd"),
    arguments: z.object({
      proto: z.enum(["tcp", "udp", "tcp4", "udp4"]),
      host_addr: ADDRESS,
      host_port: PORT,
      guest_addr: ADDRESS,
      guest_port: PORT,
    }),
  }),
  z.object({ execute: z.literal("list_hostfwd") }),
  z.object({ execute: z.literal("remove_hostfwd"), arguments: z.object({ id: z.int() }) }),
]);

interface Entry {
  readonly id: number;
  readonly proto: string;
  readonly host_addr: string;
  readonly host_port: number;
  readonly guest_addr: string;
  readonly guest_port: number;
}

export class HostForwards {
  readonly #network: Network;
  readonly #server: net.Server;
  readonly #open: Map<number, { readonly entry: Entry; readonly closing: AbortController }> = new Map();
  #last = 0;
  #file: UnixFile | null = null;

  private constructor(network: Network) {
    this.#network = network;
    this.#server = net.createServer({ allowHalfOpen: true }, (socket) => this.#serve(socket));
  }

  static async listen(network: Network, path: string): Promise<HostForwards> {
    const made = new HostForwards(network);
    made.#file = await listenUnix(made.#server, path);
    return made;
  }

  async close(): Promise<void> {
    this.#file?.unlink();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }

  /** Some clients end their side after the request, others do not: a request also counts when it is complete JSON. */
  #serve(socket: net.Socket): void {
    let text = "";
    let answered = false;
    const answer = async (): Promise<void> => {
      if (answered) return;
      answered = true;
      socket.end(JSON.stringify(await this.#answer(text)));
    };
    socket.setTimeout(WAIT_MILLIS, () => socket.destroy());
    socket.on("error", () => socket.destroy());
    socket.setEncoding("utf8").on("data", (part: string) => {
      text += part;
      if (text.length > MOST_REQUEST) socket.destroy();
      else if (isWhole(text)) void answer();
    });
    socket.on("end", () => void answer());
  }

  async #answer(text: string): Promise<object> {
    try {
      const request = REQUEST.parse(JSON.parse(text));
      if (request.execute === "add_hostfwd") return { return: { id: await this.#add(request.arguments) } };
      if (request.execute === "list_hostfwd")
        return { return: { entries: [...this.#open.values()].map(({ entry }) => entry) } };
      return this.#remove(request.arguments.id);
    } catch (error) {
      const desc =
        error instanceof z.core.$ZodError || error instanceof SyntaxError ? "bad request" : (error as Error).message;
      return { error: { desc } };
    }
  }

  async #add(wanted: Extract<z.infer<typeof REQUEST>, { execute: "add_hostfwd" }>["arguments"]): Promise<number> {
    const { host_port, guest_port } = wanted;
    const host_addr = wanted.host_addr || "0.0.0.0";
    const guest_addr = wanted.guest_addr || this.#network.config.dhcpStart;
    const proto = wanted.proto.startsWith("udp") ? "udp" : "tcp";
    const closing = new AbortController();
    const rule = `${proto}:${host_addr}:${host_port}-${guest_addr}:${guest_port}`;
    await this.#network.publish(rule, { signal: closing.signal });
    const id = ++this.#last;
    this.#open.set(id, { entry: { id, proto, host_addr, host_port, guest_addr, guest_port }, closing });
    return id;
  }

  #remove(id: number): object {
    const forward = this.#open.get(id);
    if (forward === undefined) return { error: { desc: "bad request: no such forward" } };
    this.#open.delete(id);
    forward.closing.abort();
    return { return: {} };
  }
}

function isWhole(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
