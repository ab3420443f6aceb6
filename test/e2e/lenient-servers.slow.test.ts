/**
 * Real servers as judges of our readers: whatever one of them serves for a forbidden name, we must have read as that name,
 * or refused. Each variant is sent to each server that is installed; what the server answers is compared with what the
 * reader says of the same bytes.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readFirstBytes } from "../../src/proto/first-bytes.ts";
import { HttpRequests } from "../../src/proto/http-requests.ts";
import { StrangeLine } from "../../src/proto/strange-line.ts";
import { TlsHellos } from "../../src/proto/tls-hellos.ts";
import { clientHello } from "../support/client-hello.ts";
import { namesInTls } from "../support/node-tls.ts";

const HERE = path.join(import.meta.dirname, "servers");
const EVIL = "evil.test";
const running: ChildProcess[] = [];
const closing: (() => void)[] = [];
const ports = new Map<string, number>();
let goTls = 0;
let openssl = 0;
let pem = "";
let folder: string;

function has(program: string): boolean {
  try {
    execFileSync("sh", ["-c", `command -v ${program}`]);
    return true;
  } catch {
    return false;
  }
}

/** The ports that a program says it listens on. */
async function start(program: string, args: string[]): Promise<number[]> {
  const child = spawn(program, args, {
    stdio: ["ignore", "pipe", "ignore"],
  });
  running.push(child);
  for await (const line of child.stdout!.setEncoding("utf8"))
    if (String(line).startsWith("listening")) return String(line).trim().split(" ").slice(1).map(Number);
  throw new Error(`${program} has ended`);
}

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

async function nginx(): Promise<number> {
  const port = await freePort();
  const conf = path.join(folder, "nginx.conf");
  fs.writeFileSync(
    conf,
    `daemon off; master_process off; pid ${folder}/nginx.pid; error_log ${folder}/nginx.log;
     events {} http { access_log off; client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/p;
     fastcgi_temp_path ${folder}/f; uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;
     server { listen 127.0.0.1:${port} default_server; return 200 "served $host\\n"; } }`,
  );
  running.push(spawn("nginx", ["-c", conf, "-e", `${folder}/nginx.log`], { stdio: "ignore" }));
  await open(port);
  return port;
}

/** Debian's apache2 with a configuration of its own: what there is not is told with the server's name as the request had it. */
async function apache(): Promise<number> {
  const port = await freePort();
  const conf = path.join(folder, "apache.conf");
  const modules = "/usr/lib/apache2/modules";
  fs.mkdirSync(`${folder}/nothing`, { mode: 0o755 });
  fs.chmodSync(folder, 0o755);
  fs.writeFileSync(
    conf,
    `ServerRoot ${folder}\nDefaultRuntimeDir ${folder}\nPidFile ${folder}/apache.pid\nMutex posixsem\nErrorLog ${folder}/apache.log\n` +
      `LoadModule mpm_event_module ${modules}/mod_mpm_event.so\nLoadModule authz_core_module ${modules}/mod_authz_core.so\n` +
      `Listen 127.0.0.1:${port}\nServerName default.test\nUseCanonicalName Off\nDocumentRoot ${folder}/nothing\nUser nobody\nGroup nogroup\n` +
      [403, 404, 405, 500].map((code) => `ErrorDocument ${code} "served %{SERVER_NAME} "\n`).join(""),
  );
  running.push(spawn("apache2", ["-X", "-f", conf], { stdio: "ignore" }));
  await open(port);
  return port;
}

/** `openssl s_server`, which goes on with a hello for the forbidden name only: any other is told with an alert. */
async function sServer(): Promise<number> {
  const port = await freePort();
  const file = path.join(folder, "server.pem");
  fs.writeFileSync(file, pem);
  const args = ["s_server", "-accept", `127.0.0.1:${port}`, "-cert", file, "-cert2", file, "-key2", file];
  running.push(
    spawn("openssl", [...args, "-servername", EVIL, "-servername_fatal"], { stdio: ["pipe", "ignore", "ignore"] }),
  );
  await open(port);
  return port;
}

