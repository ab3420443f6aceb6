/** A small authoritative DNS server over UDP and TCP (RFC 1035), written apart from src/wire/dns so that each checks the other. */
import { createSocket } from "node:dgram";
import { createServer, type Socket } from "node:net";

/** Name (lower case, no final dot) → records. What is not named here is NXDOMAIN. */
export type DnsZone = Readonly<Record<string, DnsRecords>>;
export interface DnsRecords {
  readonly A?: readonly string[];
  /** Full form: eight groups. */
  readonly AAAA?: readonly string[];
  readonly TXT?: readonly string[];
}

export interface DnsServer {
  close(): Promise<void>;
}

const TYPES: Readonly<Record<number, keyof DnsRecords>> = { 1: "A", 16: "TXT", 28: "AAAA" };
const RCODE_OK = 0;
const RCODE_NXDOMAIN = 3;

export async function startDnsServer(host: string, zone: DnsZone, port = 53): Promise<DnsServer> {
  const udp = createSocket("udp4");
  udp.on("message", (query, from) => {
    const answer = answerQuery(query, zone, udpLimit(query));
    if (answer) udp.send(answer, from.port, from.address);
  });
  const open = new Set<Socket>();
  const tcp = createServer((socket) => {
    open.add(socket);
    socket.on("close", () => open.delete(socket));
    socket.on("error", () => socket.destroy());
    let pending = Buffer.alloc(0);
    socket.on("data", (piece) => {
      pending = Buffer.concat([pending, piece]);
      while (pending.length >= 2 && pending.length >= 2 + pending.readUInt16BE(0)) {
        const length = pending.readUInt16BE(0);
        const answer = answerQuery(pending.subarray(2, 2 + length), zone, 65_535);
        pending = pending.subarray(2 + length);
        if (answer) socket.write(Buffer.concat([u16(answer.length), answer]));
      }
    });
  });
  await new Promise<void>((resolve, reject) => udp.once("error", reject).bind(port, host, resolve));
  await new Promise<void>((resolve, reject) => tcp.once("error", reject).listen(port, host, resolve));
  return {
    async close(): Promise<void> {
      for (const socket of open) socket.destroy();
      await new Promise<void>((resolve) => tcp.close(() => resolve()));
      await new Promise<void>((resolve) => udp.close(resolve));
    },
  };
}

/** The answer to one query, cut to header and question with TC set where it exceeds `limit`; null for what is no query. */
function answerQuery(query: Buffer, zone: DnsZone, limit: number): Buffer | null {
  if (query.length < 17 || (query[2]! & 0x80) !== 0) return null;
  const labels: string[] = [];
  let at = 12;
  while (query[at]) {
    const length = query[at]!;
    if (length > 63 || at + 1 + length >= query.length) return null;
    labels.push(query.toString("latin1", at + 1, at + 1 + length));
    at += 1 + length;
  }
  const end = at + 5;
  if (end > query.length) return null;
  const type = TYPES[query.readUInt16BE(at + 1)];
  const records = zone[labels.join(".").toLowerCase()];
  const data = records && type ? (records[type] ?? []).map((text) => encodeRecord(type, text)) : [];
  const rcode = records ? RCODE_OK : RCODE_NXDOMAIN;
  const answers = data.map((rdata) =>
    Buffer.concat([u16(0xc00c), query.subarray(at + 1, end), Buffer.from([0, 0, 0, 60]), u16(rdata.length), rdata]),
  );
  // QR, AA, RD as asked, RA.
  const build = (truncated: boolean, body: readonly Buffer[]): Buffer =>
    Buffer.concat([
      query.subarray(0, 2),
      Buffer.from([0x84 | (truncated ? 2 : 0) | (query[2]! & 1), 0x80 | rcode]),
      u16(1),
      u16(body.length),
      u16(0),
      u16(0),
      query.subarray(12, end),
      ...body,
    ]);
  const whole = build(false, answers);
  return whole.length <= limit ? whole : build(true, []);
}

/** What the asker can take over UDP: 512, or the size in its OPT record (RFC 6891 section 6.2.3), taken as the message's last 11 bytes or more. */
function udpLimit(query: Buffer): number {
  if (query.length < 12 || query.readUInt16BE(10) === 0) return 512;
  let at = 12;
  while (at < query.length && query[at]) at += 1 + query[at]!;
  const opt = at + 5;
  if (opt + 5 > query.length || query[opt] !== 0 || query.readUInt16BE(opt + 1) !== 41) return 512;
  return Math.max(512, query.readUInt16BE(opt + 3));
}

function encodeRecord(type: keyof DnsRecords, text: string): Buffer {
  if (type === "A") return Buffer.from(text.split(".").map(Number));
  if (type === "AAAA") return Buffer.concat(text.split(":").map((group) => u16(Number.parseInt(group, 16))));
  const strings: Buffer[] = [];
  for (let at = 0; at < text.length; at += 255) {
    const piece = Buffer.from(text.slice(at, at + 255), "latin1");
    strings.push(Buffer.from([piece.length]), piece);
  }
  return Buffer.concat(strings);
}

function u16(value: number): Buffer {
  return Buffer.from([(value >> 8) & 0xff, value & 0xff]);
}
