/**
 * QEMU's option strings (QemuOpts): `key=value` separated by commas, where a comma within a value is written twice. A
 * key alone means `on`; in the first place it is the value of an implied key (`user,…` is `type=user,…`).
 */

export interface OptionPair {
  readonly key: string;
  /** Null when there was no `=`. */
  readonly value: string | null;
}

/** Never throws: every text is a list of pairs. */
export function splitOptions(text: string): OptionPair[] {
  const pairs: OptionPair[] = [];
  let at = 0;
  while (at < text.length) {
    let end = at;
    while (end < text.length && text[end] !== "," && text[end] !== "=") end++;
    const key = text.slice(at, end);
    if (text[end] !== "=") {
      pairs.push({ key, value: null });
      at = end + 1;
      continue;
    }
    let value = "";
    at = end + 1;
    for (;;) {
      end = text.indexOf(",", at);
      if (end < 0) end = text.length;
      value += text.slice(at, end);
      if (text[end + 1] !== ",") break;
      value += ",";
      at = end + 2;
    }
    pairs.push({ key, value });
    at = end + 1;
  }
  return pairs;
}

/** The text that `splitOptions` reads as these pairs. */
export function joinOptions(pairs: readonly OptionPair[]): string {
  return pairs.map(({ key, value }) => (value === null ? key : `${key}=${escapeValue(value)}`)).join(",");
}

/** Writes a comma within a value twice. */
export function escapeValue(text: string): string {
  return text.replaceAll(",", ",,");
}

/** The type that the pairs name, and the other pairs. The type is null when they name none. */
export function takeType(pairs: readonly OptionPair[]): { type: string | null; rest: readonly OptionPair[] } {
  const [first, ...others] = pairs;
  if (first !== undefined && first.value === null) return { type: first.key, rest: others };
  return { type: lastValue(pairs, "type"), rest: pairs.filter(({ key }) => key !== "type") };
}

/** The value of a key; the last one if the key comes several times. */
export function lastValue(pairs: readonly OptionPair[], key: string): string | null {
  return pairs.findLast((pair) => pair.key === key)?.value ?? null;
}
