/** The word in `words` that somebody who wrote `word` most likely meant; null when none is near. */
export function nearest(word: string, words: readonly string[]): string | null {
  const wanted = word.toLowerCase();
  let best: string | null = null;
  let least = Math.max(2, Math.ceil(word.length / 3));
  for (const each of words) {
    const distance = edits(wanted, each.toLowerCase());
    if (distance > least || (best !== null && distance === least)) continue;
    least = distance;
    best = each;
  }
  return best;
}

/** How many letters must be inserted, removed or changed to make `b` of `a` (Levenshtein's distance). */
function edits(a: string, b: string): number {
  let before = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const changed = before[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(changed, before[j]! + 1, row[j - 1]! + 1));
    }
    before = row;
  }
  return before[b.length]!;
}
