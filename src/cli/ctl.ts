/** `tslirp ctl`: controls a running tslirp by its API. Prints tables for people, or with `--json` JSON for scripts. */
import { existsSync } from "node:fs";
import path from "node:path";
import { pipeline } from "node:stream/promises";
import { Command } from "commander";
import { parseApiAddress } from "../api/address.ts";
import { asciiJson } from "../control/ascii-json.ts";
import { dnsCodeName, dnsTypeName } from "../control/dns-words.ts";
import { ConfigError } from "../control/errors.ts";
import { impairmentText, parseImpairment } from "../control/impairment.ts";
import type { ImpairmentOptions } from "../control/options/impairment-options.ts";
import { lintRules } from "../control/rule-lint.ts";
import { byDefault } from "./ctl/by-default.ts";
import { ApiClient } from "./ctl/client.ts";
import { recordCommands } from "./ctl/record.ts";
import { type Cell, table } from "./ctl/table.ts";
import { say } from "./output.ts";
import { readRulesFile, saveRulesFile } from "./rules-file.ts";
import { leftToken, leftTokens, runtimeFolder } from "./runtime-folder.ts";
import { wouldAllow } from "./would-allow.ts";

interface Given {
  readonly api?: string;
  readonly token?: string;
  readonly network?: string | undefined;
  readonly json?: boolean;
}

type Row = Readonly<Record<string, Cell>>;

const FLOWS = [
  "proto",
  "guest",
  "remote",
  "host",
  "state",
  "direction",
  "bytesUp",
  "bytesDown",
  "rtt",
  "retransmissions",
];
const REFUSALS = ["time", "count", "proto", "guest", "process", "host", "types", "remote", "reason", "remedy"];
const ASKS = ["id", "rule", "guest", "cable", "waiting", "millisLeft"];
const LIMITS = ["cable", "rule", "conns", "refused", "dropped"];
const LEASES = ["ip", "mac", "hostname", "cable", "expires"];
const NETWORKS = [
  "id",
  "pid",
  "guests",
  "hostname",
  "ip",
  "mac",
  "cable",
  "tcpFlows",
  "udpFlows",
  "bytesIn",
  "bytesOut",
];
const FORWARDS = ["id", "proto", "host", "guest"];
const CAPTURES = ["id", "file", "packets", "bytes", "dropped"];

