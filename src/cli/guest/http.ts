/** HTTP/1.0 GET (RFC 1945). The end of the connection is the end of the answer. */
import { ipv4FromText } from "../../core/address.ts";
import { ipv4ToString } from "../../wire/ipv4.ts";
import { resolveName } from "./dns.ts";
import type { Guest } from "./guest.ts";

export interface HttpAnswer {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Uint8Array;
}

/**
 * Fetches `url` (http only, with a name or an address as host). Rejects if refused, reset, cut short, or after
 * `timeout` milliseconds.
 */
export async function httpGet(guest: Guest, url: string, timeout = 30_000): Promise<HttpAnswer> {
  const { hostname, host, port, pathname, search } = new URL(url);
  const ip = /^[\d.]+$/.test(hostname) ? ipv4FromText(hostname) : await resolveName(guest, hostname);
  const request = `GET ${pathname}${search} HTTP/1.0\r\nHost: ${host}\r\nUser-Agent: tslirp-guest\r\n\r\n`;
  const chunks: Uint8Array[] = [];
  await new Promise<void>((resolve, reject) => {
    const cancel = guest.timers.after(timeout, () => {
      socket.abort();
      reject(new Error(`${ipv4ToString(ip)}: no answer`));
    });
    const socket = guest.connect(ip, Number(port || 80), {
      onConnect: () => {
        socket.write(new TextEncoder().encode(request));
      },
      onData: (bytes) => {
        chunks.push(bytes);
      },
      onEnd: () => {
        cancel();
        socket.end();
        resolve();
      },
      onClose: (end) => {
        cancel();
        reject(new Error(`connection to ${host}: ${end}`));
      },
    });
  });
  return parse(concat(chunks));
}

function parse(bytes: Uint8Array): HttpAnswer {
  const head = String.fromCharCode(...bytes.subarray(0, 8_192)).split("\r\n\r\n", 1)[0]!;
  const [first, ...lines] = head.split("\r\n");
  const status = /^HTTP\/1\.\d (\d{3})/.exec(first ?? "");
  if (status === null || head.length + 4 > bytes.length) throw new Error("not an HTTP answer");
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(":");
    headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
  }
  const body = bytes.subarray(head.length + 4);
  const length = headers.get("content-length");
  if (length !== undefined && Number(length) !== body.length)
    throw new Error(`cut short: ${body.length} of ${length} bytes`);
  return { status: Number(status[1]), headers, body };
}

function concat(chunks: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(chunks.reduce((total, chunk) => total + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    out.set(chunk, at);
    at += chunk.length;
  }
  return out;
}
