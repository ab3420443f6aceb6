/**
 * Hellos as nobody sends them, against Node's TLS (OpenSSL): in whatever it reads a name we read that name, or a flaw, or wait
 * for more, and never another protocol or another name.
 */
import { readFirstBytes } from "../../src/proto/first-bytes.ts";
import { clientHello } from "../support/client-hello.ts";
import { namesInTls } from "../support/node-tls.ts";
import { SeededRandom } from "../support/random.ts";
import { mutate } from "./mutate.ts";

export interface TlsResult {
  readonly runs: number;
  /** Inputs in which Node has read a name. */
  readonly named: number;
  readonly failure: { readonly input: Uint8Array; readonly error: string } | null;
}

const NAMES = [
  "a.test",
  "deb.debian.test",
  "UPPER.test",
  "dot.test.",
  "x",
  `${"long-".repeat(12)}x.test`,
  "xn--nxasmq6b.test",
];
const GREASE = 0x0a0a;

/** Ends after so many inputs, at this time of `performance.now()`, or at the first that is read otherwise. */
export async function fuzzTlsHellos(seed: number, most: number, until: number): Promise<TlsResult> {
  const random = new SeededRandom(seed);
  let named = 0;
  let runs = 0;
  for (; runs < most && performance.now() < until; runs++) {
    const input = anInput(random);
    const { names } = await namesInTls([input]);
    if (names.length === 0) continue;
    named++;
    const error = difference(input, names[0]!);
    if (error !== null) return { runs, named, failure: { input, error } };
  }
  return { runs, named, failure: null };
}

/** What is wrong with our reading of bytes in which OpenSSL has read this name; null for nothing. */
export function difference(input: Uint8Array, name: string): string | null {
  const shown = readFirstBytes(input, 0, input.length);
  if (shown === "more") return null;
  if (shown === "other") return `another protocol, and a hello for ${JSON.stringify(name)} to OpenSSL`;
  const wanted = name.toLowerCase().replace(/\.$/, "");
  if (shown.flaw !== null || (shown.by === "TLS" && shown.name === wanted)) return null;
  return `${shown.by} for ${shown.name}, and a hello for ${JSON.stringify(name)} to OpenSSL`;
}

function anInput(random: SeededRandom): Uint8Array {
  const below = (n: number): number => random.u32() % n;
  const name = (): string => NAMES[below(NAMES.length)]!;
  const extensions = [
    { type: 43, data: Uint8Array.of(2, 3, 4) },
    { type: 10, data: Uint8Array.of(0, 2, 0, 29) },
    { type: 13, data: Uint8Array.of(0, 4, 4, 3, 8, 4) },
    { type: 51, data: Uint8Array.of(0, 0) },
    { type: GREASE + 0x1010 * below(16), data: new Uint8Array(below(3)) },
    { type: 42, data: new Uint8Array(0) },
    { type: 21, data: new Uint8Array(below(600)) },
  ].filter(() => below(4) > 0);
  const spec = { names: below(8) > 0 ? [name()] : [name(), name()], extensions };
  const hello = clientHello(below(2) > 0 ? spec : { ...spec, recordSize: 1 + below(200) });
  const alert = Uint8Array.of(21, 3, below(5), 0, 2, 1, [0, 10, 100][below(3)]!);
  const empty = Uint8Array.of(20 + below(5), 3, below(4), 0, 0);
  let bytes: Uint8Array = hello;
  switch (below(9)) {
    case 0:
      bytes = joined(alert, hello);
      break;
    case 1:
      bytes = joined(empty, hello);
      break;
    case 2:
      bytes = hello.slice();
      bytes[1] = below(256);
      break;
    case 3:
      bytes = hello.slice();
      bytes[2] = below(256);
      break;
    case 4:
      // A record of no bytes, or an alert, within a hello.
      bytes = joined(
        clientHello({ ...spec, recordSize: 60 }).subarray(0, 65),
        below(2) > 0 ? alert : empty,
        clientHello({ ...spec, recordSize: 60 }).subarray(65),
      );
      break;
    case 5:
      bytes = joined(Uint8Array.of(0x80, 46, 1, 3, below(4), 0, 21, 0, 0, 0, 16), hello.subarray(0, 37), hello);
      break;
    case 6:
      bytes = joined(hello, clientHello({ names: [name()] }));
      break;
  }
  return below(2) > 0 ? mutate(bytes, hello, random) : bytes;
}

function joined(...pieces: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(pieces.flatMap((piece) => [...piece]));
}
