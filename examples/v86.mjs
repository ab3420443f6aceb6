/**
 * A whole PC in this process: v86 emulates an x86 with a network card, whose frames go over a cable of the network's.
 * It boots iPXE, which gets a lease, resolves a name, fetches a page and does what that says. Nothing leaves the process.
 *
 * `v86.mjs`, with Debian's packages `seabios` (BIOS) and `ipxe` (a bootable CD).
 */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import http from "node:http";
import { fileURLToPath } from "node:url";
import { createNetwork } from "tslirp";
import { V86 } from "v86";

const NAME = "www.v86.test";
const INSIDE = "10.0.2.100";
const read = (path) => new Uint8Array(readFileSync(path)).buffer;

const pages = http.createServer((request, response) => {
  const url = new URL(request.url, `http://${NAME}`);
  console.log(`page ${url.pathname} for ${request.headers["user-agent"]}`);
  if (url.pathname === "/done") pages.emit("done", url.searchParams.get("ip"));
  response.end(`#!ipxe\nimgfetch http://${NAME}/done?ip=\${net0/ip}\n`);
});

const net = await createNetwork({
  bootfile: `http://${NAME}/boot.ipxe`,
  onFlow: ({ proto, host }) => (proto === "dns" && host === NAME ? answerWith(INSIDE) : "deny"),
});
await net.listenGuest({ host: INSIDE, port: 80 }, (socket) => pages.emit("connection", socket));
net.on("lease", ({ ip, mac }) => console.log(`lease ${ip} for ${mac}`));
net.on("dns", ({ name }) => console.log(`name ${name}`));

const machine = new V86({
  wasm_path: fileURLToPath(new URL("v86.wasm", import.meta.resolve("v86"))),
  memory_size: 64 << 20,
  vga_memory_size: 2 << 20,
  bios: { buffer: read("/usr/share/seabios/bios.bin") },
  vga_bios: { buffer: read("/usr/share/seabios/vgabios-stdvga.bin") },
  cdrom: { buffer: read("/usr/lib/ipxe/ipxe.iso") },
  net_device: { type: "ne2k" },
  disable_speaker: true,
  autostart: true,
});
const cable = net.cable((frame) => machine.bus.send("net0-receive", frame));
machine.add_listener("net0-send", (frame) => cable.send(frame));

const [ip] = await once(pages, "done", { signal: AbortSignal.timeout(120_000) });
console.log(`the PC at ${ip} has done what the page said`);
await machine.destroy();
await net.close();
process.exit();

/** Takes a DNS query over: one A record, whatever was asked (RFC 1035 section 4.1). */
function answerWith(address) {
  return (socket) =>
    socket.once("data", (query) => {
      const question = query.subarray(12, query.indexOf(0, 12) + 5);
      const head = Buffer.from([query[0], query[1], 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
      const record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, ...address.split(".").map(Number)];
      socket.end(Buffer.concat([head, question, Buffer.from(record)]));
    });
}
