/** Makes a command's flags from the descriptions of options. */
import { type Command, Option } from "commander";
import { type Command as CommandName, type Description, isRepeatable } from "../control/options/description.ts";
import { optionsOf } from "../control/options/table.ts";

/** Gives `command` the options of the command called `name`. */
export function addOptions(command: Command, name: CommandName): Command {
  // One list for all flags about rules, since the first rule that matches counts, whichever flag it stands behind.
  const rules: string[] = [];
  for (const option of optionsOf(name)) command.addOption(flag(option, rules));
  return command;
}

function flag({ flag, reading, help, initial }: Description, rules: string[]): Option {
  const often = isRepeatable(reading) ? " (repeatable)" : "";
  const words = `${help}${initial === undefined ? "" : ` (${initial})`}`.replaceAll("`", "") + often;
  if (reading.as === "rule") {
    return new Option(flag, words).argParser((value: string) => {
      rules.push(`${reading.action} ${value}`);
      return rules;
    });
  }
  if (reading.as !== "list" && reading.as !== "texts") return new Option(flag, words);
  const list = (value: string, before: readonly string[] = []): readonly string[] => [...before, value];
  return new Option(flag, words).argParser(list);
}
