/** What the option descriptions become: the library's interface, and tables of Markdown. */
import { type Command, type Description, isRepeatable } from "../../src/control/options/description.ts";
import { longFlag, NETWORK, NETWORK_FIELDS, type NetworkField, optionsOf } from "../../src/control/options/table.ts";
import { ENTRIES, NAMES } from "../../src/record/format.ts";

const COLUMNS = 120;
const IMPORTS = `import type { OnAsk } from "../on-ask.ts";
import type { OnFlow } from "../on-flow.ts";
import type { ProxyOptions } from "../proxy-rules.ts";
import type { UplinkOptions } from "../uplink-rules.ts";
import type { AuditOptions } from "./audit-options.ts";
import type { LimitsOptions } from "./limits-options.ts";
import type { Mode } from "./modes.ts";
import type { RecordOptions } from "./record-options.ts";
`;

/** The text of `src/control/options/network-options.ts`. */
export function networkOptionsSource(): string {
  const fields = NETWORK_FIELDS.map((field) => {
    const { help, doc, initial, type } = NETWORK[field];
    const words = `${sentence(help)}${initial === undefined ? "" : ` (${initial})`}.${doc === undefined ? "" : ` ${doc}${doc.endsWith(".") ? "" : "."}`}`;
    return `${docstring(words)}\n  readonly ${field}?: ${type} | undefined;\n`;
  });
  return `/** Written by \`npm run options\` from the descriptions beside this file. */
${IMPORTS}
/** What users may say about a network. Everything has a default. */
export interface NetworkOptions {
${fields.join("")}}
`;
}

/** A table of a command's options: flag, meaning, and its name in the library and in \`-netdev user\`. */
export function optionTable(commands: readonly Command[]): string {
  const seen = new Set<string>();
  const rows = commands.flatMap((command) =>
    optionsOf(command).flatMap((option) => {
      if (seen.has(option.flag)) return [];
      seen.add(option.flag);
      return [`| ${flagCell(option)} | ${meaning(option)} | ${namesCell(option)} |`];
    }),
  );
  return ["| option | meaning (default) | library, `-netdev user` |", "| --- | --- | --- |", ...rows].join("\n");
}

/** What only the library has. */
export function libraryTable(): string {
  const rows = NETWORK_FIELDS.filter((field) => NETWORK[field].flag === null).map(
    (field) => `| \`${field}\` | ${meaning(NETWORK[field])} |`,
  );
  return ["| option | meaning (default) |", "| --- | --- |", ...rows].join("\n");
}

/** The recording format's entries. */
export function entryTable(): string {
  const rows = NAMES.map((name, tag) => {
    const fields = Object.entries(ENTRIES[name].fields).map(([field, kind]) => `${field} (${kind})`);
    return `| ${tag} | \`${name}\` | ${ENTRIES[name].direction} | ${fields.join(", ")} |`;
  });
  return ["| tag | entry | | fields |", "| --- | --- | --- | --- |", ...rows].join("\n");
}

function flagCell({ flag, reading, commands }: Description): string {
  const repeatable = isRepeatable(reading) ? " (repeatable)" : "";
  const only = commands === undefined ? "" : ` — ${commands.map((command) => `\`${command}\``).join(", ")} only`;
  return `\`${cell(flag)}\`${repeatable}${only}`;
}

function meaning({ help, initial, more }: Pick<Description, "help" | "initial" | "more">): string {
  const brackets = initial === undefined ? "" : ` (${initial})`;
  return cell(`${help}${brackets}${more === undefined ? "" : `. ${more}`}`);
}

function namesCell(option: Description): string {
  const field = NETWORK_FIELDS.find((each) => NETWORK[each].flag === option.flag) as NetworkField | undefined;
  if (field === undefined) return option.reading.as === "rule" || longFlag(option.flag) === "--rules" ? "`rules`" : "";
  const { netdev } = NETWORK[field];
  return `\`${field}\`${netdev === undefined ? "" : `, \`${netdev}=\``}`;
}

/** A table's cell ends at a bar. */
function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}

function sentence(text: string): string {
  return /^[a-z][a-z-]+:/.test(text) ? text : text[0]!.toUpperCase() + text.slice(1);
}

/** The comment in front of a field, two columns in. */
function docstring(text: string): string {
  if (text.length + 9 <= COLUMNS) return `  /** ${text} */`;
  const lines: string[] = [""];
  for (const word of text.split(" ")) {
    const line = lines.at(-1)!;
    if (line !== "" && line.length + 1 + word.length > COLUMNS - 5) lines.push(word);
    else lines[lines.length - 1] = line === "" ? word : `${line} ${word}`;
  }
  return ["  /**", ...lines.map((line) => `   * ${line}`), "   */"].join("\n");
}
