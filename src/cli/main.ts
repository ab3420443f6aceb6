#!/usr/bin/env node
/** The command line. Exit status: 0 stopped as asked, 1 something failed at run time, 2 bad arguments (one line says which). */
import { Command, CommanderError, Option } from "commander";
import { ConfigError } from "../control/errors.ts";
import { LOG_LEVELS } from "../control/log.ts";
import { type NetworkArguments, readServeArguments, type ServeArguments } from "./arguments.ts";
import { ctlCommand } from "./ctl.ts";
import { say } from "./output.ts";
import { serve } from "./serve.ts";
import { version } from "./version.ts";

const BAD_ARGUMENTS = 2;

/** Runs what `args` (without node and script) ask for and resolves with the exit status. */
async function main(args: readonly string[]): Promise<number> {
  let status = 0;
  const program = new Command("tslirp")
    .description("A user-mode network for virtual machines, without root.")
    .version(version(), "-V, --version")
    .helpCommand(false);
  const serveCommand = serveOptions(new Command("serve"))
    .description("wait for guests and give them a network (the default command)")
    .allowExcessArguments()
    .action(async (given: ServeArguments) => {
      const [word] = serveCommand.args;
      if (word !== undefined)
        throw new ConfigError("serve", word, "expected options only, or the command serve, qemu or demo");
      await serve(readServeArguments(given));
    });
  const qemuCommand = networkOptions(new Command("qemu"))
    .description("start QEMU with us in place of its -netdev user; ends with it, and with its exit status")
    .usage("[options] -- qemu-system-x86_64 [arguments]")
    .argument("[command...]", "QEMU and its arguments, as they would be without tslirp")
    .passThroughOptions()
    .action(async (command: readonly string[], given: NetworkArguments) => {
      const { qemu } = await import("./qemu.ts");
      status = await qemu(given, command);
    });
  const demoCommand = new Command("demo")
    .description("show it working in seconds, and what was proven")
    .action(async () => {
      const { demo } = await import("./demo.ts");
      status = await demo();
    });
  const workerCommand = new Command("worker").action(async () => {
    const { work } = await import("./workers/worker.ts");
    status = await work();
  });
  program.enablePositionalOptions();
  program.addCommand(serveCommand, { isDefault: true }).addCommand(qemuCommand);
  program.addCommand(demoCommand).addCommand(ctlCommand());
  program.addCommand(workerCommand, { hidden: true });
  throwErrors(program);
  program.addHelpText("after", () => `\nOptions of serve:\n${optionsHelp(serveCommand)}`);
  try {
    await program.parseAsync([...args], { from: "user" });
    return status;
  } catch (error) {
    return failed(error);
  }
}

/** Errors are thrown, not printed: `complain` prints them. */
function throwErrors(command: Command): void {
  command.exitOverride().configureOutput({ outputError: () => {}, writeOut: say });
  command.commands.forEach(throwErrors);
}

/** The list of a command's options, as its own help shows it. */
function optionsHelp(command: Command): string {
  const help = command.helpInformation();
  return help.slice(help.indexOf("\n  ", help.indexOf("Options:")) + 1);
}

function failed(error: unknown): number {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return 0;
    return complain(error.message.replace(/^error: /, ""), BAD_ARGUMENTS);
  }
  if (error instanceof ConfigError) return complain(error.message, BAD_ARGUMENTS);
  return complain(error instanceof Error ? error.message : String(error), 1);
}

/** Exactly one line, whatever the message. */
function complain(message: string, status: number): number {
  process.stderr.write(`tslirp: ${message.replace(/\s*[\r\n]+\s*/g, " ")}\n`);
  return status;
}

function repeatable(flags: string, description: string): Option {
  const list = (value: string, before: readonly string[] = []): readonly string[] => [...before, value];
  return new Option(flags, `${description} (repeatable)`).argParser(list);
}

/** `--allow`, `--deny`, `--limit` and `--default` share one list, since the first rule that matches counts. */
function ruleOptions(command: Command): Command {
  const lines: string[] = [];
  const line = (flags: string, action: string, description: string): Option =>
    new Option(flags, description).argParser((value: string) => {
      lines.push(`${action} ${value}`);
      return lines;
    });
  return command
    .addOption(
      line("--allow <rule>", "allow", "what guests may begin: tcp *.debian.org:80,443; first match wins (repeatable)"),
    )
    .addOption(line("--deny <rule>", "deny", "what they may not (repeatable)"))
    .addOption(line("--limit <rule>", "limit", "what each guest may use: guest 10.0.2.15 rate=10mbit (repeatable)"))
    .addOption(line("--default <allow|deny>", "default", "what becomes of what no rule matches"))
    .option("--rules <file>", "more of them, one a line; read again on SIGHUP");
}

function serveOptions(command: Command): Command {
  command
    .addOption(
      repeatable(
        "--listen <address>",
        "unix:PATH, tcp:HOST:PORT or udp:HOST:PORT; default: a UNIX socket in the user's runtime folder",
      ),
    )
    .addOption(repeatable("--connect <address>", "dial a QEMU that listens (server=on), and again when it comes back"))
    .option("--fd <number>", "an inherited, connected socket")
    .option("--user <name[:group]>", "give up root for this user once all is open that only root may open")
    .option(
      "--workers <number>",
      "several guests use several processors: so many processes (1 to 64, or auto), each with a network of its own",
    )
    .option("--netdev <string>", "QEMU's own option string: user,id=n0,net=10.0.2.0/24,hostfwd=…");
  return networkOptions(command);
}

