/**
 * What two back-ends did, field by field, and the list of differences in docs/compatibility.md: a Markdown table whose
 * rows are `| case | field | libslirp | tslirp | reason |`, between two comments.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** A case's fields as text; a case that got no answer has the one field `answer`. */
export type Fields = Readonly<Record<string, string>>;
/** One difference, and all cases in which it is met. */
export interface Difference {
  readonly names: string[];
  readonly field: string;
  readonly libslirp: string;
  readonly tslirp: string;
}

const FILE = fileURLToPath(new URL("../../../docs/compatibility.md", import.meta.url));
/** The value of `answer` where there was none. */
export const NONE = "none";
const BEGIN = "<!-- differences: checked by test/e2e/golden.test.ts; GOLDEN_WRITE=1 renews all but the reasons -->\n";
const END = "<!-- end of differences -->";
const HEAD = "| case | field | libslirp | tslirp | why |\n|---|---|---|---|---|\n";

/** What differs in `script`, cases that differ alike being put together. */
export function differences(libslirp: ReadonlyMap<string, Fields>, tslirp: ReadonlyMap<string, Fields>): Difference[] {
  const found = new Map<string, Difference>();
  for (const name of libslirp.keys()) {
    for (const [field, theirs, ours] of unlike(libslirp.get(name)!, tslirp.get(name)!)) {
      const key = JSON.stringify([field, theirs, ours]);
      const known = found.get(key);
      if (known) known.names.push(name);
      else found.set(key, { names: [name], field, libslirp: theirs, tslirp: ours });
    }
  }
  return [...found.values()];
}

function unlike(libslirp: Fields, tslirp: Fields): [field: string, libslirp: string, tslirp: string][] {
  if (libslirp.answer === NONE || tslirp.answer === NONE) {
    const [theirs, ours] = [libslirp, tslirp].map(({ answer }) => (answer === NONE ? NONE : "one"));
    return theirs === ours ? [] : [["answer", theirs!, ours!]];
  }
  const [theirs, ours] = [kind(libslirp), kind(tslirp)];
  if (theirs !== ours) return [["answer", theirs, ours]];
  const fields = [...new Set([...Object.keys(libslirp), ...Object.keys(tslirp)])].sort();
  return fields
    .map((field) => [field, libslirp[field] ?? "absent", tslirp[field] ?? "absent"] as [string, string, string])
    .filter(([, a, b]) => a !== b);
}

/** By what protocol a frame answers, where that says all there is to compare. */
function kind(fields: Fields): string {
  if ("tcp.flags" in fields) return "TCP";
  return "icmp.type" in fields ? `ICMP ${fields["icmp.type"]}/${fields["icmp.code"]} from ${fields["ip.src"]}` : "";
}

/** The documented differences, as `differences` gives them, and each one's reason. */
export function documented(): (Difference & { readonly reason: string })[] {
  return table()
    .split("\n")
    .filter((line) => line.startsWith("| "))
    .slice(1)
    .map((line) => {
      const [names, field, libslirp, tslirp, reason] = line.slice(2, -2).split(" | ").map(fromCell) as [
        ...[string, string, string, string, string],
      ];
      return { names: names.split("; "), field, libslirp, tslirp, reason };
    });
}

/** Writes the table anew, with the reasons it had. */
export function write(found: readonly Difference[]): void {
  const key = (each: Omit<Difference, "names">): string => JSON.stringify([each.field, each.libslirp, each.tslirp]);
  const reasons = new Map(documented().map((each) => [key(each), each.reason]));
  const rows = found.map((each) => {
    const cells = [each.names.join("; "), each.field, each.libslirp, each.tslirp, reasons.get(key(each)) ?? "?"];
    return `| ${cells.map(toCell).join(" | ")} |\n`;
  });
  const old = table();
  writeFileSync(
    FILE,
    readFileSync(FILE, "utf8").replace(old, () => HEAD + rows.join("")),
  );
}

function table(): string {
  const text = readFileSync(FILE, "utf8");
  const from = text.indexOf(BEGIN);
  const to = text.indexOf(END);
  if (from < 0 || to < from) throw new Error(`${FILE} has no table of differences`);
  return text.slice(from + BEGIN.length, to);
}

function toCell(text: string): string {
  return text === "" ? "(empty)" : text.replaceAll("|", "&#124;");
}

function fromCell(text: string): string {
  return text === "(empty)" ? "" : text.replaceAll("&#124;", "|");
}