/** Resolves when somebody listens. */
async function open(port: number): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    const socket = net.connect(port, "127.0.0.1");
    const stands = await new Promise((resolve) => {
      socket.once("connect", () => resolve(true));
      socket.once("error", () => resolve(false));
    });
    socket.destroy();
    if (stands) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`nobody listens on ${port}`);
}

/** What a server says to these bytes, until it closes or nothing more comes; `more` follow its first answer. */
function said(port: number, bytes: Uint8Array, more?: Uint8Array): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    const socket = net.connect(port, "127.0.0.1", () => socket.write(bytes));
    socket.setTimeout(2_000, () => socket.destroy());
    if (more !== undefined) socket.once("data", () => socket.write(more));
    socket.on("data", (answer) => {
      text += answer.toString("latin1");
    });
    socket.on("error", () => {});
    socket.on("close", () => resolve(text));
  });
}

/** Whether a guest's bytes reach no server where only good.test may be asked for. */
function refused(bytes: Uint8Array): boolean {
  const shown = readFirstBytes(bytes, 0, bytes.length);
  if (shown === "more") return true;
  if (shown === "other") return new StrangeLine(() => false).feed(bytes, 0, bytes.length) < 0;
  if (shown.flaw !== null || shown.by === "TLS") return shown.flaw !== null || shown.name !== "good.test";
  const requests = new HttpRequests(({ name, flaw }) => flaw === null && name === "good.test");
  const passed = requests.feed(bytes, 0, bytes.length);
  return passed < 0 || !Buffer.from(bytes.subarray(0, passed)).toString("latin1").includes(EVIL);
}

beforeAll(async () => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "servers-"));
  const node = http.createServer((request, response) => response.end(`served ${request.headers.host}\n`));
  node.listen(0, "127.0.0.1");
  await once(node, "listening");
  closing.push(() => node.close());
  ports.set("node", (node.address() as net.AddressInfo).port);
  if (has("python3")) ports.set("python", (await start("python3", [path.join(HERE, "served.py")]))[0]!);
  if (has("javac")) ports.set("java", (await start("java", [path.join(HERE, "Served.java")]))[0]!);
  if (has("nginx")) ports.set("nginx", await nginx());
  if (has("apache2")) ports.set("apache", await apache());
  if (has("openssl")) {
    pem = execFileSync(
      "openssl",
      "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout - -out - -subj /CN=x".split(" "),
      { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] },
    );
    openssl = await sServer();
  }
  if (has("go")) {
    const program = path.join(folder, "served");
    execFileSync("go", ["build", "-o", program, path.join(HERE, "served.go")], {
      env: { ...process.env, GO111MODULE: "off" },
    });
    const [plain = 0, secret = 0] = await start(program, []);
    ports.set("go", plain);
    goTls = secret;
  }
}, 300_000);

afterAll(() => {
  for (const close of closing) close();
  for (const child of running) child.kill("SIGKILL");
  fs.rmSync(folder, { recursive: true, force: true });
});

