/** The end of a sentence about a refusal: the rule that would allow it. */

/**
 * "; RULE would allow it", or nothing if there is no `remedy`. A guest that looks a name up mostly wants to connect
 * to it, and a rule about those connections allows the query, too: that rule is named as well. `spell` writes a rule
 * (`allow tcp x.example:443`) in the form that suits the reader.
 */
export function wouldAllow(remedy: string | null, spell: (rule: string) => string): string {
  if (remedy === null) return "";
  const name = /^allow dns (\S+)$/.exec(remedy)?.[1];
  const both = name === undefined ? "" : `, and ${spell(`allow tcp ${name}:PORT`)} connections as well`;
  return `; ${spell(remedy)} would allow it${both}`;
}
