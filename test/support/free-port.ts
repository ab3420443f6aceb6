/** A port of 127.0.0.1 that nobody has, for programs that are told one. */
import { once } from "node:events";
import net from "node:net";

export async function freePort(): Promise<number> {
  const holder = net.createServer().listen(0, "127.0.0.1");
  await once(holder, "listening");
  const { port } = holder.address() as net.AddressInfo;
  holder.close();
  await once(holder, "close");
  return port;
}