const FIELDS = `Host: ${EVIL}\r\n\r\n`;
const GOOD = "GET / HTTP/1.1\r\nHost: good.test\r\n\r\n";
const LEADS = ["", " ", "\t", "\r\n", "\n", "\r", "\v", "\f", "\x1c", "\x85", "\xa0", "\r\n \r\n", "\n\n\n", "  \r\n"];
const METHODS = [
  "GET",
  "get",
  "G".repeat(33),
  "M".repeat(300),
  "POST",
  "x-y.z",
  "(GET)",
  '{"a":1}',
  "PRI",
  "GET:",
].concat(["\xe9GET", "G\xc3\xa9T", "\xef\xbb\xbfGET", "\x01GET", "G\x7fT", "\0GET", "G\nT", "\xff\rG", "(GET)\n"]);
const BLANKS = [" ", "  ", "\t", "\v", "\x1d", "\x85", "\xa0", " \t"];
const VERSIONS = [
  "HTTP/1.1",
  "HTTP/1.0",
  "HTTP/0.9",
  "HTTP/2.0",
  "http/1.1",
  "HTTP/1.10",
  "HTTP/01.1",
  "HTTP/1.1 ",
  "HTTP/1.1\t",
  "",
  "HTTP/1.1 x",
];
const variants = [
  ...LEADS.map((lead) => `${lead}GET / HTTP/1.1\r\n${FIELDS}`),
  ...METHODS.map((method) => `${method} / HTTP/1.1\r\n${FIELDS}`),
  ...BLANKS.flatMap((blank) => [`GET${blank}/ HTTP/1.1\r\n${FIELDS}`, `GET /${blank}HTTP/1.1\r\n${FIELDS}`]),
  ...VERSIONS.map((version) => `GET / ${version}\r\n${FIELDS}`),
  ...["\n", "\r", "\r\r\n", "\n\r\n"].map((end) => `GET / HTTP/1.1${end}Host: ${EVIL}${end}${end}`),
  ...[
    `Host : ${EVIL}`,
    `Host:${EVIL}`,
    ` Host: ${EVIL}`,
    `Host:\t${EVIL}\t`,
    `HOST: ${EVIL}`,
    `Host: good.test\r\nHost: ${EVIL}`,
  ].map((field) => `GET / HTTP/1.1\r\n${field}\r\n\r\n`),
  ...["(GET) / x", "\nGET\n / ", "G\tT / 1", "{} http://x/ \xe9", '"x" / HTTP', "a\n\nb /a?b "].map(
    (line) => `${line}\r\n${FIELDS}`,
  ),
  `GET http://${EVIL}/ HTTP/1.1\r\nHost: good.test\r\n\r\n`,
  `GET / HTTP/1.1\r\nX: y\rHost: ${EVIL}\r\n\r\n`,
  `GET / HTTP/1.1\nHost: good.test\nX: y\r\n${FIELDS}`,
  `GET /\r\n${FIELDS}`,
  // Targets in which servers may find another host than we do.
  ...[
    `https://${EVIL}/`,
    `HTTP://${EVIL}/`,
    `http:${EVIL}/`,
    `http:///${EVIL}/`,
    `//${EVIL}/`,
    `\\\\${EVIL}/`,
    `x://${EVIL}/`,
    `http://good.test@${EVIL}/`,
    `http://${EVIL}:80\\@good.test/`,
    `http://${EVIL}#@good.test/`,
    `http://${EVIL}?@good.test/`,
    `http://${EVIL}`,
    `http://${EVIL}:/`,
    `${EVIL}:80`,
  ].flatMap((target) => [
    `GET ${target} HTTP/1.1\r\nHost: good.test\r\n\r\n`,
    `OPTIONS ${target} HTTP/1.0\r\nHost: good.test\r\n\r\n`,
  ]),
  ...[
    `Host: good.test@${EVIL}`,
    `Host: ${EVIL}@good.test`,
    `Host: good.test,${EVIL}`,
    `Host: good.test ${EVIL}`,
    `Host: good.test\r\n ${EVIL}`,
    `Host:\r\n ${EVIL}`,
    `X: y\r\n\tHost: ${EVIL}\r\nHost: good.test`,
    `Host: good.test\0\r\nHost: ${EVIL}`,
    `\0Host: ${EVIL}\r\nHost: good.test`,
    `Host: ${EVIL}.`,
    `Host: ${EVIL}:443`,
    `Host: "${EVIL}"`,
    `Host: evil%2etest`,
    `Host_: x\r\nHOST: ${EVIL}`,
    `H\u00f6st: x\r\nHost: ${EVIL}`,
    `: x\r\nHost: ${EVIL}`,
    `x\r\nHost: ${EVIL}`,
    `Host\r\n: ${EVIL}`,
  ].map((field) => `GET / HTTP/1.1\r\n${field}\r\n\r\n`),
];
const EVIL_REQUEST = `GET / HTTP/1.1\r\n${FIELDS}`;
const post = (fields: string, body: string): string => `POST / HTTP/1.1\r\nHost: good.test\r\n${fields}\r\n\r\n${body}`;
const smuggled = [
  GOOD + EVIL_REQUEST,
  `${GOOD}\r\n\r\n${EVIL_REQUEST}`,
  `${GOOD} ${EVIL_REQUEST}`,
  `GET / HTTP/1.1\r\nHost: good.test\r\nContent-Length: ${EVIL_REQUEST.length}\r\n\r\n${EVIL_REQUEST}`,
  `HEAD / HTTP/1.1\r\nHost: good.test\r\nContent-Length: ${EVIL_REQUEST.length}\r\n\r\n${EVIL_REQUEST}`,
  post("Content-Length: 0\r\nContent-Length: 60", EVIL_REQUEST),
  post("Content-Length: 60\r\nTransfer-Encoding: chunked", `0\r\n\r\n${EVIL_REQUEST}`),
  post("Transfer-Encoding: chunked\r\nContent-Length: 5", `0\r\n\r\n${EVIL_REQUEST}`),
  post("Transfer-Encoding: xchunked\r\nContent-Length: 5", `0\r\n\r\n${EVIL_REQUEST}`),
  post("Transfer-Encoding:\vchunked", `0\r\n\r\n${EVIL_REQUEST}`),
  post("Transfer-Encoding: chunked", `0\r\n\r\n${EVIL_REQUEST}`),
  post("Transfer-Encoding: chunked", `5;x=y\r\nhello\r\n0\r\n\r\n${EVIL_REQUEST}`),
  post("Transfer-Encoding: chunked", `0\nX: y\n\n${EVIL_REQUEST}`),
  ...["100000000", "100000003", "200000000", "1000000000000", "80000000"].map((size) =>
    post("Transfer-Encoding: chunked", `${size}\r\n\r\n${EVIL_REQUEST}`),
  ),
  post("Content-Length: +0", EVIL_REQUEST),
  post("Content-Length : 60", EVIL_REQUEST),
  post("Content-Length: 0x0", EVIL_REQUEST),
  post("Expect: 100-continue\r\nContent-Length: 3", `abc${EVIL_REQUEST}`),
  `GET / HTTP/1.1\r\nHost: good.test\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n${EVIL_REQUEST}`,
  `GET / HTTP/1.1\r\nHost: good.test\r\nUpgrade: x\r\n\r\n\xe9${GOOD}${EVIL_REQUEST}`,
  `GET / HTTP/1.1\r\nHost: good.test\r\nUpgrade: x\r\n\r\n\xe9${EVIL_REQUEST}`,
  `CONNECT good.test:80 HTTP/1.1\r\nHost: good.test\r\n\r\n${EVIL_REQUEST}`,
];

