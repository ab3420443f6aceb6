/** What would allow what was refused, as the end of a sentence. */

/**
 * "; RULE would allow it", or nothing where there is no `remedy`. A name is looked up to speak with it, and a rule about that allows
 * the query, too: it is named beside. `spell` writes a rule (`allow tcp x.example:443`) as the reader would.
 */
export function wouldAllow(remedy: string | null, spell: (rule: string) => string): string {
  if (remedy === null) return "";
  const name = /^allow dns (\S+)$/.exec(remedy)?.[1];
  const both = name === undefined ? "" : `, and ${spell(`allow tcp ${name}:PORT`)} connections as well`;
  return `; ${spell(remedy)} would allow it${both}`;
}
