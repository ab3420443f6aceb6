/** What only the command line has: where guests are, what is done beside serving them, and what is told. */
import { LOG_LEVELS } from "../log-levels.ts";
import { type Description, LIST, ON_OFF, TEXT } from "./description.ts";

/** The name that commander gives the option's value. */
export type CommandField =
  | "listen"
  | "wsOrigin"
  | "wsToken"
  | "connect"
  | "fd"
  | "tap"
  | "keep"
  | "vhostUser"
  | "netdev"
  | "user"
  | "auditAllowed"
  | "auditRotateSize"
  | "workers"
  | "perGuest"
  | "guestBytes"
  | "guestIdle"
  | "allow"
  | "deny"
  | "limit"
  | "default"
  | "rules"
  | "api"
  | "socks"
  | "capture"
  | "captureFilter"
  | "captureSnaplen"
  | "captureRotateSize"
  | "captureRotateTime"
  | "captureKeep"
  | "recordPayload"
  | "impair"
  | "impairSeed"
  | "logLevel"
  | "logJson";

/** In the order of `--help`. */
export const COMMAND: Readonly<Record<CommandField, Description>> = {
  listen: {
    flag: "--listen <address>",
    reading: LIST,
    commands: ["serve"],
    help: "where guests come to: `unix:PATH`, `tcp:HOST:PORT`, `udp:HOST:PORT` (for `-netdev dgram`), `ws://HOST:PORT[/PATH]` (for emulators) or `vhost-user:PATH` (shared memory: Linux, with `koffi`)",
    initial: "a UNIX socket in the user's runtime folder",
  },
  wsOrigin: {
    flag: "--ws-origin <origin>",
    reading: LIST,
    commands: ["serve"],
    help: "web pages that may come by WebSocket: `https://example.org`, `null` (pages that are files) or `*` (all)",
    initial: "none",
    more: "A page that a person visits can have the browser try, under any name; see [Emulators](browser.md).",
  },
  wsToken: {
    flag: "--ws-token <token>",
    reading: TEXT,
    commands: ["serve"],
    help: "what everybody who comes by WebSocket must show, as `?token=TOKEN` or as `Authorization: Bearer TOKEN`",
    initial: "nothing",
  },
  connect: {
    flag: "--connect <address>",
    reading: LIST,
    commands: ["serve"],
    help: "dial a QEMU that listens (`server=on`), and again when it comes back",
  },
  fd: {
    flag: "--fd <number>",
    reading: { as: "number", min: 0, max: 65_535 },
    commands: ["serve"],
    help: "an inherited, connected socket, or a TAP that has been opened",
  },
  keep: {
    flag: "--keep",
    reading: { as: "flag" },
    commands: ["run"],
    help: "what the command leaves behind runs on, and the end is when all of it has ended",
    initial: "it ends with the command",
  },
  tap: {
    flag: "--tap <name>",
    reading: LIST,
    commands: ["serve"],
    help: "a TAP that is made here (`NAME`), or in the network namespace of a process (`NAME@PID`) or at a path (`NAME@/run/netns/x`)",
    more: "Linux with koffi. The device is made, not configured: addresses come by DHCP, or by hand.",
  },
  vhostUser: {
    flag: "--vhost-user",
    reading: { as: "flag" },
    commands: ["qemu"],
    help: "QEMU shares the guest's memory with us (vhost-user): frames cross no socket (Linux, with `koffi`; the card must be virtio)",
    more: "Shared memory is added to QEMU's arguments where it is missing.",
  },
  netdev: {
    flag: "--netdev <string>",
    reading: TEXT,
    commands: ["serve"],
    help: "QEMU's own option string: `user,id=n0,net=10.0.2.0/24,hostfwd=…`",
  },
  user: {
    flag: "--user <name[:group]>",
    reading: TEXT,
    commands: ["serve"],
    help: "started by root, become this user once forwards, sockets and the API are open",
    more: "[SECURITY.md](../SECURITY.md#giving-up-root) has the order.",
  },
  workers: {
    flag: "--workers <number>",
    reading: TEXT,
    commands: ["serve"],
    help: "several guests use several processors: so many processes (1 to 64, or `auto`: one for each processor), each with a network of its own",
  },
  perGuest: {
    flag: "--per-guest",
    reading: { as: "flag" },
    commands: ["serve"],
    help: "each guest that comes gets a network of its own, in this process",
    initial: "off: one network for all",
    more: "See [A network for each guest](lan.md#a-network-for-each-guest).",
  },
  guestBytes: {
    flag: "--guest-bytes <number>",
    reading: { as: "number", min: 16_777_216, max: 1_099_511_627_776, unit: "bytes" },
    commands: ["serve"],
    help: "with `--per-guest`: what connections of all guests may hold together; who holds most is sent away beyond that",
    initial: "536870912",
    more: "See [Limits](limits.md#all-networks-of-a-process).",
  },
  guestIdle: {
    flag: "--guest-idle <seconds>",
    reading: { as: "number", min: 0, max: 1_000_000, unit: "seconds" },
    commands: ["serve"],
    help: "with `--per-guest`: let a guest go that has been silent for so long; 0 for never",
    initial: "0; over UDP 300",
  },
  allow: {
    flag: "--allow <rule>",
    reading: { as: "rule", action: "allow" },
    help: "what guests may begin: `tcp *.debian.org:80,443`; the first rule that matches decides",
  },
  deny: { flag: "--deny <rule>", reading: { as: "rule", action: "deny" }, help: "what guests may not begin" },
  limit: {
    flag: "--limit <rule>",
    reading: { as: "rule", action: "limit" },
    help: "what each guest may use in all: `guest 10.0.2.15 rate=10mbit conns=50`",
  },
  default: {
    flag: "--default <allow|deny>",
    reading: { as: "rule", action: "default" },
    help: "what becomes of a flow that no rule matches",
    initial: "allow",
  },
  rules: {
    flag: "--rules <file>",
    reading: TEXT,
    help: "more rules, one a line behind `allow`, `deny`, `limit` or `default`, and `include FILE`; read again on SIGHUP",
  },
  api: {
    flag: "--api <address>",
    reading: TEXT,
    help: "control API on `unix:PATH` or `tcp:127.0.0.1:PORT`, for `tslirp ctl` and the page; never a guest's to reach",
    initial: "off",
  },
  socks: {
    flag: "--socks <address>",
    reading: TEXT,
    help: "SOCKS5 server on `unix:PATH` or `tcp:127.0.0.1:PORT`, by which programs of the host reach guests",
    initial: "off",
    more: "Guests are named by their address or DHCP name.",
  },
  capture: {
    flag: "--capture <file>",
    reading: TEXT,
    help: "write all that passes to a pcapng file, readable by Wireshark while it grows",
    more: "Each flow has its comment.",
  },
  captureFilter: {
    flag: "--capture-filter <words>",
    reading: TEXT,
    help: "which frames: `tcp port 80 and host 10.0.2.15`",
    initial: "all",
  },
  captureSnaplen: {
    flag: "--capture-snaplen <bytes>",
    reading: { as: "number", min: 1, max: 65_553 },
    help: "bytes kept of each frame",
    initial: "all",
  },
  captureRotateSize: {
    flag: "--capture-rotate-size <megabytes>",
    reading: { as: "number", min: 1, max: 1_000_000 },
    help: "begin a new file after so many megabytes",
  },
  captureRotateTime: {
    flag: "--capture-rotate-time <seconds>",
    reading: { as: "number", min: 1, max: 31_536_000 },
    help: "begin a new file after so many seconds",
  },
  captureKeep: {
    flag: "--capture-keep <files>",
    reading: { as: "number", min: 1, max: 1_000_000 },
    help: "how many files are kept when they rotate",
    initial: "all",
  },
  auditAllowed: {
    flag: "--audit-allowed",
    reading: { as: "flag" },
    help: "what rules have allowed is in the audit, too",
    initial: "refusals only",
  },
  auditRotateSize: {
    flag: "--audit-rotate-size <megabytes>",
    reading: { as: "number", min: 1, max: 1_000_000 },
    help: "begin a new audit file after so many megabytes; three of those before are kept, as FILE.1 and so on",
    initial: "64",
  },
  recordPayload: {
    flag: "--record-payload <on|off>",
    reading: ON_OFF,
    help: "whether payload is in the recording, or lengths stand for it",
    initial: "on",
  },
  impair: {
    flag: "--impair <rule>",
    reading: LIST,
    help: "a bad line: `delay=50ms,jitter=5ms,loss=1%,duplicate=1%,reorder=1%,rate=10mbit,direction=up|down,filter=WORDS`",
    more: "The first rule that means a frame counts.",
  },
  impairSeed: {
    flag: "--impair-seed <number>",
    reading: { as: "number", min: 0, max: 999_999_999 },
    help: "makes impairment repeatable",
  },
  logLevel: {
    flag: "--log-level <level>",
    reading: TEXT,
    help: `how much is told on stderr: ${LOG_LEVELS.join(", ")}`,
    initial: "info; qemu and run: warn",
  },
  logJson: { flag: "--log-json", reading: { as: "flag" }, help: "logs as JSON" },
};