describe.each([
  ["requests of another form", variants],
  ["requests behind others", smuggled],
])("%s", (_, texts) => {
  test.each(["node", "python", "java", "nginx", "apache", "go"])("%s serves none that we let pass", async (name) => {
    const port = ports.get(name);
    if (port === undefined) return;
    const answers = await Promise.all(texts.map((text) => said(port, Buffer.from(text, "latin1"))));
    const served = texts.filter((_text, i) => answers[i]!.includes(`served ${EVIL}`));
    expect(served.length).toBeGreaterThan(0);
    expect(served.filter((text) => !refused(Buffer.from(text, "latin1")))).toEqual([]);
  });
});

const SHARE = [0, 29, 0, 32, ...Array(32).fill(9)];
/** What TLS 1.3 has in a hello, with this list of keys: an empty one asks for a HelloRetryRequest (RFC 8446 section 4.2.8). */
function modernHello(name: string, shares: readonly number[], recordSize = 16_384): Uint8Array {
  const extensions = [
    { type: 43, data: Uint8Array.of(2, 3, 4) },
    { type: 10, data: Uint8Array.of(0, 2, 0, 29) },
    { type: 13, data: Uint8Array.of(0, 4, 4, 3, 8, 4) },
    { type: 51, data: Uint8Array.of(0, shares.length, ...shares) },
  ];
  return clientHello({ names: [name], extensions, recordSize });
}

