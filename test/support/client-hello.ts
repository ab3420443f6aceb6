/** TLS ClientHellos as a client could send them (RFC 8446 section 4.1.2), well-formed or not. */

export interface HelloSpec {
  /** host_name entries of the server_name extension; none leaves the extension out. */
  readonly names?: readonly string[];
  /** Further extensions, in front of server_name. */
  readonly extensions?: readonly { readonly type: number; readonly data: Uint8Array }[];
  /** Bytes of handshake in each record; all in one without it. */
  readonly recordSize?: number;
}

export function clientHello({ names = [], extensions = [], recordSize = 16_384 }: HelloSpec): Uint8Array {
  const list = names.map((name) => [0, ...vector(2, bytes(name))]);
  const all = extensions.map(({ type, data }) => [...number(2, type), ...vector(2, [...data])]);
  if (names.length > 0) all.push([...number(2, 0), ...vector(2, vector(2, list.flat()))]);
  const random = Array.from({ length: 32 }, (_, i) => i * 7);
  const body = [3, 3, ...random, ...vector(1, random), ...vector(2, [0x13, 1, 0x13, 2]), ...vector(1, [0])];
  const message = [1, ...vector(3, [...body, ...vector(2, all.flat())])];
  const records: number[] = [];
  for (let at = 0; at < message.length; at += recordSize)
    records.push(22, 3, 1, ...vector(2, message.slice(at, at + recordSize)));
  return Uint8Array.from(records);
}

function vector(size: number, data: readonly number[]): number[] {
  return [...number(size, data.length), ...data];
}

function number(size: number, value: number): number[] {
  return Array.from({ length: size }, (_, i) => (value >>> (8 * (size - 1 - i))) & 0xff);
}

function bytes(text: string): number[] {
  return [...Buffer.from(text, "latin1")];
}
