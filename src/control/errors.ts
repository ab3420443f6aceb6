/** What a user typed was wrong. Always one printable line: which option, what was given, what would be right. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  /** The option: "subnet", "hostfwd", "--net". */
  readonly field: string;
  /** What was given. */
  readonly value: unknown;
  /** What would be right, as the sentence's end: "expected a number from 1 to 65535". */
  readonly expectation: string;

  constructor(field: string, value: unknown, expectation: string) {
    super(`${printable(field)}: got ${show(value)}; ${expectation}`);
    this.field = field;
    this.value = value;
    this.expectation = expectation;
  }

  /** The same fault, under the name by which this user gave the option. */
  named(field: string): ConfigError {
    return new ConfigError(field, this.value, this.expectation);
  }
}

const SHOWN = 120;

/** Any value on one line: quoted, escaped, cut. */
export function show(value: unknown): string {
  let text: string | undefined;
  try {
    text = value === undefined ? "nothing" : JSON.stringify(value);
  } catch {
    // A cycle, a BigInt or a hostile toJSON: the type will do.
  }
  text ??= `a ${typeof value}`;
  if (text.length > SHOWN) text = `${text.slice(0, SHOWN - 3)}...`;
  return printable(text);
}

/** Escapes what a terminal takes for a control character or a line's end. */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]/gu, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
