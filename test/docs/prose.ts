/**
 * A small reader of Markdown's prose. It knows sentences, and nothing of grammar: what it finds is certain to be there, and
 * what it does not find may still be hard to read.
 */

export interface Sentence {
  readonly line: number;
  readonly text: string;
}

const ABBREVIATIONS = /\b(?:e\.g|i\.e|etc|cf|vs|approx|St|No)\.$/;

/** The sentences of a page's paragraphs and list items; not those of code, tables, headings and HTML. */
export function sentencesOf(markdown: string): Sentence[] {
  const found: Sentence[] = [];
  let paragraph: Sentence[] = [];
  let fenced = false;
  const end = (): void => {
    if (paragraph.length > 0) found.push(...split(paragraph));
    paragraph = [];
  };
  markdown.split("\n").forEach((raw, at) => {
    if (/^\s*```/.test(raw)) fenced = !fenced;
    const item = /^\s*(?:[-*]|\d+\.) /.test(raw);
    if (fenced || item || raw.trim() === "" || /^(?:#|\||<|\s*```| {4}(?![ \d-]))/.test(raw)) end();
    if (fenced || /^(?:#|\||<|\s*```| {4}\S)/.test(raw)) return;
    const text = raw.replace(/^\s*(?:[-*]|\d+\.) /, "").trim();
    if (text !== "") paragraph.push({ line: at + 1, text });
  });
  end();
  return found;
}

/** One paragraph's lines, at the ends of sentences. */
function split(lines: readonly Sentence[]): Sentence[] {
  const words = lines.flatMap(({ line, text }) =>
    plain(text)
      .split(/\s+/)
      .map((word) => ({ line, word })),
  );
  const sentences: Sentence[] = [];
  let begin = 0;
  words.forEach(({ word }, at) => {
    const next = words[at + 1]?.word;
    const over =
      next === undefined || (/[.!?:;]["')]*$/.test(word) && !ABBREVIATIONS.test(word) && !/^[a-z]\.$/.test(word));
    if (!over) return;
    const text = words.slice(begin, at + 1).map((each) => each.word);
    if (text.some((each) => each !== "")) sentences.push({ line: words[begin]!.line, text: text.join(" ") });
    begin = at + 1;
  });
  return sentences;
}

/** Without marks: a piece of code is one word, a link is its text. */
function plain(text: string): string {
  return text
    .replace(/`[^`]*`/g, "CODE")
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replace(/\*\*|__/g, "");
}
