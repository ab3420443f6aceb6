/** Every `tslirp …` line in a document's shell blocks is one that the command line takes: its commands, options, rules and forwards. */
import { readdirSync, readFileSync } from "node:fs";
import type { Command } from "commander";
import { expect, it } from "vitest";
import type { ServeArguments } from "../../src/cli/argument-types.ts";
import { readServeArguments } from "../../src/cli/arguments.ts";
import { createProgram } from "../../src/cli/program.ts";
import { resolveOptions } from "../../src/control/options.ts";
import { parseRules } from "../../src/control/rules.ts";
import { shellWords } from "../../src/control/shell-words.ts";

const PAGES = [
  ...["README.md", "SECURITY.md", "CONTRIBUTING.md", "examples/README.md"],
  ...readdirSync("docs")
    .filter((name) => name.endsWith(".md") && name !== "api.md")
    .map((name) => `docs/${name}`),
];

/** What follows each `tslirp` in a page's shell blocks, up to where the shell's own words begin. */
function linesOf(page: string): string[] {
  const blocks = [...readFileSync(page, "utf8").matchAll(/^```(?:sh|console)?\n([\s\S]*?)^```/gm)].map(
    ([, text]) => text!,
  );
  return blocks
    .flatMap((block) => block.replaceAll("\\\n", " ").split("\n"))
    .map((line) => line.replace(/(?:^|\s)#\s.*$/, ""))
    .flatMap((line) => line.split(/(?:^|^\$ |npx |exec |<\(|&& |; |'|[A-Z_]+=\S+ )tslirp\s+/).slice(1))
    .map((rest) => /^(?:'[^']*'|"[^"]*"|[^|&;>)'"])*/.exec(rest)![0].trim());
}

/** Parses as the command line does, and runs nothing. */
function parse(words: readonly string[]): void {
  const program = createProgram(() => {});
  const still = (command: Command): void => {
    command.exitOverride().configureOutput({ writeErr: () => {}, writeOut: () => {} });
    command.action(function (this: Command) {
      const { rules: _file, ...given } = this.opts<ServeArguments>();
      if (this.name() === "serve") resolveOptions(readServeArguments(given).network);
      if (given.allow !== undefined) parseRules(given.allow);
    });
    command.commands.forEach(still);
  };
  still(program);
  if (words[0] !== "--version") program.parse(["node", "tslirp", ...words]);
}

it.each(PAGES)("%s", (page) => {
  for (const line of linesOf(page)) expect(() => parse(shellWords(line) ?? []), `tslirp ${line}`).not.toThrow();
});

it("finds the commands, and would find a fault", () => {
  const all = PAGES.flatMap(linesOf);
  expect(all).toContain("run --default deny -- curl -sS http://192.0.2.7/");
  expect(all).toContain("completion bash");
  expect(all.length).toBeGreaterThan(30);
  expect(() => parse(["serve", "--no-such-option"])).toThrow();
  expect(() => parse(["serve", "-p", "nonsense"])).toThrow();
});