/** What a network is like and how much is told, for `serve` and `qemu`. */
function networkOptions(command: Command): Command {
  return ruleOptions(command)
    .option("--net <cidr>", "the guests' network (10.0.2.0/24)")
    .option("--host <ip>", "the gateway's address (10.0.2.2)")
    .option("--dns <ip>", "the DNS server's address (10.0.2.3)")
    .option("--dhcpstart <ip>", "the first of 16 leases (10.0.2.15)")
    .option("--ipv4 <on|off>", "whether guests have IPv4 (on)")
    .option("--ipv6 <on|off>", "whether guests have IPv6 (on)")
    .option("--ipv6-net <cidr>", "the guests' IPv6 network (fec0::/64)")
    .option("--ipv6-host <ip>", "the gateway's IPv6 address (fec0::2)")
    .option("--ipv6-dns <ip>", "the DNS server's IPv6 address (fec0::3)")
    .option("--hostname <name>", "the guest's host name")
    .option("--domainname <name>", "the guest's domain")
    .addOption(repeatable("--dnssearch <domain>", "a domain to search"))
    .option(
      "--mode <mode>",
      "shared: guests reach all; host-only: each other and the host; isolated: each other; bridged: the uplink's segment (shared)",
    )
    .addOption(
      repeatable(
        "--uplink <url>",
        "a segment of other machines that guests share: vxlan://IP[:PORT][,IP…]?vni=N[&local=IP[:PORT]][&mtu=N]",
      ),
    )
    .option("--dhcp <on|off>", "whether we give addresses (on; bridged: off, and on makes us the segment's gateway)")
    .addOption(repeatable("--lease <mac=ip>", "the address that a guest always gets: 52:54:00:12:34:56=10.0.2.20"))
    .option("--isolate", "guests do not reach one another")
    .option("--restrict [on|off]", "guests reach neither the host nor the world, forwards still work")
    .option("--bootfile <file>", "the file a guest boots from")
    .option("--tftp <folder>", "a folder whose files guests may read by TFTP from the gateway")
    .option("--tftp-server-name <name>", "where the boot file is")
    .option("--smb <folder>", "a folder that guests share over SMB; needs Samba")
    .option("--smbserver <ip>", "where guests find that (10.0.2.4)")
    .addOption(repeatable("--guestfwd <rule>", "[tcp]:server:port-cmd:COMMAND, -tcp:HOST:PORT or -unix:PATH"))
    .addOption(
      repeatable(
        "--hostfwd <rule>",
        "[tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport or unix:PATH-[guestaddr]:port",
      ),
    )
    .addOption(
      repeatable("-p, --publish <rule>", "[GUEST:][HOST:]PORT[-PORT]:GUESTPORT[-PORT][/udp]; HOST is 127.0.0.1"),
    )
    .option("--mtu <bytes>", "offered to guests, 1500 to 65520 (65520; 1500 when a cable is UDP)")
    .addOption(repeatable("--dns-upstream <ip[:port]>", "a resolver to forward to; default: the host's own"))
    .option("--dns-rebind <allow|refuse>", "whether names may lead guests to private addresses (allow)")
    .option("--host-loopback <on|off>", "whether the gateway's addresses reach the host's 127.0.0.1 and ::1 (on)")
    .option("--outbound-addr <ip>", "source address of outgoing sockets")
    .option("--busy-poll <microseconds>", "stay awake so long after a packet when more is likely (100; 0: never)")
    .addOption(repeatable("--max <name=number>", "a cap: tcpFlowsPerGuest=1000; docs/limits.md lists them"))
    .addOption(
      repeatable(
        "--proxy <rule>",
        "[MATCH=]socks5://HOST[:PORT], http://… or direct: by which proxy TCP leaves; MATCH is a domain (*.example.com), an address or a network, with :PORT or not",
      ),
    )
    .option("--api <address>", "control API: unix:PATH or tcp:127.0.0.1:PORT (off); see tslirp ctl")
    .option("--socks <address>", "SOCKS5 server to the guests: unix:PATH or tcp:127.0.0.1:PORT (off)")
    .option("--capture <file>", "write all that passes to a pcapng file, readable by Wireshark while it grows")
    .option("--capture-filter <words>", "which frames: tcp port 80 and host 10.0.2.15 (all)")
    .option("--capture-snaplen <bytes>", "bytes kept of each frame (all)")
    .option("--capture-rotate-size <megabytes>", "a new file after so many megabytes")
    .option("--capture-rotate-time <seconds>", "a new file after so many seconds")
    .option("--capture-keep <files>", "how many files are kept when they rotate (all)")
    .addOption(
      repeatable(
        "--impair <rule>",
        "a bad line: delay=50ms,jitter=5ms,loss=1%,rate=10mbit,direction=down,filter=WORDS",
      ),
    )
    .option("--impair-seed <number>", "makes impairment repeatable")
    .option("--log-level <level>", `${LOG_LEVELS.join(", ")} (info; qemu: silent)`)
    .option("--log-json", "logs as JSON");
}

process.exit(await main(process.argv.slice(2)));
