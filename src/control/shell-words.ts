/**
 * Splits a command line into words as GLib's `g_shell_parse_argv` does, which libslirp uses for guestfwd's commands:
 * with the quotes, backslashes and comments of POSIX's shell (section 2.2), and nothing else of it. Users who want
 * pipes or variables write `sh -c '…'`.
 *
 * Returns null when a quote is not closed, when the text ends with a backslash, or when there is no word.
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
        // Within double quotes, a backslash quotes only these characters. Before the end of a line, both vanish.
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
