/**
 * v86 in a web page, with a network: `node serve.mjs`, then open the address that it prints.
 *
 * The page is served from here with v86 (npm), a BIOS and a CD with iPXE (Debian's packages `seabios` and `ipxe`): nothing
 * comes from elsewhere. `node serve.mjs PORT FOLDER` boots the Linux that `linux-image.mjs` has made there instead. The PC in the page sends its frames over a WebSocket to the network here, gets a lease, resolves a
 * name, fetches a page and does what that says. Only this page may have a cable: its origin is the one that is listed.
 */
import { once } from "node:events";
import { createReadStream } from "node:fs";
import http from "node:http";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { createNetwork } from "tslirp";

const NAME = "www.v86.test";
const INSIDE = "10.0.2.100";
const v86 = (name) => fileURLToPath(import.meta.resolve(`v86/build/${name}`));
const FILES = {
  "/": [fileURLToPath(new URL("index.html", import.meta.url)), "text/html; charset=utf-8"],
  "/page.js": [fileURLToPath(new URL("page.js", import.meta.url)), "text/javascript"],
  "/libv86.mjs": [v86("libv86.mjs"), "text/javascript"],
  "/v86.wasm": [v86("v86.wasm"), "application/wasm"],
  "/bios.bin": ["/usr/share/seabios/bios.bin", "application/octet-stream"],
  "/vgabios.bin": ["/usr/share/seabios/vgabios-stdvga.bin", "application/octet-stream"],
  "/ipxe.iso": ["/usr/lib/ipxe/ipxe.iso", "application/octet-stream"],
};
/** What v86 boots from. */
let boot = { cdrom: { url: "ipxe.iso" } };
const [, , listenAt = "0", linux] = process.argv;
if (linux !== undefined) {
  for (const name of ["vmlinuz", "initrd.gz"]) FILES[`/${name}`] = [path.join(linux, name), "application/octet-stream"];
  // What takes long on an emulated processor and is of no use here.
  const cmdline = "console=ttyS0 console=tty0 nosmp tsc=reliable mitigations=off random.trust_cpu=on cryptomgr.notests";
  boot = { bzimage: { url: "vmlinuz" }, initrd: { url: "initrd.gz" }, cmdline };
}

const site = http.createServer((request, response) => {
  const { pathname } = new URL(request.url, "http://localhost");
  if (pathname === "/settings.json")
    return response.setHeader("content-type", "application/json").end(JSON.stringify({ relay, done, boot }));
  const file = FILES[pathname];
  if (file === undefined) return response.writeHead(404).end();
  const stream = createReadStream(file[0]);
  stream.on("error", () => response.destroy());
  stream.pipe(response.setHeader("content-type", file[1]));
});
site.listen(Number(listenAt), "127.0.0.1");
await once(site, "listening");
const origin = `http://127.0.0.1:${site.address().port}`;

/** What the PC has told that it has done. */
let done = null;
const pages = http.createServer((request, response) => {
  const url = new URL(request.url, `http://${NAME}`);
  console.log(`page ${url.pathname} for ${request.headers["user-agent"]}`);
  if (url.pathname === "/done") done = `The PC at ${url.searchParams.get("ip")} has done what the page said.`;
  if (url.pathname === "/done") return response.end("The network works.\n");
  response.end(`#!ipxe\nimgfetch http://${NAME}/done?ip=\${net0/ip} ||\necho The network works: \${net0/ip}\nsleep 86400\n`);
});

const net = await createNetwork({
  mtu: 1500,
  bootfile: `http://${NAME}/boot.ipxe`,
  onFlow: ({ proto, host }) => (proto === "dns" && host === NAME ? answerWith(INSIDE) : "deny"),
});
await net.listenGuest({ host: INSIDE, port: 80 }, (socket) => pages.emit("connection", socket));
net.on("lease", ({ ip, mac }) => console.log(`lease ${ip} for ${mac}`));
net.on("dns", ({ name }) => console.log(`name ${name}`));
const { port } = await net.listenAt({ ws: "ws://127.0.0.1:0/", origins: [origin] });
const relay = `ws://127.0.0.1:${port}/`;
console.log(`Open ${origin}/`);

process.once("SIGTERM", stop).once("SIGINT", stop);
async function stop() {
  site.close();
  site.closeAllConnections();
  await net.close();
  process.exit();
}

/** Takes a DNS query over: an address for who asks for A, else none (RFC 1035 section 4.1). */
function answerWith(address) {
  return (socket) =>
    socket.once("data", (query) => {
      const question = query.subarray(12, query.indexOf(0, 12) + 5);
      const asksForA = question.readUInt16BE(question.length - 4) === 1;
      const head = Buffer.from([query[0], query[1], 0x85, 0x80, 0, 1, 0, asksForA ? 1 : 0, 0, 0, 0, 0]);
      if (!asksForA) return socket.end(Buffer.concat([head, question]));
      const record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, ...address.split(".").map(Number)];
      socket.end(Buffer.concat([head, question, Buffer.from(record)]));
    });
}
