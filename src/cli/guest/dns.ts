/** A DNS stub resolver (RFC 1035): one A query over UDP, repeated if nobody answers. */
import { get16, get32, put16 } from "../../wire/bytes.ts";
import type { Guest } from "./guest.ts";

const RETRY_MS = 2_000;
const TRIES = 3;
const A = 1;
const IN = 1;
const RCODES = ["", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];

/**
 * Resolves with the name's first address, as a signed number. Rejects with the resolver's code ("NXDOMAIN"), or after
 * the last try.
 */
export function resolveName(guest: Guest, name: string): Promise<number> {
  const socket = guest.udp();
  const query = question(name, guest.random() & 0xffff);
  let cancel = (): void => {};
  return new Promise<number>((resolve, reject) => {
    const send = (tries: number): void => {
      if (tries === TRIES) return reject(new Error(`no answer for ${name}`));
      cancel = guest.timers.after(RETRY_MS, () => send(tries + 1));
      socket.send(query, guest.dns, 53);
    };
    socket.onUnreachable = () => reject(new Error("the DNS server refuses"));
    socket.onDatagram = (answer, ip, port) => {
      if (ip !== guest.dns || port !== 53 || !answers(answer, query)) return;
      const rcode = answer[3]! & 15;
      const found = rcode === 0 ? firstAddress(answer, query.length) : null;
      if (found !== null) resolve(found);
      else reject(new Error(`${name}: ${RCODES[rcode] || (rcode === 0 ? "no address" : `rcode ${rcode}`)}`));
    };
    send(0);
  }).finally(() => {
    cancel();
    socket.close();
  });
}

function question(name: string, id: number): Uint8Array {
  const bytes = [id >> 8, id & 255, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
  for (const label of name.split(".")) bytes.push(label.length, ...Array.from(label, (c) => c.charCodeAt(0)));
  const query = new Uint8Array(bytes.length + 5);
  query.set(bytes);
  put16(query, bytes.length + 1, A);
  put16(query, bytes.length + 3, IN);
  return query;
}

/** Whether an answer has the query's ID and question (RFC 5452 section 9.1). */
function answers(answer: Uint8Array, query: Uint8Array): boolean {
  if (answer.length < query.length || get16(answer, 0) !== get16(query, 0) || !(answer[2]! & 0x80)) return false;
  if (get16(answer, 4) !== 1) return false;
  for (let i = 12; i < query.length; i++) if (answer[i] !== query[i]) return false;
  return true;
}

/** The first A record. The forwarder has followed aliases, whose records come before it. */
function firstAddress(buf: Uint8Array, at: number): number | null {
  for (let left = get16(buf, 6); left > 0; left--) {
    while (at < buf.length && buf[at] !== 0 && buf[at]! < 0xc0) at += 1 + buf[at]!;
    at += (buf[at] ?? 0) >= 0xc0 ? 2 : 1;
    if (at + 10 > buf.length) return null;
    const length = get16(buf, at + 8);
    if (at + 10 + length > buf.length) return null;
    if (get16(buf, at) === A && get16(buf, at + 2) === IN && length === 4) return get32(buf, at + 10);
    at += 10 + length;
  }
  return null;
}
