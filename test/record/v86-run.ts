/**
 * A PC that v86 emulates in this process boots iPXE from its CD, as in `examples/v86.mjs`, while its network is recorded.
 */
import { readFileSync } from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import type { Duplex } from "node:stream";
import { createNetwork } from "../../src/index.ts";

const NAME = "www.v86.test";
const INSIDE = "10.0.2.100";
/** Debian's packages seabios and ipxe. */
const FILES = {
  bios: "/usr/share/seabios/bios.bin",
  vga: "/usr/share/seabios/vgabios-stdvga.bin",
  cd: "/usr/lib/ipxe/ipxe.iso",
};

interface Machine {
  readonly bus: { send(name: string, frame: Uint8Array): void };
  add_listener(event: string, listener: (frame: Uint8Array) => void): void;
  destroy(): Promise<void>;
}

/** Records until the PC has fetched a page by its name, and what that page says. */
export async function recordV86(file: string): Promise<void> {
  const pages = http.createServer();
  const done = new Promise<void>((resolve) => {
    pages.on("request", (request, response) => {
      if (request.url!.startsWith("/done")) resolve();
      response.end(`#!ipxe\nimgfetch http://${NAME}/done?ip=\${net0/ip}\n`);
    });
  });
  await using net = await createNetwork({
    bootfile: `http://${NAME}/boot.ipxe`,
    onFlow: ({ proto, host }) => (proto === "dns" && host === NAME ? answer : "deny"),
    record: { file, payload: false },
  });
  await net.listenGuest({ host: INSIDE, port: 80 }, (socket) => pages.emit("connection", socket));
  const { V86 } = (await import("v86")) as unknown as { V86: new (options: object) => Machine };
  const read = (path: string): { buffer: ArrayBuffer } => ({ buffer: new Uint8Array(readFileSync(path)).buffer });
  const machine = new V86({
    wasm_path: createRequire(import.meta.url).resolve("v86/build/v86.wasm"),
    memory_size: 64 << 20,
    vga_memory_size: 2 << 20,
    bios: read(FILES.bios),
    vga_bios: read(FILES.vga),
    cdrom: read(FILES.cd),
    net_device: { type: "ne2k" },
    disable_speaker: true,
    autostart: true,
  });
  const cable = net.cable((frame) => machine.bus.send("net0-receive", frame));
  machine.add_listener("net0-send", (frame) => cable.send(frame));
  try {
    await done;
  } finally {
    await machine.destroy();
    cable.close();
  }
}

/** Takes a DNS query over: one A record, whatever was asked (RFC 1035 section 4.1). */
function answer(socket: Duplex): void {
  socket.once("data", (query: Buffer) => {
    const question = query.subarray(12, query.indexOf(0, 12) + 5);
    const head = Buffer.from([query[0]!, query[1]!, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    const record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, ...INSIDE.split(".").map(Number)];
    socket.end(Buffer.concat([head, question, Buffer.from(record)]));
  });
}
