/**
 * Starts the namespaces of `tslirp run` before the rest of the program is loaded, which takes longer than all that is
 * set up in the namespaces. `cli/main` calls this first, so nothing else of the program is imported here.
 *
 * Options are not read yet. But what follows `--` is the command, unless a word before is its first: then
 * `takeEarly` is asked for another command, ends these namespaces, and `run` makes others. The namespaces get nothing
 * else of our arguments, which may contain passwords: the command can read the arguments of process 1. Whatever goes
 * wrong here, `run` tries anew and reports it.
 */
import { sharedRegistry } from "../../host/port-registry.ts";
import { CommandNamespace } from "./namespace.ts";

/** Node's mark for bytes that are not UTF-8; `other-bytes` decides what becomes of them. */
const REPLACED = "\u{fffd}";

let early: { readonly namespace: CommandNamespace; readonly command: readonly string[] } | null = null;

/** Starts namespaces for the command in `args`, the arguments behind `run`. */
export function beginEarly(args: readonly string[]): void {
  const at = args.indexOf("--");
  const command = args.slice(at + 1);
  if (process.platform !== "linux" || at < 0 || command.length === 0) return;
  const { env } = process;
  if ([...command, ...Object.entries(env).flat()].some((text) => text?.includes(REPLACED))) return;
  try {
    early = { namespace: new CommandNamespace(command, registryFolders(), env), command };
  } catch {
    // This process may start no other (Node's permission model).
  }
}

/** Lets the namespaces set up what needs no options, if they are there by now. */
export function advanceEarly(): void {
  early?.namespace.advance();
}

/** The namespaces that were started for `command`; null for none. */
export function takeEarly(command: readonly string[]): CommandNamespace | null {
  if (early === null) return null;
  const { namespace, command: meant } = early;
  early = null;
  if (meant.length === command.length && meant.every((word, i) => word === command[i])) {
    namespace.advance();
    return namespace;
  }
  void namespace.kill();
  return null;
}

/** Ends namespaces that nobody has taken. Resolves when nothing of them is left. */
export async function endEarly(): Promise<void> {
  await early?.namespace.kill();
  early = null;
}

/** Folders that the command sees empty: those in which processes of this user tell each other of their ports. */
export function registryFolders(): string[] {
  return sharedRegistry().folders();
}
