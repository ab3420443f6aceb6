/** The documents' prose, as far as a program can know it. A word that is spelt right and not known goes into words.txt. */
import { readdirSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { faultsOf, shunned } from "./prose.ts";

const PAGES = [
  ...[
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "bench/README.md",
    "examples/README.md",
  ],
  ...readdirSync("docs")
    .filter((name) => name.endsWith(".md") && name !== "api.md")
    .map((name) => `docs/${name}`),
];

it.each(PAGES)("%s", async (page) => {
  expect(await faultsOf(page, readFileSync(page, "utf8"))).toEqual([]);
});

it("README.md has 250 lines at most", () => {
  expect(readFileSync("README.md", "utf8").split("\n").length).toBeLessThanOrEqual(251);
});

it.each([
  ["a sentence of 36 words", `A guest ${"sends a packet and ".repeat(9)}`.trim().slice(0, -4).concat(".")],
  ["a clause in place of a subject", "What a guest sends is judged."],
  ["a word of CONTRIBUTING.md's list", "A policy rule decides."],
  ["a word twice", "The the guest is there."],
  ["an article", "A address is leased."],
  ["an acronym's last word again", "The LAN network is up."],
  ["a word that is misspelt", "The guest recieves a frame."],
  ["a word for which there is a simpler one", "Guests commence."],
])("finds %s", async (_what, text) => {
  expect(
    await faultsOf("page.md", `# What is\n\n\`\`\`\nWhat code.\n\`\`\`\n\n| What | recieves |\n|---|---|\n\n${text}\n`),
  ).toHaveLength(1);
});

it("takes a sentence's parts between colons, and code as a word", async () => {
  const part = "the guest sends one frame and the host takes it with `all. of this` at once";
  expect(await faultsOf("page.md", `So it is: ${part}; ${part}; ${part}.\n\n- Who is it?\n`)).toEqual([]);
  expect(shunned).toContain("utilize");
});
