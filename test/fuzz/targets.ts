/** What is fuzzed: each takes any bytes whatever, and throws when an invariant does not hold. */
import { createRequire } from "node:module";
import { FrameDecoder } from "../../src/attach/decoder.ts";
import { ConfigError } from "../../src/control/errors.ts";
import { parseFrameFilter } from "../../src/control/frame-filter.ts";
import { type Link, MAX_FRAME } from "../../src/core/link.ts";
import { NO_TRACE } from "../../src/core/trace.ts";
import { matchAnswer } from "../../src/host/dns-match.ts";
import { readFirstBytes } from "../../src/proto/first-bytes.ts";
import { HttpRequests } from "../../src/proto/http-requests.ts";
import { dhcpCheck, dhcpOption } from "../../src/wire/dhcp.ts";
import { dhcp6Ia, dhcp6IaAddr, dhcp6Options } from "../../src/wire/dhcp6.ts";
import { dnsAnswers, dnsCheck, dnsQname, dnsReadName, dnsReply, dnsTruncate, dnsUdpSize } from "../../src/wire/dns.ts";
import { frameFacts, readFacts } from "../../src/wire/frame-facts.ts";
import { ndpCheck, ndpMac } from "../../src/wire/ndp.ts";
import { printFrame } from "../../src/wire/print.ts";
import { TCP_HEADER, tcpHeaderLength } from "../../src/wire/tcp.ts";
import { tcpOptions, tcpReadOptions } from "../../src/wire/tcp-options.ts";
import { tftpErrorText, tftpRequest } from "../../src/wire/tftp.ts";
import { lanGuard, lanGuardSeeds } from "./lan-guard.ts";
import { parserSeeds, requestSeeds, sessionSeeds, streamSeeds } from "./seeds.ts";
import { POOL, World } from "./world.ts";

interface Llhttp {
  initialize(type: number, resource: object): void;
  execute(bytes: Buffer): unknown;
  [callback: number]: () => number;
}

/** Node's parser of requests, which has no public name. */
const NodeParser = (createRequire(import.meta.url)("_http_common") as { HTTPParser: unknown }).HTTPParser as {
  new (): Llhttp;
  readonly REQUEST: number;
  readonly kOnHeadersComplete: number;
};

export interface Target {
  readonly name: string;
  readonly seeds: () => Uint8Array[];
  readonly run: (input: Uint8Array) => void;
}

export const TARGETS: readonly Target[] = [
  { name: "session", seeds: sessionSeeds, run: (input) => new World().run(input) },
  { name: "stream", seeds: streamSeeds, run: stream },
  { name: "parsers", seeds: parserSeeds, run: parsers },
  { name: "requests", seeds: requestSeeds, run: requests },
  { name: "lan-guard", seeds: lanGuardSeeds, run: lanGuard },
];

/**
 * A guest's bytes to a server, in pieces as the first one says. What Node's own parser takes for a request is no other protocol
 * to us; and cut into pieces or whole, the same bytes pass, which have no request in them that was not looked at.
 */
function requests(input: Uint8Array): void {
  const bytes = input.subarray(1);
  const shown = readFirstBytes(bytes, 0, bytes.length);
  if (shown === "other" && isRequestToNode(bytes)) throw new Error("Node's parser takes it for a request");
  const whole = new HttpRequests(({ flaw }) => flaw === null);
  const atOnce = whole.feed(bytes, 0, bytes.length);
  const pieces = new HttpRequests(({ flaw }) => flaw === null);
  let passed = 0;
  for (let end = 0, step = (input[0] ?? 0) + 1; end < bytes.length && passed >= 0; ) {
    end = Math.min(bytes.length, end + step);
    const more = pieces.feed(bytes, passed, end - passed);
    passed = more < 0 ? -1 : passed + more;
  }
  if (atOnce !== passed) throw new Error(`${atOnce} bytes pass at once, ${passed} in pieces`);
}

/** Whether llhttp has read a request's head, or all of it, before it found anything wrong. */
function isRequestToNode(bytes: Uint8Array): boolean {
  const parser = new NodeParser();
  let found = false;
  parser.initialize(NodeParser.REQUEST, {});
  parser[NodeParser.kOnHeadersComplete] = () => {
    found = true;
    return 0;
  };
  parser.execute(Buffer.from(bytes));
  return found;
}