/** The command, with its own subcommands. */
export function ctlCommand(): Command {
  const ctl = new Command("ctl")
    .description("control a running tslirp by its API (serve --api)")
    .option(
      "--api <address>",
      "unix:PATH or tcp:127.0.0.1:PORT; default: $TSLIRP_API, or what is found in the user's runtime folder",
    )
    .option(
      "--token <token>",
      "the API's token, for TCP; default: $TSLIRP_API_TOKEN, or the one that serve has left in the runtime folder",
    )
    .option(
      "--network <id>",
      "one of several networks (serve --per-guest, --workers), by an id that ctl networks lists",
    )
    .option("--json", "print the API's own JSON");
  const client = (): ApiClient => connect(ctl.opts<Given>());
  const show = (value: unknown, text: () => string): void => {
    say(ctl.opts<Given>().json === true ? `${JSON.stringify(value, null, 2)}\n` : text());
  };
  const list = async (url: string, columns: readonly string[]): Promise<void> => {
    const rows = await client().get<Row[]>(url);
    show(rows, () => rowsText(rows, columns));
  };
  ctl
    .command("status")
    .description("the state of the network, and its counters")
    .action(async () => {
      const status = await client().get<Record<string, unknown>>("/v1/status");
      show(status, () => statusText(status));
    });
  ctl
    .command("networks")
    .description("the networks, where there are several (serve --per-guest, --workers), with their ids for --network")
    .action(async () => {
      const rows = await connect({ ...ctl.opts<Given>(), network: undefined }).get<Row[]>("/v1/networks");
      show(rows, () => rowsText(rows, NETWORKS));
    });
  ctl
    .command("flows")
    .description("TCP connections, UDP mappings and pings")
    .action(() => list("/v1/flows", FLOWS));
  ctl
    .command("leases")
    .description("the addresses that DHCP has leased")
    .action(() => list("/v1/leases", LEASES));
  ctl
    .command("dns")
    .description("the latest DNS queries of guests")
    .option("--last <count>", "how many to show", "100")
    .action(async ({ last }: { last: string }) => {
      const rows = await client().get<Row[]>(`/v1/dns?last=${encodeURIComponent(last)}`);
      const shown = rows.map((row) => ({ ...row, ...dnsWords(row) }));
      show(rows, () => rowsText(shown, ["time", "name", "qtype", "rcode", "millis"]));
    });
  publishCommands(ctl, client, show, list);
  captureCommands(ctl, client, show, list);
  recordCommands(ctl, client, show);
  ctl
    .command("impair [rules...]")
    .description("show how guests' lines are impaired, or impair them by other rules: delay=50ms,loss=1%")
    .option("--clear", "remove all rules: the lines are good again")
    .action(async (rules: string[], { clear }: { clear?: boolean }) => {
      const change = rules.length > 0 || clear === true;
      const body = { rules: rules.map((rule) => parseImpairment("impair", rule)) };
      const now = change
        ? await client().put<{ rules: ImpairmentOptions[] }>("/v1/impairment", body)
        : await client().get<{ rules: ImpairmentOptions[] }>("/v1/impairment");
      show(now, () => now.rules.map((rule) => `${impairmentText(rule)}\n`).join("") || "none\n");
    });
  const rules = ctl
    .command("rules [rules...]")
    .description('show the rules, or put others in their place: "allow tcp *.debian.org:80" "default deny"')
    .option("--clear", "remove all rules: everything is allowed")
    .action(async (rules: string[], { clear }: { clear?: boolean }) => {
      const change = rules.length > 0 || clear === true;
      const now = change
        ? await client().put<{ rules: string[] }>("/v1/rules", { rules })
        : await client().get<{ rules: string[] }>("/v1/rules");
      show(now, () => now.rules.map((rule) => `${rule}\n`).join("") || "none\n");
    });
  for (const kind of ["hosts", "zones"] as const) {
    ctl
      .command(`dns-${kind} [lines...]`)
      .description(
        kind === "hosts"
          ? "show the names that the DNS server answers by itself, or put others in their place: db.example.com=10.1.2.3"
          : "show the zones that have resolvers of their own, or put others in their place: corp.example.com=10.1.0.53",
      )
      .option("--clear", "remove all")
      .action(async (lines: string[], { clear }: { clear?: boolean }) => {
        const url = `/v1/dns/${kind}`;
        const change = lines.length > 0 || clear === true;
        const now = change
          ? await client().put<Record<string, string[]>>(url, { [kind]: lines })
          : await client().get<Record<string, string[]>>(url);
        show(now, () => now[kind]!.map((line) => `${line}\n`).join("") || "none\n");
      });
  }
  rules
    .command("check <file>")
    .description(
      "report what is odd in a file of rules: rules that never decide, match more than they seem to, leave a way out",
    )
    .action((file: string) => {
      const { lines, fields } = readRulesFile("file", file);
      const remarks = lintRules(lines, fields);
      show(
        remarks,
        () => remarks.map(({ field, rule, remark }) => `${field}: ${rule}: ${remark}\n`).join("") || "fine\n",
      );
      if (remarks.length > 0) process.exitCode = 1;
    });
  rules
    .command("save <file>")
    .description("write the rules in force to a file for --rules, with those that answers to asks have made")
    .action(async (file: string) => {
      const now = await client().get<{ rules: string[] }>("/v1/rules");
      saveRulesFile("file", file, now.rules);
      show(now, () => `${now.rules.length} rules in ${file}\n`);
    });
  ctl
    .command("asks")
    .description("flows that wait for an answer (--ask)")
    .action(() => list("/v1/asks", ASKS));
  for (const [verb, forever] of [
    ["approve", "always"],
    ["deny", "never"],
  ] as const) {
    ctl
      .command(`${verb} <ids...>`)
      .description(`${verb === "approve" ? "allow" : "refuse"} flows that wait, by the ids that asks shows`)
      .option("--always", "treat others like it the same, by a rule; ctl rules save FILE keeps the rule")
      .action(async (ids: string[], { always }: { always?: boolean }) => {
        const verdict = always === true ? forever : verb === "approve" ? "allow" : "deny";
        for (const id of ids) await client().post(`/v1/asks/${encodeURIComponent(id)}`, { verdict });
      });
  }
  ctl
    .command("refusals")
    .description("the refused flows, each with its rule and the rule that would allow it")
    .option("--last <count>", "how many to show", "100")
    .option("--follow", "print further ones as they happen, one JSON object a line")
    .action(async ({ last, follow }: { last: string; follow?: boolean }) => {
      if (follow === true) return followEvents(client(), "flowRefused");
      const rows = await client().get<Row[]>(`/v1/refusals?last=${encodeURIComponent(last)}`);
      const shown = rows.map((row) => ({ ...row, time: new Date(Number(row.time)).toISOString() }));
      const known = rows.some(({ process: by }) => by !== undefined);
      show(rows, () => rowsText(shown, known ? REFUSALS : REFUSALS.filter((column) => column !== "process")));
    });
  ctl
    .command("why <flow...>")
    .description("what would happen to a flow, and by which rule: why tcp api.example.org:443; why icmp 192.0.2.1")
    .action(async (words: string[]) => {
      const said = await client().get<Said & { flow: string; dns: Said | null }>(
        `/v1/why?flow=${encodeURIComponent(words.join(" "))}`,
      );
      show(said, () =>
        [said.dns === null ? "" : `the name: ${saidText(said.dns)}`, `${said.flow}: ${saidText(said)}`].join(""),
      );
    });
  ctl
    .command("limits")
    .description("how much guests have used of the limits that rules set")
    .action(() => list("/v1/limits", LIMITS));
  ctl
    .command("events")
    .description("print events as they happen, one JSON object a line")
    .action(() => followEvents(client()));
  ctl
    .command("dial <host:port>")
    .description("connect stdin and stdout to a guest's port: ssh -o ProxyCommand='tslirp ctl dial %h:%p'")
    .action(async (target: string) => {
      const socket = await client().dial(target);
      await Promise.all([pipeline(process.stdin, socket), pipeline(socket, process.stdout)]);
    });
  return ctl;
}

