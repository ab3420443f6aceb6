/** docs/operating.md quotes lines and names drop reasons: they are what the program says. */
import { readdirSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { DROP_REASONS } from "../../src/core/trace.ts";

const text = readFileSync("docs/operating.md", "utf8");
const rows = text.split("\n").filter((line) => /^\| .* \| .* \| .* \|$/.test(line));

it("each line that it quotes is one that the program can say", () => {
  const source = readdirSync("src", { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts"))
    .map((file) => readFileSync(`src/${file}`, "utf8"))
    .join("\n");
  const quoted = rows.flatMap((row) => [...row.split(" | ")[1]!.matchAll(/`([^`]+ [^`]+)`/g)].map(([, line]) => line!));
  expect(quoted.length).toBeGreaterThan(5);
  for (const line of quoted.filter((each) => !each.startsWith("ctl ")))
    for (const part of line.split("…").map((each) => each.replace(/^["; ,:]+|["; ,:]+$/g, "")))
      if (part.length > 4) expect(source, line).toContain(part);
});

it("each drop reason that it names is one", () => {
  const named = [...text.matchAll(/drops of ((?:`[a-z0-9-]+`(?:, )?)+)/g)].flatMap(
    ([, list]) => list!.match(/[a-z0-9-]+/g)!,
  );
  expect(named.length).toBeGreaterThan(3);
  for (const reason of named) expect(DROP_REASONS).toContain(reason);
});
