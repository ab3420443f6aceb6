/** Words as `g_shell_parse_argv` makes them. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { shellWords } from "../../src/control/shell-words.ts";

describe("a command line", () => {
  it.each<[string, string[]]>([
    ["cat", ["cat"]],
    ["  nc -U  /run/x\t\n", ["nc", "-U", "/run/x"]],
    [`sh -c 'echo "$HOME" | wc'`, ["sh", "-c", 'echo "$HOME" | wc']],
    ['a "b c" d', ["a", "b c", "d"]],
    ['"a\\"b" "\\\\" "\\n" "\\$x" "\\`"', ['a"b', "\\", "\\n", "$x", "`"]],
    [String.raw`a\ b \' \"`, ["a b", "'", '"']],
    ["a''b\"\"c", ["abc"]],
    ["a '' \"\"", ["a", "", ""]],
    ["a # not this", ["a"]],
    ["a#b c", ["a#b", "c"]],
    ["# nothing\na", ["a"]],
    ["a\\\nb", ["ab"]],
    ['"a\\\nb\nc"', ["ab\nc"]],
    ["$(x) *.c ~ a;b", ["$(x)", "*.c", "~", "a;b"]],
  ])("%j is %j", (text, words) => {
    expect(shellWords(text)).toEqual(words);
  });

  it.each(["", "  ", "# only this", "'open", '"open', 'a "b\\', "a\\"])("%j is none", (text) => {
    expect(shellWords(text)).toBeNull();
  });

  it("quoted in either way, any words come back", () => {
    const single = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;
    const double = (word: string): string => `"${word.replaceAll(/[$`"\\]/g, "\\$&")}"`;
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.string(), fc.boolean()), { minLength: 1 }), (words) => {
        const text = words.map(([word, how]) => (how ? single(word) : double(word))).join(" ");
        expect(shellWords(text)).toEqual(words.map(([word]) => word));
      }),
    );
  });

  it("whatever it is, it ends", () => {
    fc.assert(fc.property(fc.string(), (text) => void shellWords(text)));
  });
});
