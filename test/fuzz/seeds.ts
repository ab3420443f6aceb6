/** Where fuzzing begins: what real clients have sent (fixtures), and a few sessions written here. */

import { readdirSync, readFileSync } from "node:fs";
import { clientHello } from "../support/client-hello.ts";
import { query } from "../support/dns.ts";
import { encodeFrame, type FrameSpec } from "../support/frames.ts";
import { hexFixture } from "../support/hex-fixture.ts";
import { DATAGRAM, DNS_ANSWERS, FAR_DOES, FAR_SENDS, IN_ORDER, record, SEALED, TIME } from "./world.ts";

const FIXTURES = new URL("../../fixtures/", import.meta.url);
const PCAP_HEADER = 24;
const PACKET_HEADER = 16;
const GUEST_OUI = [0x52, 0x54, 0];
const AGES = Uint8Array.of(0x40, 0);

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

/** The guest's frames of a capture (libpcap's format, as tcpdump and QEMU write it on a little-endian host). */
function guestFrames(name: string): Uint8Array[] {
  const bytes = readFileSync(new URL(`captures/${name}`, FIXTURES));
  const frames: Uint8Array[] = [];
  for (let at = PCAP_HEADER; at + PACKET_HEADER <= bytes.length; ) {
    const length = bytes.readUInt32LE(at + 8);
    const frame = new Uint8Array(bytes.subarray(at + PACKET_HEADER, at + PACKET_HEADER + length));
    if (GUEST_OUI.every((byte, i) => frame[6 + i] === byte)) frames.push(frame);
    at += PACKET_HEADER + length;
  }
  return frames;
}

function frame(spec: FrameSpec): Uint8Array {
  const v6 = (spec.ip6 ?? spec.ndp ?? spec.icmp6) !== undefined;
  return encodeFrame({ ...spec, eth: { dst: v6 ? "52:56:00:00:00:02" : "52:55:0a:00:02:02" } });
}

function segment(flags: string, v6: boolean, payload = ""): Uint8Array {
  const options =
    flags === "SYN" ? { mss: 1_400, sackPermitted: true, windowScale: 7, timestamps: [1, 0] as const } : {};
  return record(
    IN_ORDER,
    frame({
      ...(v6 ? { ip6: {} } : { ip: {} }),
      tcp: { flags, seq: 1, srcPort: 5_000, dstPort: 80, options },
      payload,
    }),
  );
}

function connection(v6: boolean): Uint8Array[] {
  const far = new TextEncoder().encode("y".repeat(4_000));
  const ack = segment("ACK", v6);
  const start = [segment("SYN", v6), ack];
  return [
    concat(
      ...start,
      segment("PSH ACK", v6, "hello"),
      record(FAR_SENDS, far),
      ack,
      ack,
      segment("FIN ACK", v6),
      record(FAR_DOES, Uint8Array.of(0)),
      ack,
      record(TIME, AGES),
    ),
    concat(...start, record(FAR_SENDS, far), record(TIME, AGES), ack, segment("RST ACK", v6)),
    concat(
      ...start,
      record(FAR_DOES, Uint8Array.of(2)),
      segment("ACK", v6, "z".repeat(1_400)),
      record(FAR_DOES, Uint8Array.of(1)),
    ),
  ];
}

function datagram(port: number, payload: Uint8Array | string): Uint8Array {
  return record(
    DATAGRAM,
    concat(Uint8Array.of(port), typeof payload === "string" ? Buffer.from(payload, "latin1") : payload),
  );
}

function hexFolder(folder: string): Uint8Array[] {
  return readdirSync(new URL(`${folder}/`, FIXTURES))
    .filter((name) => name.endsWith(".hex"))
    .map((name) => hexFixture(`${folder}/${name.slice(0, -4)}`));
}

