/** How long names are good, as `--name-ttl` takes it: `60-3600`, or `120` for that at the least. */
import type { NameTtl } from "../core/config.ts";
import { parseNumber } from "./addresses.ts";

const MOST_S = 86_400;

/** Null for what is none. */
export function parseNameTtl(text: string): NameTtl | null {
  const [leastText = "", mostText = String(MOST_S), more] = text.split("-");
  const least = parseNumber(leastText, 1, MOST_S);
  const most = parseNumber(mostText, 1, MOST_S);
  return least === null || most === null || most < least || more !== undefined ? null : { least, most };
}
