import type { CaseId } from "./list.ts";

/**
 * A test's name with the cases that it proves, for `npm run test:cases`:
 *
 *     test(proves("tcp.send.rto-doubles", "RFC 6298 section 5.5: the pause doubles"), () => { … });
 */
export function proves(cases: CaseId | readonly CaseId[], name: string): string {
  return `${name} [${[cases].flat().join(" ")}]`;
}
