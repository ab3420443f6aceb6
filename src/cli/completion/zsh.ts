/**
 * Completion for zsh: one function for each command, which passes options to `_arguments` and calls its subcommands'
 * functions.
 */
import { type CompletedCommand, type CompletedOption, flattened, ownName, type Values } from "./tree.ts";

export function zshCompletion(tree: CompletedCommand): string {
  return `#compdef tslirp
# zsh completion for tslirp, printed by: tslirp completion zsh
${flattened(tree).map(commandFunction).join("\n")}
# As a file _tslirp in a folder of $fpath this is the function's body; sourced, it is where the function is registered.
if [[ $funcstack[1] == _tslirp ]]; then
  _tslirp "$@"
else
  compdef _tslirp tslirp
fi
`;
}

function commandFunction(command: CompletedCommand): string {
  const options = command.options.flatMap(specifications);
  if (command.commands.length === 0) {
    const rest = command.runs
      ? ["'(-)1:command: _command_names -e'", "'*::arguments: _normal'"]
      : [`'*:argument:${action(command.values)}'`];
    return `${functionName(command)}() {
  _arguments -S : \\
    ${[...options, ...rest].join(" \\\n    ")}
}`;
  }
  const described = command.commands.map((each) => quoted(`${ownName(each)}:${each.help}`));
  const cases = command.commands.map((each) => `    ${ownName(each)}) ${functionName(each)} ;;`);
  return `${functionName(command)}() {
  local curcontext=$curcontext state line
  typeset -A opt_args
  _arguments -C -S -A '-*' : \\
    ${[...options, "'1: :->command'", "'*:: :->rest'"].join(" \\\n    ")}
  case $state in
  command)
    local -a commands=(
      ${described.join("\n      ")}
    )
    _describe -t commands command commands
    ;;
  rest)
    case $words[1] in
${cases.join("\n")}
    esac
    ;;
  esac
}`;
}

function functionName({ path }: CompletedCommand): string {
  return `_tslirp${path === "" ? "" : `_${path.replaceAll(/[ -]/g, "_")}`}`;
}

function specifications({ names, values, placeholder, repeatable, help }: CompletedOption): readonly string[] {
  const others = repeatable || names.length === 1 ? "" : `(${names.join(" ")})`;
  const words = help.replaceAll(/[[\]\\]/g, "\\$&");
  const value = values === null ? "" : `:${placeholder.replaceAll(/[:\\]/g, "\\$&")}:${action(values)}`;
  return names.map((name) => quoted(`${others}${repeatable ? "*" : ""}${name}[${words}]${value}`));
}

function action(values: Values): string {
  if (values === "file") return "_files";
  if (values === "folder") return "_files -/";
  return values === "free" ? " " : `(${values.join(" ")})`;
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
