/**
 * Completion for bash: one function that follows the words before the cursor to their command, and then offers the
 * words that this command takes.
 */
import { type CompletedCommand, flattened, ownName, type Values } from "./tree.ts";

export function bashCompletion(tree: CompletedCommand): string {
  const all = flattened(tree);
  const valued = all.flatMap(({ path, options }) =>
    options.filter(({ values }) => values !== null).flatMap(({ names }) => names.map((name) => `"${path} ${name}"`)),
  );
  const steps = all.filter(({ path }) => path !== "").map(({ path }) => `"${parent(path)} ${lastWord(path)}"`);
  const choices = all.flatMap(({ path, options }) =>
    options
      .filter(({ values }) => values !== null && values !== "free")
      .map(({ names, values }) => {
        const patterns = names.map((name) => `"${path} ${name}"`).join(" | ");
        return `    ${patterns}) ${offer(values!)}; return ;;`;
      }),
  );
  const lists = all.map((command) => `    "${command.path}") ${contents(command)} ;;`);
  return `# bash completion for tslirp, printed by: tslirp completion bash
_tslirp() {
  local cur=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]} at="" i=1 word
  COMPREPLY=()
  while ((i < COMP_CWORD)); do
    word=\${COMP_WORDS[i]}
    if [[ $word == -- ]]; then
      _tslirp_behind $((i + 1))
      return
    fi
    case "$at $word" in
    ${valued.join(" | ")}) ((++i)) ;;
    ${steps.join(" | ")}) at=\${at:+$at }$word ;;
    esac
    ((++i))
  done
  # bash takes a colon for a word of its own: what follows one is a path, as in unix:/tmp/net.sock.
  if [[ $previous == : || $cur == : ]]; then
    [[ $cur == : ]] && cur=""
    COMPREPLY=($(compgen -f -- "$cur"))
    return
  fi
  case "$at $previous" in
${choices.join("\n")}
    ${valued.join(" | ")}) return ;;
  esac
  local options="" words=""
  case "$at" in
${lists.join("\n")}
  esac
  if [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$cur"))
  elif [[ $words == file ]]; then
    COMPREPLY=($(compgen -f -- "$cur"))
  else
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
  fi
}

# Behind -- another program's command line begins: its own completion serves it where bash-completion is loaded.
_tslirp_behind() {
  if declare -F _command_offset >/dev/null; then
    _command_offset "$1"
  elif ((COMP_CWORD == $1)); then
    COMPREPLY=($(compgen -c -- "$cur"))
  else
    COMPREPLY=($(compgen -f -- "$cur"))
  fi
}
complete -o filenames -F _tslirp tslirp
`;
}

function offer(values: Values): string {
  if (values === "file") return 'COMPREPLY=($(compgen -f -- "$cur"))';
  if (values === "folder") return 'COMPREPLY=($(compgen -d -- "$cur"))';
  return `COMPREPLY=($(compgen -W "${(values as readonly string[]).join(" ")}" -- "$cur"))`;
}

function contents({ options, commands, values }: CompletedCommand): string {
  const names = options.flatMap((option) => option.names).join(" ");
  const words = typeof values === "string" ? (values === "file" ? ["file"] : commands.map(ownName)) : values;
  return `options="${names}" words="${words.join(" ")}"`;
}

function parent(path: string): string {
  return path.includes(" ") ? path.slice(0, path.lastIndexOf(" ")) : "";
}

function lastWord(path: string): string {
  return path.slice(path.lastIndexOf(" ") + 1);
}
