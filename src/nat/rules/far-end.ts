/**
 * Names as the far ends of rules. What a guest shows or asks for may be a word of the rules' language (`any`), an address or a
 * wildcard: printed as a name, in a remedy or a learned rule, it would open something else than that name.
 */

/** What parsers of rules take for something else than a name, where a far end may stand. */
export const RULE_WORDS: ReadonlySet<string> = new Set([
  ...["any", "in", "out", "tcp", "udp", "icmp", "dns", "port", "ports", "guest"],
  ...["allow", "deny", "limit", "default", "include"],
]);
const NAME = /^(?=.{1,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;

/** Whether rules take it for a host's name, in lower case. */
export function isHostName(name: string): boolean {
  // What ends in a number is a broken address, and no name of the Internet does (RFC 3696 section 2).
  return NAME.test(name) && !/(?:^|\.)[0-9]+$/.test(name);
}

/** The name as a rule's far end, which means that name and no other; null where no rule can say it. */
export function farName(name: string): string | null {
  return isHostName(name) && !RULE_WORDS.has(name) ? name : null;
}
