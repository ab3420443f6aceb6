/** The networks that are compared: how each is started, and how it comes to the guest. */
import { spawnSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { hub } from "../../test/support/e2e/backend.ts";
import { REPOSITORY } from "../../test/support/e2e/namespace.ts";

/** Where a peer finds what it needs. */
export interface Place {
  /** The UNIX socket that the guest's cable ends in. */
  readonly socket: string;
  readonly mtu: number;
  /** The guest's namespace, as a path. */
  readonly guestPath: string;
}

export interface Peer {
  readonly name: string;
  /** Programs it needs; without one of them it is skipped. */
  readonly needs: readonly string[];
  readonly mtus: readonly number[];
  /** `socket`: serves a stream socket with QEMU's framing. `vhost`: a vhost-user back end. `tap`: makes the guest's TAP itself. `wire`: see `WIRE`. */
  readonly kind: "socket" | "vhost" | "tap" | "wire";
  command(place: Place): readonly string[];
}

export const TAP = "tap0";
export const GATEWAY = "10.0.2.2";
export const RESOLVER = "10.0.2.3";
const GUEST = "10.0.2.15";
/** The host's interface to nowhere: passt and slirp4netns want one with a route. */
export const OUTSIDE = "ext0";

const BOTH = [1500, 65_520];
/** This checkout's, built. */
export const BUILD: string = join(REPOSITORY, "dist");
const PASST = ["-a", GUEST, "-n", "24", "-g", GATEWAY, "-M", "52:55:0a:00:02:02", "--dns-forward", RESOLVER];

/** One built in `build`, with further options of `serve`, whose guests come by a stream socket or by vhost-user. */
export function tslirp(
  name: string,
  build: string,
  options: readonly string[],
  kind: "socket" | "vhost" = "socket",
): Peer {
  const program = [process.execPath, join(build, "cli/main.js"), "serve", ...options];
  const scheme = kind === "vhost" ? "vhost-user" : "unix";
  const command: Peer["command"] = ({ socket, mtu }) => [
    ...program,
    ...["--listen", `${scheme}:${socket}`, "--mtu", String(mtu)],
  ];
  return { name, needs: [], mtus: BOTH, kind, command };
}

/** passt, on that socket. */
function passt(program: string, { socket, mtu }: Place, more: readonly string[] = []): string[] {
  const runs = ["-f", "-q", "--runas", "0", "-i", OUTSIDE, "-s", socket, "-m", String(mtu)];
  return [program, ...runs, ...PASST, ...more];
}

/** A passt that knows vhost-user (of 2025 and later): the one of the environment's PASST, or the PATH's; null for none. */
function vhostPasst(): string | null {
  const program = process.env.PASST ?? which("passt");
  if (program === null) return null;
  const { stdout, stderr } = spawnSync(program, ["--help"], { encoding: "utf8" });
  return `${stdout}${stderr}`.includes("--vhost-user") ? program : null;
}
const VHOST_PASST: string | null = vhostPasst();

export const PEERS: readonly Peer[] = [
  tslirp("tslirp", BUILD, []),
  tslirp("tslirp-vhost", BUILD, [], "vhost"),
  {
    // QEMU with nothing but its user network. Its MTU is 1500; slirp4netns has the same library at 65520.
    name: "libslirp",
    needs: ["qemu-system-x86_64"],
    mtus: [1500],
    kind: "socket",
    command: ({ socket }) => [
      "qemu-system-x86_64",
      ...hub("user,id=u0,net=10.0.2.0/24", "u0", `server=on,addr.type=unix,addr.path=${socket}`),
    ],
  },
  {
    name: "passt",
    needs: ["passt"],
    mtus: BOTH,
    kind: "socket",
    command: (place) => passt("passt", place),
  },
  {
    name: "passt-vhost",
    needs: VHOST_PASST === null ? ["passt --vhost-user"] : [],
    mtus: BOTH,
    kind: "vhost",
    command: (place) => passt(VHOST_PASST!, place, ["--vhost-user"]),
  },
  {
    name: "slirp4netns",
    needs: ["slirp4netns"],
    mtus: BOTH,
    kind: "tap",
    command: ({ guestPath, mtu }) => ["slirp4netns", "--netns-type=path", "-m", String(mtu), guestPath, TAP],
  },
  {
    // No network at all: a second bridge, and the host's end of the cable is a TAP too. What this way of joining allows.
    name: "wire",
    needs: [],
    mtus: BOTH,
    kind: "wire",
    command: () => [],
  },
];

/** The program's path, or null where the machine has none. */
export function which(program: string): string | null {
  for (const folder of [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/sbin"]) {
    const path = join(folder, program);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Perhaps the next.
    }
  }
  return null;
}
