/** The response to a request that is refused for its name, in place of a reset without a reason. */

/**
 * A whole response. `rule` is a rule's text; characters that are not printable ASCII become "?". The body is plain
 * text, so markup has no effect.
 */
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
