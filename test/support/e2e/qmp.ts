/** QEMU's machine protocol, as far as saving and restoring a machine needs it: a command a line, an answer each. */
import { once } from "node:events";
import { existsSync } from "node:fs";
import net from "node:net";
import { createInterface } from "node:readline";

export class Qmp {
  readonly #socket: net.Socket;
  readonly #waiting: ((answer: { return?: unknown; error?: { desc: string } }) => void)[] = [];

  private constructor(socket: net.Socket) {
    this.#socket = socket;
    createInterface(socket).on("line", (line) => {
      const message = JSON.parse(line);
      if ("return" in message || "error" in message) this.#waiting.shift()?.(message);
    });
  }

  /** QEMU's `-qmp unix:PATH,server=on,wait=off`; waits until it is there. */
  static async open(path: string): Promise<Qmp> {
    for (let tries = 0; !existsSync(path); tries++) {
      if (tries === 800) throw new Error(`no ${path} after 40 s`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const socket = net.connect(path);
    await once(socket, "connect");
    const qmp = new Qmp(socket);
    await qmp.run("qmp_capabilities");
    return qmp;
  }

  async run<T>(execute: string, args: object = {}): Promise<T> {
    const answer = new Promise<{ return?: unknown; error?: { desc: string } }>((resolve) =>
      this.#waiting.push(resolve),
    );
    this.#socket.write(`${JSON.stringify({ execute, arguments: args })}\n`);
    const { return: result, error } = await answer;
    if (error) throw new Error(`${execute}: ${error.desc}`);
    return result as T;
  }

  /** A command of the human monitor's, which says nothing when all went well. */
  async monitor(line: string): Promise<void> {
    const said = await this.run<string>("human-monitor-command", { "command-line": line });
    if (said.trim() !== "") throw new Error(`${line}: ${said.trim()}`);
  }

  /** Asks until the status that `query` tells is as `wanted`. */
  async status(query: string, wanted: (status: string) => boolean): Promise<void> {
    for (let tries = 0; tries < 400; tries++) {
      const { status } = await this.run<{ status: string }>(query);
      if (wanted(status)) return;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`${query} does not come to an end`);
  }

  close(): void {
    this.#socket.destroy();
  }
}
