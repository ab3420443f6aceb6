/**
 * The documents' prose, as far as a program can know it: the length of sentences, how they begin, and the words of
 * CONTRIBUTING.md's list. Whether a sentence is good only a reader knows.
 */
import { readdirSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { sentencesOf } from "./prose.ts";

const PAGES = [
  ...["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "examples/README.md"],
  ...readdirSync("docs")
    .filter((name) => name.endsWith(".md") && name !== "api.md")
    .map((name) => `docs/${name}`),
];
const MOST_WORDS = 35;

/** The right column of CONTRIBUTING.md's "Words"; what is in brackets tells where the word is meant. */
const shunned = readFileSync("CONTRIBUTING.md", "utf8")
  .split("\n### Words\n")[1]!
  .split("\n\n")[0]!
  .split("\n")
  .slice(2)
  .flatMap((row) => row.split("|")[2]!.split(", "))
  .map((word) => word.replace(/\([^)]*\)/, "").trim());

it.each(PAGES)("%s", (page) => {
  const faults = sentencesOf(readFileSync(page, "utf8")).flatMap(({ line, text }) => {
    const count = text.split(" ").length;
    return [
      ...(count > MOST_WORDS ? [`${page}:${line}: ${count} words: ${text}`] : []),
      ...(/^(?:What|Who|Whoever|Whatever)\b/.test(text) && !text.endsWith("?")
        ? [`${page}:${line}: begins with a clause in place of a subject: ${text}`]
        : []),
      ...shunned
        .filter(
          (word) => page !== "CONTRIBUTING.md" && new RegExp(`\\b${word.replace(".", "\\.")}(?!\\w)`, "i").test(text),
        )
        .map((word) => `${page}:${line}: "${word}": ${text}`),
    ];
  });
  expect(faults).toEqual([]);
});

it("finds what it is there to find, and leaves code and tables alone", () => {
  const text =
    "# What is\n\nOne `a. b` two.\nWhat is\nlong, e.g. this. (See [x](y.z).)\n\n```\nWhat code.\n```\n| What | row. |\n- Item: end.\n";
  expect(sentencesOf(text)).toEqual([
    { line: 3, text: "One CODE two." },
    { line: 4, text: "What is long, e.g. this." },
    { line: 5, text: "(See x.)" },
    { line: 11, text: "Item:" },
    { line: 11, text: "end." },
  ]);
  expect(shunned).toContain("utilize");
});
