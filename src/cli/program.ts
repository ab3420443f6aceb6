/** The commands and their options, for commander. Completion scripts and the man page are made from them, too. */
import { Command, InvalidArgumentError } from "commander";
import { nearest } from "../control/nearest.ts";
import { version } from "../control/version.ts";
import type { QemuArguments, ServeArguments } from "./argument-types.ts";
import { completionCommand } from "./completion.ts";
import { ctlCommand } from "./ctl.ts";
import { letSignalsGo } from "./early-signals.ts";
import { addOptions } from "./flags.ts";
import type { ReplayArguments } from "./replay.ts";
import type { RunArguments } from "./run.ts";
import type { Slirp4netnsArguments } from "./slirp4netns.ts";

/** Commands that handle signals themselves. */
const LISTENING: ReadonlySet<string> = new Set(["serve", "qemu", "run", "demo", "slirp4netns", "worker"]);

/** All commands. A command that ends with a status of its own passes it to `ended`. */
export function createProgram(ended: (status: number) => void): Command {
  const program = new Command("tslirp")
    .description("A user-mode network for virtual machines, without root.")
    .version(version(), "-V, --version")
    .helpCommand(false);
  const serveCommand = addOptions(new Command("serve"), "serve")
    .description("serve a network to the guests that attach (the default command)")
    .allowExcessArguments()
    .action(async (given: ServeArguments) => {
      const [word] = serveCommand.args;
      if (word !== undefined) throw new InvalidArgumentError(`"${word}" is no command; ${commandNear(word, program)}`);
      const [{ readServeArguments }, { serve }] = await Promise.all([import("./arguments.ts"), import("./serve.ts")]);
      await serve(readServeArguments(given));
    });
  const qemuCommand = addOptions(new Command("qemu"), "qemu")
    .description("start QEMU with tslirp in place of its -netdev user; ends when QEMU does, with its exit status")
    .usage("[options] -- qemu-system-x86_64 [arguments]")
    .argument("[command...]", "QEMU and its arguments, as they would be without tslirp")
    .passThroughOptions()
    .action(async (command: readonly string[], given: QemuArguments) => {
      const { qemu } = await import("./qemu.ts");
      ended(await qemu(given, command));
    });
  const runCommand = addOptions(new Command("run"), "run")
    .description("run a command in namespaces of its own, with this network as the only way out; needs no root")
    .usage("[options] -- COMMAND [arguments]")
    .argument("[command...]", "the command to run, and its arguments")
    .passThroughOptions()
    .action(async (command: readonly string[], given: RunArguments) => {
      const { run } = await import("./run.ts");
      ended(await run(given, command));
    });
  const slirpCommand = new Command("slirp4netns")
    .description("serve a network namespace as slirp4netns does, for programs that start that (rootlesskit, podman)")
    .argument("<pid|path>", "the network namespace: a process's, or one at a path")
    .argument("[tap]", "the TAP's name (tap0)")
    .option("-c, --configure", "bring the interface up, with an address and a default route")
    .option("-e, --exit-fd <fd>", "end when the other end of this descriptor is closed")
    .option("-r, --ready-fd <fd>", "write 1 to this descriptor when the network is ready")
    .option("-m, --mtu <bytes>", "the MTU, 1500 to 65520 (1500)")
    .option("-6, --enable-ipv6", "serve IPv6, too")
    .option("-a, --api-socket <path>", "a UNIX socket to add and remove forwards by")
    .option("--cidr <cidr>", "the guest's network (10.0.2.0/24)")
    .option("--disable-host-loopback", "the gateway does not lead to the host's 127.0.0.1")
    .option("--netns-type <type>", "what the first argument is: path or pid (pid)")
    .option("--userns-path <path>", "the user namespace that owns the network namespace at a path")
    .option("--outbound-addr <ip>", "the source address of outgoing sockets")
    .option("--disable-dns", "accepted, without effect")
    .option("--macaddress <mac>", "the TAP's address, with --configure")
    .option("--target-type <type>", "only netns")
    .option("--enable-sandbox", "accepted, without effect")
    .option("--enable-seccomp", "accepted, without effect")
    .action(async (target: string, tap: string | undefined, given: Slirp4netnsArguments) => {
      const { slirp4netns } = await import("./slirp4netns.ts");
      ended(await slirp4netns(given, target, tap));
    });
  const demoCommand = new Command("demo")
    .description("show in seconds that it works here, and what was proven")
    .action(async () => {
      const { demo } = await import("./demo.ts");
      ended(await demo());
    });
  const replayCommand = new Command("replay")
    .description("run a recording (--record) again, and say where the network behaves differently")
    .argument("<file>", "the recording")
    .option(
      "--until <entry|time>",
      "stop before the first input that is this entry (1200) or later, or after this time (2.5s)",
    )
    .option("--pcap <file>", "write the frames to a file, for Wireshark")
    .option("--print", "print the frames, one a line")
    .option("--inspect", "print flows and leases where the replay stopped")
    .option("--minimise", "write the smallest recording that still shows the difference or crash")
    .option("--anonymise", "write the same run without payload, and with other addresses and names")
    .option("--output <file>", "where --minimise and --anonymise write it (FILE.min, FILE.anon)")
    .action(async (file: string, given: ReplayArguments) => {
      const { replayCommand: replay } = await import("./replay.ts");
      ended(await replay(file, given));
    });
  const workerCommand = new Command("worker").action(async () => {
    const { work } = await import("./workers/worker.ts");
    ended(await work());
  });
  program.enablePositionalOptions();
  program.addCommand(serveCommand, { isDefault: true }).addCommand(qemuCommand).addCommand(runCommand);
  program.addCommand(demoCommand).addCommand(replayCommand).addCommand(ctlCommand());
  program.addCommand(slirpCommand).addCommand(completionCommand(program)).addCommand(workerCommand, { hidden: true });
  for (const command of program.commands) if (!LISTENING.has(command.name())) command.hook("preAction", letSignalsGo);
  for (const command of program.commands) takeNoOptionsForValues(command);
  program.addHelpText("after", () => `\nOptions of serve:\n${optionsHelp(serveCommand)}`);
  return program;
}

/** The end of an error about a word that is no command: the commands, or the nearest one. */
function commandNear(word: string, program: Command): string {
  const shown = program.createHelp().visibleCommands(program);
  const near = nearest(
    word,
    shown.map((command) => command.name()),
  );
  return near === null ? "tslirp --help lists them" : `did you mean ${near}? tslirp --help lists all`;
}

/**
 * Refuses an option as another option's value: if that value were missing, the next option would be lost in silence.
 */
function takeNoOptionsForValues(command: Command): void {
  for (const option of command.options) {
    if (!option.required) continue;
    const { parseArg } = option;
    option.argParser((value: string, previous: unknown) => {
      if (value.startsWith("--"))
        throw new InvalidArgumentError(`Expected a value; ./${value} is a file of that name.`);
      return parseArg === undefined ? value : parseArg(value, previous);
    });
  }
  for (const each of command.commands) takeNoOptionsForValues(each);
}

/** The list of a command's options, as its own help shows it. */
function optionsHelp(command: Command): string {
  const help = command.helpInformation();
  return help.slice(help.indexOf("\n  ", help.indexOf("Options:")) + 1);
}
