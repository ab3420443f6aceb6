/** What `--workers` assumes of Node: a socket that is sent to another process has been read by nobody, and can be moved there. */
import { fork } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it, onTestFinished } from "vitest";

it.each(["unix", "tcp"])(
  "a %s socket with bytes to read goes to another process, which reads them by onread",
  async (kind) => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "platform-"));
    const child = fork(fileURLToPath(new URL("sent-socket-child.ts", import.meta.url)), {
      execArgv: ["--import", "tsx"],
    });
    onTestFinished(() => void child.kill("SIGKILL"));
    const ended = once(child, "exit");
    await once(child, "message");
    const server = net.createServer({ pauseOnConnect: true });
    server.listen(kind === "unix" ? { path: path.join(folder, "s") } : { port: 0, host: "127.0.0.1" });
    await once(server, "listening");
    const address = server.address() as net.AddressInfo | string;
    const accepts = once(server, "connection") as Promise<[net.Socket]>;
    const client = typeof address === "string" ? net.connect(address) : net.connect(address.port, "127.0.0.1");
    client.write("early ");
    const [accepted] = await accepts;
    const told = once(child, "message");
    child.send("take it", accepted);
    const [answer] = (await once(client, "data")) as [Buffer];
    expect(String(answer)).toBe("answer");
    client.write("and late");
    expect(await told).toMatchObject([{ early: 0, text: "early and late", ours: true }, undefined]);
    client.end();
    expect(await ended).toEqual([0, null]);
    server.close();
    fs.rmSync(folder, { recursive: true });
  },
);
