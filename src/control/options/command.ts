/** Options that only the command line has: where guests attach, other work beside serving them, and reports. */
import { LOG_LEVELS } from "../log-levels.ts";
import { type Description, LIST, ON_OFF, TEXT } from "./description.ts";

/** The name that commander gives to an option's value. */
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
    help: "where guests attach: `unix:PATH`, `tcp:HOST:PORT`, `udp:HOST:PORT` (for `-netdev dgram`), `ws://HOST:PORT[/PATH]` (for emulators) or `vhost-user:PATH` (shared memory: Linux, with `koffi`)",
    initial: "a UNIX socket in the user's runtime folder",
  },
  wsOrigin: {
    flag: "--ws-origin <origin>",
    reading: LIST,
    commands: ["serve"],
    help: "web pages that may attach guests by WebSocket: `https://example.org`, `null` (pages that are files) or `*` (all)",
    initial: "none",
    more: "A page that a person visits can have the browser try, under any name; see [Emulators](browser.md).",
  },
  wsToken: {
    flag: "--ws-token <token>",
    reading: TEXT,
    commands: ["serve"],
    help: "a secret that every WebSocket client has to send, as `?token=TOKEN` or as `Authorization: Bearer TOKEN`",
    initial: "none",
  },
  connect: {
    flag: "--connect <address>",
    reading: LIST,
    commands: ["serve"],
    help: "connect to a QEMU that listens (`server=on`), and again when it comes back",
  },
  fd: {
    flag: "--fd <number>",
    reading: { as: "number", min: 0, max: 65_535 },
    commands: ["serve"],
    help: "serve the guest behind an inherited descriptor: a connected socket, or an open TAP",
  },
  keep: {
    flag: "--keep",
    reading: { as: "flag" },
    commands: ["run"],
    help: "processes that the command leaves behind run on, and the end is when all have ended",
    initial: "they end with the command",
  },
  tap: {
    flag: "--tap <name>",
    reading: LIST,
    commands: ["serve"],
    help: "serve a TAP that is made here (`NAME`), in the network namespace of a process (`NAME@PID`), or in one at a path (`NAME@/run/netns/x`)",
    more: "Linux with koffi. The device is made, not configured: addresses come by DHCP, or by hand.",
  },
  vhostUser: {
    flag: "--vhost-user",
    reading: { as: "flag" },
    commands: ["qemu"],
    help: "use memory that QEMU shares (vhost-user) instead of a socket for frames (Linux, with `koffi`; the guest's card must be virtio)",
    more: "Shared memory is added to QEMU's arguments where it is missing.",
  },
  netdev: {
    flag: "--netdev <string>",
    reading: TEXT,
    commands: ["serve"],
    help: "options in QEMU's own syntax: `user,id=n0,net=10.0.2.0/24,hostfwd=…`",
  },
  user: {
    flag: "--user <name[:group]>",
    reading: TEXT,
    commands: ["serve"],
    help: "when started by root, become this user once forwards, sockets and the API are open",
    more: "[SECURITY.md](../SECURITY.md#giving-up-root) has the order.",
  },
  workers: {
    flag: "--workers <number>",
    reading: TEXT,
    commands: ["serve"],
    help: "how many processes (1 to 64, or `auto`: one for each processor), each with a network of its own, so that several guests use several processors",
  },
  perGuest: {
    flag: "--per-guest",
    reading: { as: "flag" },
    commands: ["serve"],
    help: "give each guest a network of its own, all in this process",
    initial: "off: one network for all",
    more: "See [A network for each guest](lan.md#a-network-for-each-guest).",
  },
  guestBytes: {
    flag: "--guest-bytes <number>",
    reading: { as: "number", min: 16_777_216, max: 1_099_511_627_776, unit: "bytes" },
    commands: ["serve"],
    help: "with `--per-guest`: bytes that the connections of all guests may hold together; beyond them, the guest that holds most is disconnected",
    initial: "536870912",
    more: "See [Limits](limits.md#all-networks-of-a-process).",
  },
  guestIdle: {
    flag: "--guest-idle <seconds>",
    reading: { as: "number", min: 0, max: 1_000_000, unit: "seconds" },
    commands: ["serve"],
    help: "with `--per-guest`: disconnect a guest that has been silent for so many seconds; 0 for never",
    initial: "0; over UDP 300",
  },
  allow: {
    flag: "--allow <rule>",
    reading: { as: "rule", action: "allow" },
    help: "allow flows that guests begin: `tcp *.debian.org:80,443`; the first rule that matches decides",
  },
  deny: {
    flag: "--deny <rule>",
    reading: { as: "rule", action: "deny" },
    help: "deny flows that guests begin, by a rule like those of `--allow`",
  },
  limit: {
    flag: "--limit <rule>",
    reading: { as: "rule", action: "limit" },
    help: "limit how much each guest may use in all: `guest 10.0.2.15 rate=10mbit conns=50`",
  },
  default: {
    flag: "--default <allow|deny>",
    reading: { as: "rule", action: "default", once: true },
    help: "what happens to a flow that no rule matches; has to be said beside `--allow`, `--deny` or `--rules`",
    initial: "allow where there is none of these",
  },
  rules: {
    flag: "--rules <file>",
    reading: TEXT,
    help: "a file of more rules, each in a line that begins with `allow`, `deny`, `limit` or `default`, or `include FILE`; read again on SIGHUP",
  },
  api: {
    flag: "--api <address>",
    reading: TEXT,
    help: "serve the control API on `unix:PATH` or `tcp:127.0.0.1:PORT`, for `tslirp ctl` and the web page; guests cannot reach it",
    initial: "off",
  },
  socks: {
    flag: "--socks <address>",
    reading: TEXT,
    help: "serve SOCKS5 on `unix:PATH` or `tcp:127.0.0.1:PORT`, by which programs of the host reach guests",
    initial: "off",
    more: "Guests are named by their address or DHCP name.",
  },
  capture: {
    flag: "--capture <file>",
    reading: TEXT,
    help: "write all frames to a pcapng file, which Wireshark can read while it grows",
    more: "A comment names each flow.",
  },
  captureFilter: {
    flag: "--capture-filter <words>",
    reading: TEXT,
    help: "which frames to capture: `tcp port 80 and host 10.0.2.15`",
    initial: "all",
  },
  captureSnaplen: {
    flag: "--capture-snaplen <bytes>",
    reading: { as: "number", min: 1, max: 65_553 },
    help: "how many bytes of each frame to capture",
    initial: "all",
  },
  captureRotateSize: {
    flag: "--capture-rotate-size <megabytes>",
    reading: { as: "number", min: 1, max: 1_000_000 },
    help: "begin a new capture file after so many megabytes",
  },
  captureRotateTime: {
    flag: "--capture-rotate-time <seconds>",
    reading: { as: "number", min: 1, max: 31_536_000 },
    help: "begin a new capture file after so many seconds",
  },
  captureKeep: {
    flag: "--capture-keep <files>",
    reading: { as: "number", min: 1, max: 1_000_000 },
    help: "how many capture files to keep when they rotate",
    initial: "all",
  },
  auditAllowed: {
    flag: "--audit-allowed",
    reading: { as: "flag" },
    help: "write allowed flows to the audit, too",
    initial: "refusals only",
  },
  auditRotateSize: {
    flag: "--audit-rotate-size <megabytes>",
    reading: { as: "number", min: 1, max: 1_000_000 },
    help: "begin a new audit file after so many megabytes; the last three are kept, as FILE.1 and so on",
    initial: "64",
  },
  recordPayload: {
    flag: "--record-payload <on|off>",
    reading: ON_OFF,
    help: "whether the recording has payload, or only its lengths",
    initial: "on",
  },
  impair: {
    flag: "--impair <rule>",
    reading: LIST,
    help: "impair the line: `delay=50ms,jitter=5ms,loss=1%,duplicate=1%,reorder=1%,rate=10mbit,direction=up|down,filter=WORDS`",
    more: "The first rule that matches a frame decides.",
  },
  impairSeed: {
    flag: "--impair-seed <number>",
    reading: { as: "number", min: 0, max: 999_999_999 },
    help: "the seed of the chances in `--impair`, to repeat a run",
  },
  logLevel: {
    flag: "--log-level <level>",
    reading: TEXT,
    help: `what is logged on stderr: ${LOG_LEVELS.join(", ")}`,
    initial: "info; qemu and run: warn",
  },
  logJson: { flag: "--log-json", reading: { as: "flag" }, help: "log in JSON" },
};
