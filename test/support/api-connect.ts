/** A client of the API's that asks for a stream to a guest's port. */
import net from "node:net";
import type { Api } from "../../src/api/server.ts";

/** What the CONNECT is answered, and what the guest's port says then, up to "guest speaks". */
export async function apiConnect(api: Api, target: string, authorization = `Bearer ${api.token}`): Promise<string> {
  const socket = net.connect((api.address as { port: number }).port, "127.0.0.1");
  socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\nAuthorization: ${authorization}\r\n\r\n`);
  let text = "";
  for await (const chunk of socket) {
    text += String(chunk);
    if (text.includes("guest speaks")) break;
  }
  socket.destroy();
  return text;
}