interface Said {
  readonly allow: boolean;
  readonly reason: string;
  readonly remedy: string | null;
}

function saidText({ allow, reason, remedy }: Said): string {
  return `${allow ? "allowed" : "refused"} by ${reason}${wouldAllow(remedy, (rule) => rule)}\n`;
}

/**
 * Prints events as JSON lines until they end: all, or those of one type. Only ASCII, because guests choose some of
 * the words.
 */
async function followEvents(client: ApiClient, only?: string): Promise<void> {
  let rest = "";
  for await (const chunk of client.stream("/v1/events")) {
    const parts = (rest + String(chunk)).split("\n\n");
    rest = parts.pop()!;
    for (const part of parts) {
      const data = /^data: (.*)$/m.exec(part)?.[1];
      const type = /^event: (.*)$/m.exec(part)?.[1];
      if (data === undefined || (only !== undefined && type !== only)) continue;
      say(`${asciiJson(JSON.stringify({ type, ...JSON.parse(data) }))}\n`);
    }
  }
}

/** Makes the path of a UNIX socket absolute, because tslirp may run in another folder. */
function absolute(rule: string): string {
  return rule.startsWith("unix:") ? `unix:${path.resolve(rule.slice("unix:".length))}` : rule;
}

type Show = (value: unknown, text: () => string) => void;
type List = (url: string, columns: readonly string[]) => Promise<void>;

function publishCommands(ctl: Command, client: () => ApiClient, show: Show, list: List): void {
  const publish = ctl.command("publish").description("forwards: ports of the host that lead to guests");
  publish
    .command("add <rules...>")
    .description("open forwards: 2222:22, or QEMU's tcp::2222-:22")
    .action(async (rules: string[]) => {
      const opened: Row[] = [];
      for (const rule of rules.map(absolute)) opened.push(...(await client().post<Row[]>("/v1/forwards", { rule })));
      show(opened, () => rowsText(opened, FORWARDS));
    });
  publish
    .command("rm <ids...>")
    .description("close forwards, by their ids or by where they listen (127.0.0.1:2222)")
    .action(async (names: string[]) => {
      const forwards = await client().get<Row[]>("/v1/forwards");
      const closed: Row[] = [];
      for (const name of names) {
        const found = forwards.find(({ id, host }) => id === name || host === name || host === absolute(name));
        if (found === undefined) throw new ConfigError("publish rm", name, "expected a forward that publish ls shows");
        await client().delete(`/v1/forwards/${found.id}`);
        closed.push(found);
      }
      show(closed, () => rowsText(closed, FORWARDS));
    });
  byDefault(publish, "ls")
    .description("list the forwards")
    .action(() => list("/v1/forwards", FORWARDS));
}