function helloVariants(hello: (recordSize?: number) => Uint8Array): Uint8Array[] {
  const plain = hello();
  const alert = [21, 3, 1, 0, 2, 1, 0];
  return [
    plain,
    ...[0, 1, 2, 3, 4, 9, 15, 16, 127, 254, 255].map((major) => Uint8Array.of(22, major, ...plain.subarray(2))),
    Uint8Array.of(...alert, ...plain),
    Uint8Array.of(...alert, ...alert, ...plain),
    Uint8Array.of(21, 0, 0, ...alert.slice(3), ...plain),
    Uint8Array.of(20, 3, 1, 0, 1, 1, ...plain),
    Uint8Array.of(22, 3, 1, 0, 0, ...plain),
    Uint8Array.of(20, 3, 1, 0, 0, ...plain),
    Uint8Array.of(23, 3, 3, 0, 0, ...plain),
    Uint8Array.of(24, 3, 3, 0, 3, 1, 0, 0, ...plain),
    hello(7),
    Uint8Array.of(...hello(60).subarray(0, 65), ...alert, ...hello(60).subarray(65)),
    Uint8Array.of(...plain, 23, 3, 3, 0, 1, 0),
  ];
}

test("openssl s_server goes on with no hello that we let pass", async () => {
  if (openssl === 0) return;
  // It serves one after the other.
  const inputs = helloVariants((recordSize) => modernHello(EVIL, SHARE, recordSize));
  const served: Uint8Array[] = [];
  for (const bytes of inputs) if ((await said(openssl, bytes)).startsWith("\x16")) served.push(bytes);
  expect(served.length).toBeGreaterThan(2);
  expect(served.filter((bytes) => !refused(bytes)).map((bytes) => Buffer.from(bytes).toString("hex"))).toEqual([]);
  expect((await said(openssl, modernHello("good.test", SHARE))).charCodeAt(0)).toBe(21);
}, 120_000);

test("a second hello for another name, which OpenSSL takes and Go does not, is refused", async () => {
  const first = modernHello("good.test", []);
  const ccs = [20, 3, 3, 0, 1, 1];
  const second = Uint8Array.of(...ccs, ...modernHello(EVIL, SHARE));
  if (openssl !== 0) {
    const { answers } = await namesInTls([first, second], pem);
    // A HelloRetryRequest, and to the second hello a ServerHello.
    expect(answers.map((answer) => [answer[0], answer[5]])).toEqual([
      [22, 2],
      [22, 2],
    ]);
  }
  if (goTls !== 0) {
    expect(await said(goTls, first, Uint8Array.of(...ccs, ...modernHello("good.test", SHARE)))).toContain(
      "served good.test",
    );
    expect(await said(goTls, first, second)).not.toContain(`served ${EVIL}`);
  }
  const hellos = new TlsHellos(({ name, flaw }) => flaw === null && name === "good.test");
  expect(hellos.feed(first, 0, first.length)).toBe(first.length);
  expect(hellos.feed(second, 0, second.length)).toBe(-1);
});

test("Go's crypto/tls serves no hello that we let pass", async () => {
  if (goTls === 0) return;
  const inputs = [
    ...helloVariants((recordSize = 16_384) => clientHello({ names: [EVIL], recordSize })),
    clientHello({ names: ["good.test", EVIL] }),
  ];
  const answers = await Promise.all(inputs.map((bytes) => said(goTls, bytes)));
  const served = inputs.filter((_bytes, i) => answers[i]!.includes(`served ${EVIL}`));
  expect(served.length).toBeGreaterThan(2);
  expect(served.filter((bytes) => !refused(bytes)).map((bytes) => Buffer.from(bytes).toString("hex"))).toEqual([]);
});