/** Of whole sessions (`World`). */
export function sessionSeeds(): Uint8Array[] {
  const captures = readdirSync(new URL("captures/", FIXTURES)).filter((name) => name.endsWith(".pcap"));
  const sessions = captures.map((name) =>
    concat(
      ...guestFrames(name)
        .slice(0, 12)
        .map((f) => record(IN_ORDER, f)),
    ),
  );
  const pieces = [0, 1_400, 2_800].map((offset) =>
    frame({ ip: { proto: 17, df: false, id: 5, offset, mf: offset < 2_800 }, payload: "d".repeat(1_400) }),
  );
  const pieces6 = [0, 1_400].map((offset) =>
    frame({ ip6: { proto: 17, fragment: { id: 5, offset, mf: offset < 1_400 } }, payload: "d".repeat(1_400) }),
  );
  const rs = frame({
    ip6: { src: "fe80::5054:ff:fe12:3456", dst: "ff02::2" },
    ndp: { kind: "rs", options: { sourceMac: "52:54:00:12:34:56" } },
  });
  const ns = frame({
    ip6: { dst: "ff02::1:ff00:2" },
    ndp: { kind: "ns", target: "fec0::2", options: { sourceMac: "52:54:00:12:34:56" } },
  });
  return [
    ...sessions,
    ...connection(false),
    ...connection(true),
    ...hexFolder("dhcp").map((bytes) => datagram(0, bytes)),
    ...hexFolder("ipv6").map((bytes) => concat(record(SEALED, bytes), datagram(8 + 3, bytes))),
    concat(datagram(1, query("a.test", 1, 7, 4_096)), record(DNS_ANSWERS, hexFixture("dns/answer-cname"))),
    concat(datagram(9, hexFixture("dns/query-0x20")), record(DNS_ANSWERS, hexFixture("dns/pointer-loop"))),
    concat(
      datagram(2, "\0\x01f\0octet\0blksize\x00512\0windowsize\x004\0tsize\x000\0"),
      datagram(2, "\0\x04\0\0"),
      datagram(2, "\0\x04\0\x04"),
      record(TIME, AGES),
    ),
    concat(datagram(2, "\0\x01../f\0octet\0"), datagram(2, "\0\x05\0\0bye\0")),
    concat(...pieces.map((p) => record(SEALED, p))),
    concat(...pieces6.map((p) => record(SEALED, p))),
    concat(
      record(SEALED, rs),
      record(SEALED, ns),
      record(SEALED, frame({ ip6: { dst: "fec0::2" }, icmp6: { type: 128 }, payload: "ping" })),
    ),
    concat(
      record(SEALED, frame({ ip: {}, icmp: { type: 8 }, payload: "ping" })),
      record(SEALED, frame({ ip: { ttl: 1 }, udp: {}, payload: "x".repeat(900) })),
    ),
    concat(
      record(SEALED, frame({ ip: {}, udp: {}, payload: "hello" })),
      record(SEALED, frame({ ip6: {}, udp: {}, payload: "hello" })),
    ),
    record(SEALED, frame({ ip6: { hopLimit: 1 }, udp: {}, payload: "x".repeat(1_300) })),
    record(
      SEALED,
      frame({
        ip6: {
          extensions: [
            { header: 0, body: [5, 2, 0, 0] },
            { header: 60, body: [200, 0] },
          ],
        },
        payload: "x",
      }),
    ),
  ];
}

/** Of the frame decoder: QEMU's stream. */
export function streamSeeds(): Uint8Array[] {
  const captured = guestFrames("curl-by-name.pcap").slice(0, 6);
  const framed = captured.flatMap((f) => [Uint8Array.of(0, 0, f.length >> 8, f.length & 255), f]);
  return [
    concat(Uint8Array.of(40), ...framed),
    Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 1, 9),
    Uint8Array.of(9, 255, 255, 255, 255),
  ];
}

/** Of the parsers: the first byte chooses one (`targets.ts`). */
export function parserSeeds(): Uint8Array[] {
  const whole = [
    ...hexFolder("dns"),
    ...hexFolder("dhcp"),
    ...hexFolder("ipv6"),
    ...guestFrames("curl-by-name.pcap").slice(0, 8),
  ];
  const text = Buffer.from("tcp and (port 80 or not src 10.0.2.15) and len > 60");
  return [...whole, text].flatMap((bytes) =>
    [0, 1, 2, 3, 4, 5, 6, 7].map((which) => concat(Uint8Array.of(which), bytes)),
  );
}

export function requestSeeds(): Uint8Array[] {
  const texts = [
    "GET / HTTP/1.1\r\nHost: a.test\r\n\r\nGET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.0\r\nHost: b.test\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    "CONNECT a.test:443 HTTP/1.1\r\n\r\n\x81\x85abcdefghi",
    "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nSSH-2.0-x\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
  ];
  const all = [...texts.map((text) => Buffer.from(text, "latin1")), clientHello({ names: ["a.test"], recordSize: 60 })];
  return all.flatMap((bytes) => [0, 16, 255].map((step) => concat(Uint8Array.of(step), bytes)));
}
