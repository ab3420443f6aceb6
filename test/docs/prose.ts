/**
 * The prose linter: unified's reader of Markdown and retext's of English, with rules of theirs and three of ours. Code and
 * tables are left alone. Whether a sentence is good only a reader knows.
 */
import { readFileSync } from "node:fs";
import dictionary from "dictionary-en-gb";
import type { Root, Sentence, SentenceContent } from "nlcst";
import { toString as textOf } from "nlcst-to-string";
import remarkGfm from "remark-gfm";
import remarkParse from "remark-parse";
import remarkRetext from "remark-retext";
import retextContractions from "retext-contractions";
import retextEnglish from "retext-english";
import retextIndefiniteArticle from "retext-indefinite-article";
import retextRedundantAcronyms from "retext-redundant-acronyms";
import retextRepeatedWords from "retext-repeated-words";
import retextSimplify from "retext-simplify";
import retextSpell from "retext-spell";
import { unified } from "unified";
import { visit } from "unist-util-visit";
import { VFile } from "vfile";

const MOST_WORDS = 35;

/** Words that retext-simplify would replace, and that mean something else here. */
const TERMS = ["address", "all of", "forward", "function", "interface", "it is", "option", "request", "there are"];
const MORE_TERMS = ["there is", "transmit", "type"];

/** Words that are spelt right beside the dictionary's: one a line, with and without a genitive's end. */
const known = readFileSync("test/docs/words.txt", "utf8")
  .trim()
  .split("\n")
  .flatMap((word) => [word, `${word}'s`, `${word}'`])
  .join("\n");

/** Names of files, versions and units with a number are no words. */
const NAME = /[._@\d]/;

/** The right column of CONTRIBUTING.md's "Words"; what is in brackets there tells where the word is meant. */
export const shunned: readonly string[] = readFileSync("CONTRIBUTING.md", "utf8")
  .split("\n### Words\n")[1]!
  .split("\n\n")[0]!
  .split("\n")
  .slice(2)
  .flatMap((row) => row.split("|")[2]!.split(", "))
  .map((word) => word.replace(/\([^)]*\)/, "").trim());

/** A sentence's parts between colons and semicolons, each of which can be read by itself. */
function clausesOf({ children }: Sentence): SentenceContent[][] {
  const clauses: SentenceContent[][] = [[]];
  for (const child of children) {
    if (child.type === "PunctuationNode" && /^[:;]$/.test(child.value)) clauses.push([]);
    else clauses.at(-1)!.push(child);
  }
  return clauses;
}

/** The rules of ours that a program can check. `avoid` are words that are not to be there. */
function houseRules(avoid: readonly string[]) {
  return () =>
    (tree: Root, file: VFile): void => {
      visit(tree, (node) => {
        if (node.type !== "SentenceNode") return;
        for (const clause of clausesOf(node)) {
          const words = clause.filter(({ type }) => type === "WordNode" || type === "SourceNode").length;
          if (words > MOST_WORDS) file.message(`${words} words, of which ${MOST_WORDS} can be read at once`, node);
        }
        // Code says nothing about words.
        const text = node.children.map((child) => (child.type === "SourceNode" ? "CODE" : textOf(child))).join("");
        // A heading has no full stop.
        if (/^(?:What|Who|Whoever|Whatever)\b.*[.:;]$/s.test(text))
          file.message(`a clause stands in place of a subject: ${text}`, node);
        for (const word of avoid)
          if (new RegExp(`\\b${word.replace(".", "\\.")}(?!\\w)`, "i").test(text))
            file.message(`CONTRIBUTING.md has a better word than "${word}"`, node);
      });
    };
}

function reader(avoid: readonly string[]) {
  const prose = unified()
    .use(retextEnglish)
    .use([
      ...[retextRepeatedWords, retextIndefiniteArticle, retextRedundantAcronyms],
      [retextContractions, { straight: true }],
      [retextSimplify, { ignore: [...TERMS, ...MORE_TERMS] }],
      // Suggestions take seconds.
      [retextSpell, { dictionary, personal: known, ignoreDigits: true, max: 1 }],
      houseRules(avoid),
    ]);
  return unified().use(remarkParse).use(remarkGfm).use(remarkRetext, prose).freeze();
}

const readers = { all: reader(shunned), own: reader([]) };

/** What is wrong with a document, a line each: `FILE:LINE: what`. CONTRIBUTING.md may name the words that are not to be used. */
export async function faultsOf(page: string, markdown: string): Promise<string[]> {
  const file = new VFile({ path: page, value: markdown });
  const read = page === "CONTRIBUTING.md" ? readers.own : readers.all;
  await read.run(read.parse(file), file);
  return file.messages
    .filter(
      ({ source, actual, ruleId }) => source !== "retext-spell" || (ruleId !== "overflow" && !NAME.test(actual ?? "")),
    )
    .map(({ line, reason }) => `${page}:${line}: ${reason}`);
}
