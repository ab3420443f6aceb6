/**
 * An argument or option is wrong. The message is one printable line: which option, what was given, what would be
 * right.
 */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  /** The name of the option: "subnet", "hostfwd", "--net". */
  readonly field: string;
  /** The value that was given, without passwords and tokens. */
  readonly value: unknown;
  /** What would be right, as the end of the message: "expected a number from 1 to 65535". */
  readonly expectation: string;

  /** `value` may be anything. Passwords and tokens in it are not shown. */
  constructor(field: string, value: unknown, expectation: string) {
    const shown = withoutSecrets(field, value);
    super(`${printable(field)}: got ${show(shown)}; ${expectation}`);
    this.field = field;
    this.value = shown;
    this.expectation = expectation;
  }

  /** The same error, with the name under which this user gave the option. */
  named(field: string): ConfigError {
    return new ConfigError(field, this.value, this.expectation);
  }
}

const SHOWN = 120;
const WITH_PASSWORD = /^(?:--)?proxy(?:\.|$)/;
const TOKEN = /token$/i;

/** The value as errors may show it: without a proxy's credentials, and with `***` for a token. */
function withoutSecrets(field: string, value: unknown): unknown {
  if (TOKEN.test(field)) return value === undefined ? undefined : "***";
  return WITH_PASSWORD.test(field) ? withoutPasswords(value) : value;
}

function withoutPasswords(value: unknown): unknown {
  if (typeof value === "string") return withoutPassword(value);
  if (Array.isArray(value)) return value.map(withoutPasswords);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, withoutPasswords(each)]));
}

/**
 * Hides everything between the scheme and the last @, which may be credentials. If the @ has been forgotten, hides a
 * "port" that is no number.
 */
function withoutPassword(text: string): string {
  const scheme = /^[^@]*?:\/\//.exec(text)?.[0] ?? "";
  const at = text.lastIndexOf("@");
  if (at >= scheme.length) return `${scheme}***${text.slice(at)}`;
  return text.replace(/(:\/\/[^:/?#[\]]*:)(?!\d{0,5}(?:[/?#]|$)).*/, "$1***");
}

/** Shows any value on one line: quoted, escaped and cut to `SHOWN` characters. */
export function show(value: unknown): string {
  let text: string | undefined;
  try {
    // JSON has no NaN and no Infinity.
    if (typeof value === "number") text = String(value);
    else text = value === undefined ? "nothing" : JSON.stringify(value);
  } catch {
    // A cycle, a BigInt or a hostile toJSON: show the type instead.
  }
  text ??= `a ${typeof value}`;
  if (text.length > SHOWN) text = `${text.slice(0, SHOWN - 3)}...`;
  return printable(text);
}

/** Escapes characters that a terminal takes for control characters or for the end of a line. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]/gu, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** The same for a text of several lines. */
export function printableLines(text: string): string {
  return text.split("\n").map(printable).join("\n");
}
