/**
 * Reads `--name-ttl`, the bounds of a name's time to live in seconds: `60-3600`, or `120` for the lower bound alone.
 */
import type { NameTtl } from "../core/config.ts";
import { parseNumber } from "./addresses.ts";

const MOST_S = 86_400;

/** Null for an invalid text. */
export function parseNameTtl(text: string): NameTtl | null {
  const [leastText = "", mostText = String(MOST_S), more] = text.split("-");
  const least = parseNumber(leastText, 1, MOST_S);
  const most = parseNumber(mostText, 1, MOST_S);
  return least === null || most === null || most < least || more !== undefined ? null : { least, most };
}
