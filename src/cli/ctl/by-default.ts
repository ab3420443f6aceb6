/** The command of a group that runs when none is named. */
import type { Command } from "commander";
import { ConfigError } from "../../control/errors.ts";

/** Adds it. A word that is none of the group's commands reaches it as an argument; its error lists the commands. */
export function byDefault(group: Command, name: string): Command {
  const command = group.command(name, { isDefault: true }).allowExcessArguments();
  command.hook("preAction", () => {
    const [word] = command.args;
    const names = group.commands.map((each) => each.name()).join(", ");
    if (word !== undefined) throw new ConfigError(`ctl ${group.name()}`, word, `expected one of ${names}`);
  });
  return command;
}
