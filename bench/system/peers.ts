/** The networks that are compared: how each is started, and how it comes to the guest. */
import { spawnSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import http from "node:http";
import net from "node:net";
import { delimiter, join, resolve } from "node:path";
import { hub } from "../../test/support/e2e/backend.ts";
import { REPOSITORY } from "../../test/support/e2e/namespace.ts";

/** Addresses, where a peer has its own instead of 10.0.2.x. */
export interface Lan {
  readonly guest: string;
  readonly router: string;
  /** By which a guest reaches the host's loopback, and the DNS server. */
  readonly host: string;
  readonly resolver: string;
  /** The guest's. */
  readonly mac: string;
}

/** Where a peer finds what it needs. */
export interface Place {
  /** The UNIX socket that the guest's cable ends in. */
  readonly socket: string;
  readonly mtu: number;
  /** The guest's namespace, as a path. */
  readonly guestPath: string;
  /** A second socket, of peers that are told something while they run. */
  readonly api: string;
  /** There is a forward from `FORWARD.port` of the host's loopback to `FORWARD.guestPort` of the guest. */
  readonly forward: boolean;
}

export interface Peer {
  readonly name: string;
  /** Programs it needs; without one of them it is skipped. */
  readonly needs: readonly string[];
  readonly mtus: readonly number[];
  /** `socket`: serves a stream socket with QEMU's framing. `vhost`: a vhost-user back end. `tap`: makes the guest's TAP itself. `wire`: see `WIRE`. */
  readonly kind: "socket" | "vhost" | "tap" | "wire";
  command(place: Place): readonly string[];
  /** Makes the forward, where the command does not say it. */
  forward?(place: Place): Promise<void>;
  readonly lan?: Lan;
  /** Several guests may come to its socket. */
  readonly several?: true;
  /** It is asked to end, and killed only if it does not. */
  readonly endsInOrder?: true;
}

export const TAP = "tap0";
export const GATEWAY = "10.0.2.2";
export const RESOLVER = "10.0.2.3";
export const GUEST = "10.0.2.15";
/** The forward by which the host's clients reach the guest's echo service. */
export const FORWARD = { port: 7101, guestPort: 7001 } as const;
/** The host's interface to nowhere: passt and slirp4netns want one with a route. */
export const OUTSIDE = "ext0";

const BOTH = [1500, 65_520];
/** This checkout's, built. */
export const BUILD: string = join(REPOSITORY, "dist");
const PASST = ["-a", GUEST, "-n", "24", "-g", GATEWAY, "-M", "52:55:0a:00:02:02", "--dns-forward", RESOLVER];

/** QEMU's grammar. */
const HOSTFWD = `tcp:127.0.0.1:${FORWARD.port}-${GUEST}:${FORWARD.guestPort}`;

/** One built in `build`, with further options of `serve`, whose guests come by a stream socket or by vhost-user. */
export function tslirp(
  name: string,
  build: string,
  options: readonly string[],
  kind: "socket" | "vhost" = "socket",
): Peer {
  const program = [process.execPath, join(build, "cli/main.js"), "serve", ...options];
  const scheme = kind === "vhost" ? "vhost-user" : "unix";
  const command: Peer["command"] = ({ socket, mtu, forward }) => [
    ...program,
    ...["--listen", `${scheme}:${socket}`, "--mtu", String(mtu)],
    ...(forward ? ["--hostfwd", HOSTFWD] : []),
  ];
  return { name, needs: [], mtus: BOTH, kind, command, ...(kind === "socket" ? { several: true } : {}) };
}

/** passt, on that socket. */
function passt(program: string, { socket, mtu, forward }: Place, more: readonly string[] = []): string[] {
  const runs = ["-f", "-q", "--runas", "0", "-i", OUTSIDE, "-s", socket, "-m", String(mtu)];
  const forwards = forward ? ["-t", `127.0.0.1/${FORWARD.port}:${FORWARD.guestPort}`] : [];
  return [program, ...runs, ...PASST, ...forwards, ...more];
}

const GVPROXY: Lan = {
  ...{ guest: "192.168.127.2", router: "192.168.127.1", host: "192.168.127.254", resolver: "192.168.127.1" },
  mac: "5a:94:ef:e4:0c:ee",
};

/** gvproxy, too, by HTTP. */
function tellGvproxy({ api }: Place): Promise<void> {
  const rule = { local: `127.0.0.1:${FORWARD.port}`, remote: `${GVPROXY.guest}:${FORWARD.guestPort}`, protocol: "tcp" };
  return new Promise((done, fail) => {
    const asked = http.request({ socketPath: api, path: "/services/forwarder/expose", method: "POST" }, (answer) => {
      answer.resume();
      if (answer.statusCode === 200) done();
      else fail(new Error(`expose: ${answer.statusCode}`));
    });
    asked.on("error", fail);
    asked.end(JSON.stringify(rule));
  });
}

/** slirp4netns is told of forwards while it runs. Rejects with what it says against it. */
function tellSlirp4netns({ api }: Place): Promise<void> {
  const rule = { proto: "tcp", host_addr: "127.0.0.1", host_port: FORWARD.port };
  const words = { execute: "add_hostfwd", arguments: { ...rule, guest_addr: GUEST, guest_port: FORWARD.guestPort } };
  return new Promise((done, fail) => {
    let said = "";
    const socket = net.connect(api, () => socket.end(JSON.stringify(words)));
    socket.setEncoding("utf8").on("data", (text) => {
      said += text;
    });
    socket.on("error", fail);
    socket.on("close", () => (said.includes("return") ? done() : fail(new Error(`add_hostfwd: ${said}`))));
  });
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
    command: ({ socket, forward }) => [
      "qemu-system-x86_64",
      ...hub(
        `user,id=u0,net=10.0.2.0/24${forward ? `,hostfwd=${HOSTFWD}` : ""}`,
        "u0",
        `server=on,addr.type=unix,addr.path=${socket}`,
      ),
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
    // One of today, beside the distribution's.
    name: "passt-built",
    needs: process.env.PASST === undefined ? ["PASST=FILE, passt built from its sources,"] : [process.env.PASST],
    mtus: BOTH,
    kind: "socket",
    command: (place) => passt(process.env.PASST!, place),
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
    command: ({ guestPath, mtu, api }) => [
      ...["slirp4netns", "--netns-type=path", "-m", String(mtu), "--api-socket", api, guestPath, TAP],
    ],
    forward: tellSlirp4netns,
  },
  {
    name: "gvproxy",
    needs: ["gvproxy"],
    mtus: BOTH,
    kind: "socket",
    // Its port for SSH is the host's own otherwise.
    command: ({ socket, mtu, api }) => [
      ...["gvproxy", "-mtu", String(mtu), "-ssh-port", "22222"],
      ...["-listen-qemu", `unix://${socket}`, "-listen", `unix://${api}`],
    ],
    forward: tellGvproxy,
    lan: GVPROXY,
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

/** The program's path, or null where the machine has none; of a path, itself. */
export function which(program: string): string | null {
  for (const folder of [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/sbin"]) {
    const path = resolve(folder, program);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Perhaps the next.
    }
  }
  return null;
}
