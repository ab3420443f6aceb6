/** Completion in the real shells, and the man page by its checkers. */
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { bashCompletion } from "../../src/cli/completion/bash.ts";
import { fishCompletion } from "../../src/cli/completion/fish.ts";
import { completionTree, flattened } from "../../src/cli/completion/tree.ts";
import { zshCompletion } from "../../src/cli/completion/zsh.ts";
import { createProgram } from "../../src/cli/program.ts";

const tree = completionTree(createProgram(() => {}));
const has = (program: string): boolean => spawnSync(program, ["--version"]).error === undefined;

const folder = mkdtempSync(path.join(tmpdir(), "tslirp-completion-"));
writeFileSync(path.join(folder, "rules.txt"), "default deny\n");
const file = (name: string, text: string): string => {
  const at = path.join(folder, name);
  writeFileSync(at, text);
  chmodSync(at, 0o755);
  return at;
};

/** What each shell should offer where the line ends. */
const EXPECTED: readonly (readonly [line: string, offered: readonly string[], not: readonly string[]])[] = [
  ["tslirp ser", ["serve"], ["ctl"]],
  ["tslirp --list", ["--listen"], ["--record"]],
  ["tslirp serve --host", ["--host", "--hostname", "--hostfwd", "--host-loopback"], ["--keep"]],
  ["tslirp run --kee", ["--keep"], []],
  ["tslirp serve --ipv6 o", ["on", "off"], []],
  ["tslirp serve --mode ", ["shared", "host-only", "isolated", "bridged"], []],
  ["tslirp qemu --log-level w", ["warn"], []],
  ["tslirp serve --rules rul", ["rules.txt"], []],
  ["tslirp ctl pub", ["publish"], []],
  ["tslirp ctl --json publish ", ["add", "ls", "rm"], ["status"]],
  ["tslirp ctl --api serve publish a", ["add"], []],
  ["tslirp completion ", ["bash", "zsh", "fish"], []],
  ["tslirp replay rul", ["rules.txt"], []],
  ["tslirp run -- dirnam", ["dirname"], []],
];

describe("the tree of commands", () => {
  it("has every command and option that help shows, and hides the worker", () => {
    const paths = flattened(tree).map(({ path }) => path);
    expect(paths).toEqual(expect.arrayContaining(["serve", "qemu", "run", "ctl", "ctl publish add", "completion"]));
    expect(paths).not.toContain("worker");
  });
});

describe("bash", () => {
  const script = file("bash", bashCompletion(tree));
  const offers = (line: string): readonly string[] => {
    // As readline cuts it: an empty word where the line ends with a blank.
    const words = line.split(" ").map((word) => `'${word}'`);
    const drive = `source '${script}'; COMP_WORDS=(${words.join(" ")}); COMP_CWORD=${words.length - 1}; _tslirp; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const text = execFileSync("bash", ["--norc", "-c", drive], { cwd: folder, encoding: "utf8" });
    return text.split("\n").filter((word) => word !== "");
  };

  it("knows the function by the name of the program", () => {
    const text = execFileSync("bash", ["--norc", "-c", `source '${script}'; complete -p tslirp`], { encoding: "utf8" });
    expect(text.trim()).toBe("complete -o filenames -F _tslirp tslirp");
  });

  it.each(EXPECTED)("offers behind %j", (line, offered, not) => {
    const words = offers(line);
    expect(words).toEqual(expect.arrayContaining([...offered]));
    for (const word of not) expect(words).not.toContain(word);
  });

  it("offers files behind a colon, which bash takes for a word of its own", () => {
    expect(offers("tslirp serve --listen unix : rul")).toEqual(["rules.txt"]);
  });
});

describe.skipIf(!has("fish"))("fish", () => {
  const script = file("fish", fishCompletion(tree));

  it.each(EXPECTED)("offers behind %j", (line, offered, not) => {
    const drive = `source '${script}'; complete -C '${line}'`;
    const result = spawnSync("fish", ["--no-config", "-c", drive], { cwd: folder, encoding: "utf8" });
    expect(result.stderr).toBe("");
    const words = result.stdout.split("\n").map((each) => each.split("\t")[0]);
    expect(words).toEqual(expect.arrayContaining([...offered]));
    for (const word of not) expect(words).not.toContain(word);
  });
});

describe.skipIf(!has("zsh"))("zsh", () => {
  const script = file("_tslirp", zshCompletion(tree));
  const program = file("tslirp", "#!/bin/sh\n");

  /**
   * zsh completes for a terminal only: one of its own modules makes one. A widget sets each line and completes it, and each match is
   * printed as it is added; so nothing depends on how fast keys arrive.
   */
  const offers = (): readonly string[] => {
    const setUp = file(
      "set-up.zsh",
      `cd '${folder}'
PATH='${path.dirname(program)}':$PATH
setopt no_auto_menu no_beep
autoload -Uz compinit
compinit -u -D
source '${script}'
compadd() {
  local -a __found
  builtin compadd -O __found "$@"
  print -l -- MATCH:$^__found
  builtin compadd "$@"
}
lines=(${EXPECTED.map(([line]) => `'${line}'`).join(" ")})
probe() {
  for line in $lines; do
    BUFFER=$line CURSOR=$#line
    zle complete-word
    print -r -- '#####'
  done
  BUFFER=
  print THE-END
}
zle -N probe
bindkey '^X' probe
print SET-UP
`,
    );
    const drive = `zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z "source '${setUp}'"
zpty -r z text '*SET-UP*'
zpty -w -n z $'\\C-X'
zpty -r z text '*THE-END*'
print -r -- "$text"`;
    return execFileSync("zsh", ["-f", "-c", drive], { encoding: "utf8", timeout: 100_000 }).split("#####");
  };

  it("offers the same", { timeout: 120_000 }, () => {
    const texts = offers();
    for (const [index, [line, offered, not]] of EXPECTED.entries()) {
      const found = [...texts[index]!.matchAll(/MATCH:([^\s:]+)/g)].map(([, word]) => word);
      expect(found, line).toEqual(expect.arrayContaining([...offered]));
      for (const word of not) expect(found, line).not.toContain(word);
    }
  });

  it("is well-formed as a file of functions", () => {
    expect(spawnSync("zsh", ["-n", script], { encoding: "utf8" })).toMatchObject({ status: 0, stderr: "" });
  });
});

describe("docs/tslirp.1", () => {
  it.skipIf(!has("mandoc") && spawnSync("mandoc", ["-l"]).error !== undefined)(
    "has nothing that mandoc warns of",
    () => {
      const { stdout } = spawnSync("mandoc", ["-T", "lint", "-W", "warning", "docs/tslirp.1"], { encoding: "utf8" });
      expect(stdout).toBe("");
    },
  );

  it.skipIf(!has("groff"))("has nothing that groff warns of, and shows every option of serve", () => {
    const { stdout, stderr } = spawnSync("groff", ["-man", "-ww", "-Tascii", "docs/tslirp.1"], { encoding: "utf8" });
    expect(stderr).toBe("");
    // biome-ignore lint/suspicious/noControlCharactersInRegex: groff underlines by escapes
    const text = stdout.replaceAll(/\x1b\[[0-9;]*m|.\x08/g, "");
    const serve = tree.commands.find(({ path }) => path === "serve")!;
    for (const { names } of serve.options.filter((each) => each.names[0] !== "--help"))
      expect(text).toContain(names[0]);
  });
});
