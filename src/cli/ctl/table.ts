/** Prints rows as columns for people. Control characters are removed, because guests choose some of the words. */

export type Cell = string | number | boolean | null | undefined;

/** Columns are as wide as their widest cell, two spaces apart. Numbers are aligned to the right. */
export function table(heads: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const texts = rows.map((row) => row.map(plain));
  const widths = heads.map((head, i) => Math.max(head.length, ...texts.map((row) => row[i]!.length)));
  const right = heads.map((_, i) => rows.length > 0 && rows.every((row) => typeof row[i] === "number"));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => (right[i] ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
      .join("  ")
      .trimEnd();
  return [line(heads), ...texts.map(line)].map((each) => `${each}\n`).join("");
}

function plain(cell: Cell): string {
  if (cell === null || cell === undefined) return "-";
  return String(cell).replace(/[^ -~]/g, "?");
}
