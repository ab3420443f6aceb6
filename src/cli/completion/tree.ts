/** The commands and their options as a tree, for completion scripts and the man page. */
import type { Argument, Command, Option } from "commander";
import { LOG_LEVELS } from "../../control/log-levels.ts";
import { MODES } from "../../control/options/modes.ts";

/** The values of an option or argument: one of these words, the name of a file or folder, or any text. */
export type Values = readonly string[] | "file" | "folder" | "free";

export interface CompletedOption {
  /** The names of the option: `--publish`, and `-p` if it has a short one. */
  readonly names: readonly string[];
  /** Null for an option without a value. */
  readonly values: Values | null;
  /** The name of the value: `rule`. */
  readonly placeholder: string;
  readonly repeatable: boolean;
  readonly help: string;
}

export interface CompletedCommand {
  /**
   * The words of the command without `tslirp`: `ctl publish add`. Empty for tslirp itself, which takes `serve`'s
   * options.
   */
  readonly path: string;
  readonly help: string;
  readonly options: readonly CompletedOption[];
  readonly commands: readonly CompletedCommand[];
  /** The values of the first argument. */
  readonly values: Values;
  /** Whether another program's command line follows behind `--`. */
  readonly runs: boolean;
}

const CHOICE = /^(?:on|off|allow|deny|refuse)(?:\|(?:on|off|allow|deny|refuse))+$/;
const FILE = /^(?:file|path)/;

/** The tree of all commands, with tslirp itself as its root. */
export function completionTree(program: Command): CompletedCommand {
  return commandOf(program, "");
}

/** `tree` and all commands below it, each before its own subcommands. */
export function flattened(tree: CompletedCommand): readonly CompletedCommand[] {
  return [tree, ...tree.commands.flatMap(flattened)];
}

/** The last word of a command's path. */
export function ownName({ path }: CompletedCommand): string {
  return path.slice(path.lastIndexOf(" ") + 1);
}

function commandOf(command: Command, path: string): CompletedCommand {
  const help = command.createHelp();
  const commands = help.visibleCommands(command).filter((each) => each.name() !== "help");
  const fallback = path === "" ? command.commands.find((each) => each.name() === "serve") : undefined;
  const options = [...help.visibleOptions(command), ...(fallback?.options ?? [])];
  const [argument] = command.registeredArguments;
  return {
    path,
    help: command.description(),
    options: options.map(optionOf),
    commands: commands.map((each) => commandOf(each, `${path} ${each.name()}`.trim())),
    values: argument === undefined ? "free" : argumentValues(argument),
    runs: argument?.name() === "command",
  };
}

function optionOf(option: Option): CompletedOption {
  const placeholder = /[<[](.+)[>\]]$/.exec(option.flags)?.[1] ?? "";
  return {
    names: [option.long, option.short].filter((name): name is string => typeof name === "string"),
    values: placeholder === "" ? null : valuesOf(placeholder),
    placeholder,
    repeatable: option.description.endsWith("(repeatable)"),
    help: option.description.replace(/ \(repeatable\)$/, ""),
  };
}

function valuesOf(placeholder: string): Values {
  if (CHOICE.test(placeholder)) return placeholder.split("|");
  if (placeholder === "level") return LOG_LEVELS;
  if (placeholder === "mode") return MODES;
  if (placeholder === "folder") return "folder";
  return FILE.test(placeholder) ? "file" : "free";
}

function argumentValues(argument: Argument): Values {
  return argument.argChoices ?? (FILE.test(argument.name()) ? "file" : "free");
}