/** QEMU's stream, in reads of as many bytes as the first one says: what comes out is what the prefixes announce. */
function stream(input: Uint8Array): void {
  const frames: number[] = [];
  const receiver = {
    attached() {},
    receive(_link: Link, slab: { bytes: Uint8Array }, at: number, len: number) {
      if (len > MAX_FRAME || at + len > slab.bytes.length) throw new Error("a frame beyond its slab");
      frames.push(len);
    },
    batchEnd() {},
    writable() {},
    detached() {},
  };
  const decoder = new FrameDecoder(POOL, receiver, {} as Link, NO_TRACE);
  const bytes = input.subarray(1);
  const step = (input[0] ?? 0) + 1;
  let sane = true;
  for (let at = 0; sane && at < bytes.length; at += step) {
    const part = bytes.subarray(at, at + step);
    decoder.readArea.set(part);
    sane = decoder.received(part.length);
  }
  decoder.close();
  if (POOL.inUse !== 0) throw new Error("a slab is not given back");
  const expected: number[] = [];
  let announcedTooMuch = false;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; at + 4 <= bytes.length; ) {
    const length = view.getUint32(at);
    announcedTooMuch = length > MAX_FRAME;
    if (announcedTooMuch || at + 4 + length > bytes.length) break;
    if (length > 0) expected.push(length);
    at += 4 + length;
  }
  if (sane === announcedTooMuch || frames.join() !== expected.join()) throw new Error("other frames than announced");
}

type Parser = (buf: Uint8Array, at: number, len: number) => unknown;

const PARSERS: readonly Parser[] = [
  (buf, at, len) => {
    if (!dnsCheck(buf, at, len)) return [dnsReadName(buf, at, at, at + len)];
    const answers: string[] = [];
    dnsAnswers(buf, at, len, (...record) => answers.push(JSON.stringify(record.filter((x) => typeof x !== "object"))));
    const query = buf.slice(at, at + len);
    const replies = [dnsReply(buf, at, len, 2), dnsTruncate(buf, at, len)].map((reply) => [...reply]);
    return [
      dnsQname(buf, at),
      dnsUdpSize(buf, at, len),
      answers,
      replies,
      matchAnswer(query, 7, query.slice()) === null,
    ];
  },
  (buf, at, len) => {
    if (!dhcpCheck(buf, at, len)) return null;
    return Array.from({ length: 256 }, (_, code) => [...(dhcpOption(buf, at, len, code) ?? [])]);
  },
  (buf, at, len) =>
    dhcp6Options(buf, at, len)?.map(({ code, data }) => [code, dhcp6Ia(data)?.iaid, [...(dhcp6IaAddr(data) ?? [])]]),
  (buf, at, len) => (len < 2 ? null : [tftpRequest(buf, at, len), tftpErrorText(buf, at, len)]),
  (buf, at, len) => {
    const facts = frameFacts();
    readFacts(facts, buf, at, len);
    return [printFrame(buf, at, len), facts.proto, facts.ethType];
  },
  (buf, at, len) => {
    if (len >= 8 && ndpCheck(buf, at, len)) return [1, 2].map((type) => ndpMac(buf, at, len, type) >= 0);
    if (len < TCP_HEADER || tcpHeaderLength(buf, at) > len || tcpHeaderLength(buf, at) < TCP_HEADER) return null;
    const options = tcpOptions();
    tcpReadOptions(buf, at, options);
    return { ...options, sack: [...options.sack].slice(0, 2 * options.sackCount) };
  },
  (buf, at, len) => readFirstBytes(buf, at, len),
  (buf, at, len) => {
    const text = Buffer.from(buf.subarray(at, at + len)).toString("latin1");
    try {
      return parseFrameFilter("filter", text)(buf, at, len);
    } catch (error) {
      if (error instanceof ConfigError) return error.message;
      throw error;
    }
  },
];

const BEFORE = 64;
const BEHIND = 512;

/** A parser sees its message and nothing around it: with other bytes there it says the same. */
function parsers(input: Uint8Array): void {
  const parser = PARSERS[(input[0] ?? 0) % PARSERS.length]!;
  const message = input.subarray(1);
  const said = [0x00, 0xff, 0x41].map((around) => {
    const buf = new Uint8Array(BEFORE + message.length + BEHIND).fill(around);
    buf.set(message, BEFORE);
    return JSON.stringify(parser(buf, BEFORE, message.length)) ?? "";
  });
  if (said[0] !== said[1] || said[0] !== said[2]) throw new Error("what is around a message is taken for a part of it");
}
