/**
 * `npm run lint:imports`: floors import downward only, and nothing imports in a circle, types included. What a floor may
 * import is read from the table of floors in ARCHITECTURE.md, so that the table cannot become wrong unnoticed.
 */
const { readFileSync, readdirSync } = require("node:fs");
const path = require("node:path");

/** The floors that know no module of Node's and no package: they are told the time and their bytes. */
const PURE = ["wire", "core", "proto", "nat", "stack"];

const table = readFileSync(path.join(__dirname, "ARCHITECTURE.md"), "utf8")
  .split("## Floors")[1]
  .split("\n## ")[0];
/** Rows: `| name | paths | what it is | names of floors it may import |`. */
const floors = [...table.matchAll(/^\| (\w+) \| (`src.*?) \| .* \| (.*?) \|$/gm)].map(([, name, cell, may]) => ({
  name,
  paths: [...cell.matchAll(/`(src\/[\w./-]+)`/g)].map(([, each]) => each),
  may: may.split(", ").filter((each) => each !== "itself"),
}));

const pattern = ({ paths }) =>
  paths.map((each) => `^${each.replaceAll(".", "\\.")}${each.endsWith("/") ? "" : "$"}`).join("|");
const named = (name) => {
  const floor = floors.find((each) => each.name === name);
  if (floor === undefined) throw new Error(`ARCHITECTURE.md: no floor ${name} in the table of floors`);
  return floor;
};

const covered = new RegExp(floors.map(pattern).join("|"));
for (const entry of readdirSync(path.join(__dirname, "src"), { withFileTypes: true })) {
  const file = `src/${entry.name}${entry.isDirectory() ? "/" : ""}`;
  if (!covered.test(file)) throw new Error(`ARCHITECTURE.md: ${file} is on no floor in the table of floors`);
}

module.exports = {
  forbidden: [
    { name: "no-circle", severity: "error", from: {}, to: { circular: true } },
    ...floors.map((floor) => ({
      name: `${floor.name}-imports-downward-only`,
      severity: "error",
      from: { path: pattern(floor) },
      to: { path: "^src/", pathNot: [floor, ...floor.may.map(named)].map(pattern).join("|") },
    })),
    {
      name: "no-node-below-host",
      severity: "error",
      from: { path: PURE.map((name) => pattern(named(name))).join("|") },
      to: { pathNot: "^src/" },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: { exportsFields: ["exports"], conditionNames: ["import", "node", "types"] },
  },
};