function captureCommands(ctl: Command, client: () => ApiClient, show: Show, list: List): void {
  const capture = ctl.command("capture").description("captures of frames, as pcapng");
  capture
    .command("start <file>")
    .description("begin a capture; - streams it to stdout: tslirp ctl capture start - | wireshark -k -i -")
    .option("--filter <words>", "which frames to capture: tcp port 80 and host 10.0.2.15")
    .option("--snaplen <bytes>", "how many bytes of each frame to capture")
    .action(async (file: string, { filter, snaplen }: { filter?: string; snaplen?: string }) => {
      const snapLength = snaplen === undefined ? undefined : Number(snaplen);
      if (file === "-") {
        const query = new URLSearchParams();
        if (filter !== undefined) query.set("filter", filter);
        if (snaplen !== undefined) query.set("snapLength", snaplen);
        await pipeline(client().stream(`/v1/capture?${query}`), process.stdout);
        return;
      }
      // tslirp opens the file, and may run in another folder.
      const body = { file: path.resolve(file), filter, snapLength };
      const started = await client().post<Row>("/v1/captures", body);
      show(started, () => rowsText([started], CAPTURES));
    });
  capture
    .command("stop [ids...]")
    .description("end these captures, or all that ctl has begun")
    .action(async (ids: string[]) => {
      const all = await client().get<Row[]>("/v1/captures");
      const wanted =
        ids.length > 0 ? ids : all.filter(({ byApi, file }) => byApi && file !== null).map(({ id }) => String(id));
      const ended: Row[] = [];
      for (const id of wanted) ended.push(await client().delete<Row>(`/v1/captures/${encodeURIComponent(id)}`));
      show(ended, () => rowsText(ended, CAPTURES));
    });
  byDefault(capture, "ls")
    .description("list the captures that run")
    .action(() => list("/v1/captures", CAPTURES));
}

function connect(given: Given): ApiClient {
  const [field, text] =
    given.api !== undefined ? ["--api", given.api] : ["TSLIRP_API", process.env.TSLIRP_API ?? usualApi()];
  const address = parseApiAddress(field, text);
  const { network = null } = given;
  if (network !== null && !/^[a-z][0-9]{1,15}$/.test(network))
    throw new ConfigError("--network", network, "expected an id that ctl networks lists, like g1");
  if (address.kind === "unix") return new ApiClient(address, null, network);
  const token = given.token ?? process.env.TSLIRP_API_TOKEN ?? leftToken(address.port)?.token;
  if (token === undefined)
    throw new ConfigError("--token", undefined, "expected the token that serve printed, for an API on TCP");
  return new ApiClient(address, token, network);
}

/**
 * The API to use when none is named: the usual socket if it exists, else an API on TCP whose token is in the runtime
 * folder.
 */
function usualApi(): string {
  const socket = path.join(runtimeFolder(), "api.sock");
  if (existsSync(socket)) return `unix:${socket}`;
  const left = leftTokens();
  if (left.length > 1) {
    const all = left.map(({ address }) => address).join(", ");
    throw new ConfigError("--api", undefined, `expected one of ${all}: several tslirp run`);
  }
  return left[0]?.address ?? `unix:${socket}`;
}

/** A row of the query log, with its types and codes as words. */
function dnsWords({ time, qtype, rcode }: Row): Row {
  return {
    time: new Date(Number(time)).toISOString(),
    qtype: dnsTypeName(Number(qtype)),
    rcode: dnsCodeName(Number(rcode)),
  };
}

function rowsText(rows: readonly Row[], columns: readonly string[]): string {
  if (rows.length === 0) return "none\n";
  // Columns without any value are left out.
  const used = columns.filter((column) => rows.some((row) => row[column] !== undefined && row[column] !== null));
  return table(
    used.map((column) => column.toUpperCase()),
    rows.map((row) => used.map((column) => cell(row[column]))),
  );
}

function cell(value: Cell): Cell {
  return typeof value === "number" && !Number.isInteger(value) ? Number(value.toFixed(3)) : value;
}

/** A member of a list as text: its name if it has one. */
function listed(value: unknown): string {
  if (typeof value !== "object" || value === null) return String(value);
  const { address, name } = value as { readonly address?: string; readonly name?: string };
  return address ?? name ?? JSON.stringify(value);
}

function statusText(status: Readonly<Record<string, unknown>>): string {
  const { drops, ...rest } = status;
  const lines = Object.entries(rest).map(([key, value]): Cell[] => [
    key,
    Array.isArray(value) ? value.map(listed).join(" ") : String(value),
  ]);
  const dropped = Object.entries((drops ?? {}) as Record<string, number>).filter(([, count]) => count > 0);
  return table(
    ["WHAT", "VALUE"],
    [...lines, ...dropped.map(([reason, count]): Cell[] => [`drop ${reason}`, String(count)])],
  );
}
