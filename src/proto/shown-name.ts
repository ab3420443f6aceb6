/** What the first bytes of a connection may show: a name, or that there is none to rely on. */

/** A message that has, or would have, a name in it. */
export interface ShownName {
  readonly by: "TLS" | "HTTP";
  /** In lower case, without a dot at its end; null when it says none. */
  readonly name: string | null;
  /** The port that an HTTP proxy is asked for; null for the connection's own. */
  readonly port: number | null;
  /** The name that is meant may be another, encrypted (ECH, ESNI). */
  readonly encrypted: boolean;
  /** Why the message cannot be relied on: it is malformed, or others may read another name in it. Null when it can. */
  readonly flaw: string | null;
  /** Whether what follows may ask for names that are not read, as HTTP/2 without TLS does. */
  readonly unread?: boolean;
}

/** "more": cannot be told yet. "other": neither TLS nor HTTP, if its first line turns out to be no request's (`strange-line`). */
export type FirstBytesReading = "more" | "other" | ShownName;

export function flawed(by: ShownName["by"], flaw: string): ShownName {
  return { by, name: null, port: null, encrypted: false, flaw };
}

/** A host's name from untrusted bytes; null for what is none. Addresses pass: they are the names of nothing. */
export function hostName(text: string): string | null {
  const name = (text.endsWith(".") ? text.slice(0, -1) : text).toLowerCase();
  return name.length <= 253 && /^(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}$/.test(name) ? name : null;
}
