/** The result of reading a connection's first bytes: a name, or that there is none to rely on. */

/** A message that contains a name, or could contain one. */
export interface ShownName {
  readonly by: "TLS" | "HTTP";
  /** In lower case, without a dot at the end; null when the message names none. */
  readonly name: string | null;
  /** The port that an HTTP proxy is asked for; null for the connection's own port. */
  readonly port: number | null;
  /** The real name may be another, which is encrypted (ECH, ESNI). */
  readonly encrypted: boolean;
  /** Why the message cannot be relied on (malformed, or others may read another name in it); null when it can. */
  readonly flaw: string | null;
  /** Whether later requests may ask for names that we do not read, as HTTP/2 without TLS does. */
  readonly unread?: boolean;
}

/** "more": cannot be told yet. "other": neither TLS nor HTTP, if its first line turns out to be no request's (`strange-line`). */
export type FirstBytesReading = "more" | "other" | ShownName;

export function flawed(by: ShownName["by"], flaw: string): ShownName {
  return { by, name: null, port: null, encrypted: false, flaw };
}

/**
 * A host's name from untrusted bytes; null if they are none. An IP address passes, and no rule about names matches it.
 */
export function hostName(text: string): string | null {
  const name = (text.endsWith(".") ? text.slice(0, -1) : text).toLowerCase();
  return name.length <= 253 && /^(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}$/.test(name) ? name : null;
}
