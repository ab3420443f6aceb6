/**
 * A command line as words, as GLib's `g_shell_parse_argv` reads it, which libslirp hands guestfwd's commands to: quotes,
 * backslashes and comments as in POSIX's shell (section 2.2), and nothing else of it. Who wants pipes or variables
 * writes `sh -c '…'`.
 *
 * Null when a quote is not closed, when a backslash ends it all, or when there is no word.
 */
export function shellWords(text: string): string[] | null {
  const words: string[] = [];
  let word: string | null = null;
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!;
    if (c === "'") {
      const end = text.indexOf("'", i + 1);
      if (end < 0) return null;
      word = (word ?? "") + text.slice(i + 1, end);
      i = end;
    } else if (c === '"') {
      word ??= "";
      for (i++; text[i] !== '"'; i++) {
        if (i >= text.length) return null;
        // A backslash quotes only these; before a line's end both vanish.
        if (text[i] !== "\\" || !'$`"\\\n'.includes(text[i + 1] ?? " ")) word += text[i]!;
        else if (text[++i] !== "\n") word += text[i]!;
      }
    } else if (c === "\\") {
      if (++i >= text.length) return null;
      if (text[i] !== "\n") word = (word ?? "") + text[i]!;
    } else if (/[ \t\n]/.test(c)) {
      if (word !== null) words.push(word);
      word = null;
    } else if (c === "#" && word === null) {
      const end = text.indexOf("\n", i);
      i = end < 0 ? text.length : end;
    } else word = (word ?? "") + c;
  }
  if (word !== null) words.push(word);
  return words.length === 0 ? null : words;
}
