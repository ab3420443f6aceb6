/** `tslirp completion SHELL`: prints a completion script for a shell, made from the commands themselves. */
import { Argument, Command } from "commander";
import { ConfigError } from "../control/errors.ts";
import { bashCompletion } from "./completion/bash.ts";
import { fishCompletion } from "./completion/fish.ts";
import { completionTree } from "./completion/tree.ts";
import { zshCompletion } from "./completion/zsh.ts";
import { say } from "./output.ts";

const SHELLS = { bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion };

/** The command `completion`, for the commands of `program`. */
export function completionCommand(program: Command): Command {
  return new Command("completion")
    .description("print a shell's completion script: source <(tslirp completion bash)")
    .addArgument(new Argument("<shell>", "the shell").choices(Object.keys(SHELLS)).argParser(shellOf))
    .action((shell: keyof typeof SHELLS) => say(SHELLS[shell](completionTree(program))));
}

function shellOf(text: string): string {
  if (!Object.hasOwn(SHELLS, text)) throw new ConfigError("completion", text, "expected bash, zsh or fish");
  return text;
}
