/** The man page, written from the commands and the option descriptions. */
import { readFileSync } from "node:fs";
import { type CompletedCommand, type CompletedOption, flattened } from "../../src/cli/completion/tree.ts";
import { optionsOf } from "../../src/control/options/table.ts";
import { version } from "../../src/control/version.ts";

/** The text of `docs/tslirp.1` for the commands of `tree`. */
export function manPage(tree: CompletedCommand): string {
  const own = flattened(tree).filter(({ path }) => path !== "");
  const [serve, qemu, run] = ["serve", "qemu", "run"].map((name) => own.find(({ path }) => path === name)!);
  const shared = serve!.options.filter(({ names }) => qemu!.options.some((each) => each.names[0] === names[0]));
  const only = (command: CompletedCommand): readonly CompletedOption[] =>
    command.options.filter(({ names }) => !shared.some((each) => each.names[0] === names[0]));
  const rest = own.filter((command) => ![serve, qemu, run].includes(command));
  return `${[
    '.\\" Written by `npm run options` from src/cli and src/control/options.',
    `.TH TSLIRP 1 "${released()}" "tslirp ${version()}" "User Commands"`,
    ".SH NAME",
    "tslirp \\- a user\\-mode network for virtual machines, containers and programs",
    ".SH SYNOPSIS",
    ...synopsis(["tslirp", "serve"], "[\\fIoptions\\fR]"),
    ".br",
    ...synopsis(["tslirp", "qemu"], "[\\fIoptions\\fR] \\-\\- qemu\\-system\\-x86_64 [\\fIarguments\\fR]"),
    ".br",
    ...synopsis(["tslirp", "run"], "[\\fIoptions\\fR] \\-\\- \\fIcommand\\fR [\\fIarguments\\fR]"),
    ".br",
    ...synopsis(["tslirp", "ctl"], "[\\fIoptions\\fR] \\fIcommand\\fR"),
    ".SH DESCRIPTION",
    "tslirp gives a guest DHCP, DNS and the host's network without root, as QEMU's \\fB\\-netdev user\\fR does.",
    "The guest is a virtual machine, a command in namespaces of its own, or an emulator.",
    "Without a command \\fBtslirp\\fR means \\fBtslirp serve\\fR.",
    ".SH OPTIONS",
    "These options are those of \\fBserve\\fR, \\fBqemu\\fR and \\fBrun\\fR. Defaults stand in brackets.",
    ...shared.flatMap(optionLines),
    ...[serve!, qemu!, run!].flatMap((command) => [
      `.SS Only with tslirp ${command.path}`,
      roff(sentence(command.help)),
      ...only(command).flatMap(optionLines),
    ]),
    ".SH OTHER COMMANDS",
    ...rest.flatMap((command) => [
      `.SS tslirp ${roff(command.path)}`,
      roff(sentence(command.help)),
      ...command.options.flatMap(optionLines),
    ]),
    ".SH EXIT STATUS",
    ...item("0", "stopped as asked"),
    ...item("1", "something failed at run time"),
    ...item("2", "bad arguments; one line names the option, what was given and what would be right"),
    ".PP",
    "\\fBtslirp qemu\\fR and \\fBtslirp run\\fR end with the exit status of what they have started.",
    ".SH ENVIRONMENT",
    ...item("TSLIRP_API", "the address that \\fBtslirp ctl\\fR speaks to", true),
    ...item("TSLIRP_API_TOKEN", "its token, for an address of TCP", true),
    ...item(
      "XDG_RUNTIME_DIR",
      "the user's runtime folder, where sockets without a path and the API's tokens are",
      true,
    ),
    ".SH EXAMPLES",
    ...example(
      "A guest under QEMU, whose port 22 is the host's port 2222:",
      ["tslirp qemu -- qemu-system-x86_64 -m 1G disk.img -nic user,hostfwd=tcp::2222-:22"],
      [],
    ),
    ...example("A command that reaches one site and nothing else:", [
      "tslirp run --allow 'tcp *.debian.org:443' --default deny -- curl -sI https://www.debian.org",
    ]),
    ...example("Completion in bash:", ["source <(tslirp completion bash)"]),
    ".SH SEE ALSO",
    ".BR qemu\\-system\\-x86_64 (1),",
    ".BR network_namespaces (7),",
    ".BR wireshark (1)",
  ].join("\n")}\n`;
}

function synopsis(words: readonly string[], rest: string): readonly string[] {
  return [`\\fB${words.join(" ")}\\fR ${rest}`];
}

function optionLines(option: CompletedOption): readonly string[] {
  if (option.names[0] === "--help") return [];
  const names = [...option.names].reverse().map((name) => `\\fB${roff(name)}\\fR`);
  const value = option.placeholder === "" ? "" : ` \\fI${roff(option.placeholder)}\\fR`;
  const described = optionsOf("serve")
    .concat(optionsOf("qemu"), optionsOf("run"))
    .find(({ flag }) => flag.includes(`${option.names[0]} `) || flag.endsWith(option.names[0]!));
  const more = described?.more === undefined ? "" : ` ${plain(described.more)}`;
  const often = option.repeatable ? " May be given several times." : "";
  return [".TP", `${names.join(", ")}${value}`, roff(`${sentence(option.help)}${more}${often}`)];
}

function item(name: string, text: string, bold = false): readonly string[] {
  return [".TP", bold ? `\\fB${roff(name)}\\fR` : name, text];
}

function example(words: string, lines: readonly string[], before: readonly string[] = [".PP"]): readonly string[] {
  return [...before, words, ".PP", ".RS 4", ".nf", ...lines.map(roff), ".fi", ".RE"];
}

/** Markdown's quotes and links, without the marks. */
function plain(markdown: string): string {
  return markdown.replaceAll(/\[([^\]]+)\]\([^)]+\)/g, "$1").replaceAll("`", "");
}

function sentence(text: string): string {
  return `${text[0]!.toUpperCase()}${text.slice(1)}.`;
}

/** Text that roff prints as it stands: what begins a request, an escape or a hyphen that could break is none. */
function roff(text: string): string {
  return text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replaceAll("…", "...")
    .replace(/^([.'])/, "\\&$1");
}

/** The day of the latest release, as CHANGELOG.md has it. */
function released(): string {
  return /^## \[\d.*\] - (\S+)$/m.exec(readFileSync("CHANGELOG.md", "utf8"))![1]!;
}
