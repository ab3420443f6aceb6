import { readFileSync } from "node:fs";

/** The bytes of `fixtures/NAME.hex`: hexadecimal, what follows a `#` on a line is a note. */
export function hexFixture(name: string): Uint8Array {
  const text = readFileSync(new URL(`../../fixtures/${name}.hex`, import.meta.url), "utf8");
  const hex = text.replace(/#.*$/gm, "").replace(/\s+/g, "");
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}
