/** Datagrams of a UDP forward at all addresses: through the kernel in, and an answer from the address that was asked. */
import { createSocket, type Socket } from "node:dgram";
import type { Endpoint } from "../src/core/host-net.ts";
import { libc } from "../src/host/libc.ts";
import { AddressedUdp } from "../src/host/udp-addressed.ts";
import { type Case, same } from "./case.ts";

/** Datagrams under way: they fit every socket's buffer. */
const BATCH = 64;
const BYTES = 64;

/** Nothing where there is no koffi. */
export function datagramCases(): Case[] {
  return libc() === null ? [] : [echoed(1), echoed(16)];
}

function echoed(clients: number): Case {
  let answered = 0;
  let wanted = 0;
  let all: (() => void) | null = null;
  const echo: AddressedUdp = new AddressedUdp(
    libc()!,
    { host: "0.0.0.0", port: 0 },
    {
      onDatagram: (bytes, at, len, from) => echo.send(bytes, at, len, from, 64),
      onUdpError({ code }) {
        throw new Error(code);
      },
    },
  );
  const { port } = echo.address as Endpoint;
  const sockets: Socket[] = [];
  const payload = new Uint8Array(BYTES);
  return {
    suite: "datagram",
    name: `forward at 0.0.0.0, echo to ${clients === 1 ? "a client" : `${clients} clients`} by the loopback, the clients' Node sockets included`,
    per: BATCH,
    bytes: 0,
    deferred: true,
    async call() {
      while (sockets.length < clients) {
        const socket = createSocket("udp4");
        await new Promise<void>((resolve) => socket.connect(port, `127.0.0.${sockets.length + 1}`, resolve));
        socket.unref();
        socket.on("message", () => {
          if (++answered === wanted) all?.();
        });
        sockets.push(socket);
      }
      wanted += BATCH;
      const done = new Promise<void>((resolve) => {
        all = resolve;
      });
      for (let i = 0; i < BATCH; i++) sockets[i % clients]!.send(payload);
      await done;
    },
    check: (calls) => {
      same("answers", answered, calls * BATCH);
      echo.close();
      for (const socket of sockets) socket.close();
    },
  };
}
