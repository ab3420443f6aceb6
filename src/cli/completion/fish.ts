/**
 * Completion for fish: a `complete` for each word that may follow, under the condition that the words before it lead
 * to its command.
 */
import { type CompletedCommand, type CompletedOption, flattened, ownName } from "./tree.ts";

export function fishCompletion(tree: CompletedCommand): string {
  const all = flattened(tree);
  const valued = all.flatMap(({ path, options }) =>
    options
      .filter(({ values }) => values !== null)
      .flatMap(({ names }) => names.map((name) => quoted(`${path} ${name}`))),
  );
  const steps = all.flatMap((command) => command.commands.map((each) => quoted(`${command.path} ${ownName(each)}`)));
  return `# fish completion for tslirp, printed by: tslirp completion fish
# The command that the words before the cursor name: "ctl publish", or "--" where another program's command line has begun.
function __tslirp_at
    set -l at ""
    set -l skip 0
    for word in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
            continue
        end
        if test "$word" = --
            echo -- --
            return
        end
        switch "$at $word"
            case ${valued.join(" ")}
                set skip 1
            case ${steps.join(" ")}
                set at (string trim -- "$at $word")
        end
    end
    echo -- "$at"
end

# What another program would complete, behind --.
function __tslirp_behind
    set -l words (commandline -opc)
    set -l from (contains -i -- -- $words)
    complete -C (string join -- " " (string escape -- $words[(math $from + 1)..-1]) (commandline -ct))
end

complete -c tslirp -f
complete -c tslirp -n 'test (__tslirp_at) = --' -a '(__tslirp_behind)'
${all.map(commandLines).join("\n")}
`;
}

function commandLines(command: CompletedCommand): string {
  const start = `complete -c tslirp -n ${quoted(`test (__tslirp_at) = ${quoted(command.path)}`)}`;
  const commands = command.commands.map((each) => `${start} -a ${ownName(each)} -d ${quoted(each.help)}`);
  const { values } = command;
  if (values === "file") commands.push(`${start} -F`);
  else if (typeof values !== "string") commands.push(`${start} -a ${quoted(values.join(" "))}`);
  return [...commands, ...command.options.map((option) => `${start} ${optionWords(option)}`)].join("\n");
}

function optionWords({ names, values, help }: CompletedOption): string {
  const flags = names.map((name) => (name.startsWith("--") ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`));
  return `${flags.join(" ")}${valueWords(values)} -d ${quoted(help)}`;
}

function valueWords(values: CompletedOption["values"]): string {
  if (values === null) return "";
  if (values === "file" || values === "folder") return " -rF";
  return values === "free" ? " -x" : ` -xa ${quoted(values.join(" "))}`;
}

/** In fish's single quotes only the backslash and the quote itself are escaped. */
function quoted(text: string): string {
  return `'${text.replaceAll(/[\\']/g, "\\$&")}'`;
}
