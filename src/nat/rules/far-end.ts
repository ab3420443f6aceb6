/**
 * Names as the far ends of rules. A name that a guest shows or asks for may look like a word of the rules' language
 * (`any`), an address or a wildcard. Written into a remedy or a learned rule, it would allow something other than that
 * name.
 */

/** Words that the rules' parsers do not take for a name where a far end may stand. */
export const RULE_WORDS: ReadonlySet<string> = new Set([
  ...["any", "in", "out", "tcp", "udp", "icmp", "dns", "port", "ports", "guest"],
  ...["allow", "deny", "limit", "default", "include"],
]);
const NAME = /^(?=.{1,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;

/** Whether rules take the text, in lower case, for a host's name. */
export function isHostName(name: string): boolean {
  // A name whose last label is a number is a malformed address; no name of the Internet ends so (RFC 3696 section 2).
  return NAME.test(name) && !/(?:^|\.)[0-9]+$/.test(name);
}

/** The name as a rule's far end, which matches that name only; null if no rule can express it. */
export function farName(name: string): string | null {
  return isHostName(name) && !RULE_WORDS.has(name) ? name : null;
}
