/** `docs/api.md` is the public API as its declarations have it. A change of it shows there; who means it runs `npm run api`. */
import path from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { expect, it } from "vitest";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const INDEX = path.join(ROOT, "src/index.ts");

/** Each export of `src/index.ts`, by name, as the declaration that a user's compiler reads. */
function declarations(): [name: string, text: string][] {
  const config = ts.getParsedCommandLineOfConfigFile(
    path.join(ROOT, "tsconfig.build.json"),
    {},
    {
      ...ts.sys,
      onUnRecoverableConfigFileDiagnostic: (problem) => {
        throw new Error(String(problem.messageText));
      },
    },
  )!;
  const program = ts.createProgram([INDEX], { ...config.options, emitDeclarationOnly: true });
  const checker = program.getTypeChecker();
  const index = checker.getSymbolAtLocation(program.getSourceFile(INDEX)!)!;
  return checker
    .getExportsOfModule(index)
    .map((symbol): [string, string] => {
      const target = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
      const file = target.declarations![0]!.getSourceFile();
      return [symbol.name, statements(emitted(program, file), target.name)];
    })
    .sort(([a], [b]) => (a < b ? -1 : 1));
}

function emitted(program: ts.Program, file: ts.SourceFile): ts.SourceFile {
  let text = "";
  program.emit(file, (name, content) => {
    if (name.endsWith(".d.ts")) text = content;
  });
  return ts.createSourceFile("emitted.d.ts", text, ts.ScriptTarget.ES2022, true);
}

/** The statements that declare `name`: a type may have a schema of its name beside it, which is no export of ours. */
function statements(file: ts.SourceFile, name: string): string {
  const found = file.statements.filter((statement) => {
    const named = statement as ts.Statement & { name?: ts.Identifier };
    return named.name?.text === name;
  });
  if (found.length === 0) throw new Error(`no declaration of ${name}`);
  return found
    .map((statement) =>
      statement
        .getFullText()
        .trim()
        .replace(/^export declare |^export /gm, ""),
    )
    .join("\n");
}

it("is as docs/api.md says", async () => {
  const sections = declarations().map(([name, text]) => `## ${name}\n\n\`\`\`ts\n${text}\n\`\`\`\n`);
  const head = "# Public API\n\nEvery export of `tslirp`, made by `npm run api` from the sources.\n";
  const report = [head, ...sections].join("\n");
  expect(report).not.toMatch(/\bany\b(?=[;,)>\]| ])(?<!\* .*)/);
  await expect(report).toMatchFileSnapshot("../../docs/api.md");
}, 120_000);
