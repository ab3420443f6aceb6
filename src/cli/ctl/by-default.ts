/** The command of a group that runs when the user names none. */
import type { Command } from "commander";
import { ConfigError } from "../../control/errors.ts";

/** Adds the command. An unknown word reaches it as an argument, and its error then lists the group's commands. */
export function byDefault(group: Command, name: string): Command {
  const command = group.command(name, { isDefault: true }).allowExcessArguments();
  command.hook("preAction", () => {
    const [word] = command.args;
    const names = group.commands.map((each) => each.name()).join(", ");
    if (word !== undefined) throw new ConfigError(`ctl ${group.name()}`, word, `expected one of ${names}`);
  });
  return command;
}
