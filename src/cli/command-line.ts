/**
 * The command line. Exit status: 0 when stopped as asked, 1 when something failed at run time, 2 for wrong arguments
 * (one line says which).
 */
import { type Command, CommanderError } from "commander";
import { ConfigError } from "../control/errors.ts";
import { standardError } from "../control/standard-error.ts";
import { refuseOtherBytes } from "./other-bytes.ts";
import { said, say } from "./output.ts";
import { createProgram } from "./program.ts";

const BAD_ARGUMENTS = 2;

/**
 * Runs the command in `args` (without node and script). Resolves with the exit status once all output has been written.
 */
export async function main(args: readonly string[]): Promise<number> {
  let status = await run(args);
  try {
    await said();
  } catch (error) {
    status = failed(error);
  }
  await standardError.settled();
  return status;
}

async function run(args: readonly string[]): Promise<number> {
  let status = 0;
  const program = createProgram((ended) => {
    status = ended;
  });
  throwErrors(program);
  try {
    refuseOtherBytes(args);
    await program.parseAsync([...args], { from: "user" });
    // A command may have set its exit status this way.
    return status || Number(process.exitCode ?? 0);
  } catch (error) {
    return failed(error);
  }
}

/** Makes commander throw errors; `complain` prints them. The error for a missing or surplus argument names the help. */
function throwErrors(command: Command): void {
  command.exitOverride((error) => {
    if (/^commander\.(?:missingArgument|excessArguments)$/.test(error.code))
      error.message = `${error.message.replace(/\.$/, "")} (see ${nameOf(command)} --help)`;
    throw error;
  });
  command.configureOutput({ outputError: () => {}, writeOut: say });
  command.commands.forEach(throwErrors);
}

/** A command's name with those of the commands above it: "tslirp ctl flows". */
function nameOf(command: Command): string {
  return command.parent === null ? command.name() : `${nameOf(command.parent)} ${command.name()}`;
}

function failed(error: unknown): number {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return 0;
    return complain(error.message.replace(/^error: /, ""), BAD_ARGUMENTS);
  }
  if (error instanceof ConfigError) return complain(error.message, BAD_ARGUMENTS);
  return complain(error instanceof Error ? error.message : String(error), 1);
}

/** Prints exactly one line, whatever the message. */
function complain(message: string, status: number): number {
  standardError.write(`tslirp: ${message.replace(/\s*[\r\n]+\s*/g, " ")}\n`);
  return status;
}
