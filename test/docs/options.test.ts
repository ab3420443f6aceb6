/**
 * One description of an option is all there is: the library's interface and the documents' tables are what it says. Who has
 * changed a description runs `npm run options`.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { expect, it } from "vitest";
import { completionTree } from "../../src/cli/completion/tree.ts";
import { createProgram } from "../../src/cli/program.ts";
import { COMMAND } from "../../src/control/options/command.ts";
import { attribute, longFlag, NETWORK, NETWORK_FIELDS, optionsOf } from "../../src/control/options/table.ts";
import { manPage } from "./man-page.ts";
import { entryTable, libraryTable, networkOptionsSource, optionTable } from "./option-tables.ts";

const UPDATE = process.env.UPDATE_OPTIONS === "1";

/** Holds, or with `npm run options` puts, `text` between a document's markers `<!-- NAME -->` and `<!-- /NAME -->`. */
function holds(file: string, name: string, text: string): void {
  const before = readFileSync(file, "utf8");
  const [begin, end] = [`<!-- ${name} -->\n`, `\n<!-- /${name} -->`];
  const from = before.indexOf(begin);
  const to = before.indexOf(end, from);
  expect([from, to], `${file} has the markers of ${name}`).not.toContain(-1);
  const after = before.slice(0, from + begin.length) + text + before.slice(to);
  if (UPDATE) writeFileSync(file, after);
  else expect(before, `${file} is as \`npm run options\` writes it`).toBe(after);
}

it("the library's NetworkOptions is what the descriptions say", async () => {
  const file = "src/control/options/network-options.ts";
  if (UPDATE) writeFileSync(file, networkOptionsSource());
  else expect(readFileSync(file, "utf8"), "run `npm run options`").toBe(networkOptionsSource());
});

it("the man page is what the commands and the descriptions say", () => {
  const file = "docs/tslirp.1";
  const text = manPage(completionTree(createProgram(() => {})));
  if (UPDATE) writeFileSync(file, text);
  else expect(readFileSync(file, "utf8"), "run `npm run options`").toBe(text);
});

it("the documents' tables of options are what the descriptions say", () => {
  holds("docs/options.md", "options", optionTable(["serve", "qemu", "run"]));
  holds("docs/options.md", "library", libraryTable());
});

it("the recording format's page lists every kind of entry", () => {
  holds("docs/recording.md", "entries", entryTable());
});

it("each flag of a command stands once, and its value is kept by the name in the table", () => {
  for (const command of ["serve", "qemu", "run"] as const) {
    const flags = optionsOf(command).map(({ flag }) => longFlag(flag));
    expect(new Set(flags).size).toBe(flags.length);
  }
  for (const [key, { flag }] of Object.entries(COMMAND)) expect(attribute(flag)).toBe(key);
});

it("a default is said with each option whose absence means something", () => {
  // A switch that is off by default still has to say so.
  for (const field of NETWORK_FIELDS) {
    const { reading, flag, initial } = NETWORK[field];
    if (flag !== null && (reading.as === "on-off" || reading.as === "flag" || reading.as === "number"))
      expect(initial, field).toBeDefined();
  }
});
