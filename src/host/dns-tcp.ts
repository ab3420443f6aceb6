/**
 * One query over TCP (RFC 7766) on a connection of its own. Some servers take several queries on one connection, and
 * all take one. TCP is for answers that UDP cannot carry, so speed matters less than that it works everywhere.
 */
import { randomInt } from "node:crypto";
import { connect } from "node:net";
import type { Endpoint } from "../core/address.ts";
import { get16, put16 } from "../wire/bytes.ts";
import { DNS_HEADER, dnsLowerName, dnsSetId } from "../wire/dns.ts";
import { matchAnswer } from "./dns-match.ts";
import type { Attempt, OnResult } from "./dns-udp.ts";

const LENGTH_PREFIX = 2;

/** Asks `to`. `onResult(null)`: refused, unreachable, closed early, or not an answer to the query. */
export function askTcp(to: Endpoint, query: Uint8Array, onResult: OnResult): Attempt {
  const id = randomInt(0x10000);
  const framed = new Uint8Array(LENGTH_PREFIX + query.length);
  put16(framed, 0, query.length);
  framed.set(query, LENGTH_PREFIX);
  dnsSetId(framed, LENGTH_PREFIX, id);
  dnsLowerName(framed, LENGTH_PREFIX);

  /** The buffer being filled: the length first, then the message. */
  let into = new Uint8Array(LENGTH_PREFIX);
  let filled = 0;
  let announced = false;
  let done = false;
  const socket = connect({ host: to.host, port: to.port, noDelay: true });
  const finish = (answer: Uint8Array | null): void => {
    if (done) return;
    done = true;
    socket.destroy();
    onResult(answer);
  };
  socket.on("connect", () => socket.write(framed));
  socket.on("data", (bytes) => {
    for (let at = 0; at < bytes.length && !done; ) {
      const n = Math.min(bytes.length - at, into.length - filled);
      into.set(bytes.subarray(at, at + n), filled);
      at += n;
      filled += n;
      if (filled < into.length) continue;
      if (announced) return finish(matchAnswer(query, id, into));
      announced = true;
      const length = get16(into, 0);
      if (length < DNS_HEADER) return finish(null);
      into = new Uint8Array(length);
      filled = 0;
    }
  });
  socket.on("end", () => finish(null));
  socket.on("error", () => finish(null));
  socket.on("close", () => finish(null));
  return {
    cancel: () => {
      done = true;
      socket.destroy();
    },
  };
}
