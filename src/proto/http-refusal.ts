/** What a client is told whose request is refused for its name, in place of a reset that says nothing. */

/** A whole answer. `rule` is a rule's text: what is not printable ASCII becomes "?". The body is plain text, so no markup counts. */
export function httpRefusal(host: string, rule: string): Uint8Array {
  const body = `tslirp: ${printable(host)} is refused by the rule "${printable(rule)}"\n`;
  const fields = [
    "HTTP/1.1 403 Forbidden",
    "Content-Type: text/plain; charset=us-ascii",
    "X-Content-Type-Options: nosniff",
    "Cache-Control: no-store",
    `Content-Length: ${body.length}`,
    "Connection: close",
  ];
  const text = `${fields.join("\r\n")}\r\n\r\n${body}`;
  return Uint8Array.from(text, (char) => char.charCodeAt(0));
}

function printable(text: string): string {
  return text.replace(/[^ -~]/g, "?");
}
