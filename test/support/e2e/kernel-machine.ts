/**
 * A machine under QEMU that boots Debian's kernel (package linux-image-cloud-amd64), with a busybox for all else: a real
 * virtio driver. Its console is our shell: a line in, what it says and its status out.
 */
import type { ChildProcess } from "node:child_process";
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import type { Namespace } from "./namespace.ts";

const MODULES = "/lib/modules";
/** In the order in which they are loaded: each after what it needs. */
const DRIVERS = [
  "drivers/virtio/virtio_ring",
  "drivers/virtio/virtio",
  "drivers/virtio/virtio_pci_modern_dev",
  "drivers/virtio/virtio_pci_legacy_dev",
  "drivers/virtio/virtio_pci",
  "net/core/failover",
  "drivers/net/net_failover",
  "drivers/net/virtio_net",
];

/** The newest installed cloud kernel; null for none. */
function kernel(): { image: string; modules: string } | null {
  if (!existsSync(MODULES)) return null;
  const version = readdirSync(MODULES)
    .filter((name) => name.endsWith("-cloud-amd64") && existsSync(`/boot/vmlinuz-${name}`))
    .sort()
    .at(-1);
  return version === undefined
    ? null
    : { image: `/boot/vmlinuz-${version}`, modules: join(MODULES, version, "kernel") };
}

/** What `describeE2e` wants to see: a kernel's image, whichever version it has. */
export const KERNEL: string = kernel()?.image ?? "/boot/vmlinuz-cloud-amd64";

const INIT = `#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /etc /sbin /usr/bin /usr/sbin
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /tmp
for driver in ${DRIVERS.map((path) => basename(path)).join(" ")}; do insmod /modules/$driver.ko; done
stty -echo -onlcr </dev/console
echo E2E:ready
while read -r line; do eval "$line" 2>&1; echo "E2E:status $?"; done </dev/console
`;

const UDHCPC = `#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr flush dev $interface scope global
ip addr add $ip/$mask dev $interface
ip route add default via $router
echo "nameserver $dns" >/etc/resolv.conf
[ -z "$mtu" ] || ip link set $interface mtu $mtu
`;

/** What `ldd` says of a program: Debian's busybox has shared libraries, busybox-static's has none, and ldd fails for it. */
function linked(program: string): string {
  const { status, stdout } = spawnSync("ldd", [program], { encoding: "utf8" });
  return status === 0 ? stdout : "";
}

/** Writes the machine's file system into `folder`. Its path. */
function initramfs(folder: string): string {
  const { modules } = kernel()!;
  const files: [string, Buffer | string, number][] = [
    ["init", INIT, 0o755],
    ["lease", UDHCPC, 0o755],
  ];
  const busybox = "/bin/busybox";
  files.push(["bin/busybox", readFileSync(busybox), 0o755]);
  for (const [, library] of linked(busybox).matchAll(/(\/\S+)/g))
    files.push([library!.slice(1), readFileSync(library!), 0o755]);
  for (const driver of DRIVERS)
    files.push([`modules/${basename(driver)}.ko`, readFileSync(join(modules, `${driver}.ko`)), 0o644]);
  const path = join(folder, "initramfs");
  writeFileSync(path, cpio(files));
  return path;
}

/** An archive as the kernel unpacks it (newc), folders included. */
function cpio(files: readonly (readonly [string, Buffer | string, number])[]): Buffer {
  const parts: Buffer[] = [];
  const made = new Set<string>();
  let inode = 1;
  const entry = (name: string, mode: number, content: Buffer): void => {
    const fields = [inode++, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, name.length + 1, 0];
    const head = Buffer.from(`070701${fields.map((n) => n.toString(16).padStart(8, "0")).join("")}${name}\0`);
    for (const part of [head, content]) parts.push(part, Buffer.alloc(-part.length & 3));
  };
  for (const [name, content, mode] of files) {
    const folders = name.split("/").slice(0, -1);
    for (let i = 1; i <= folders.length; i++) {
      const folder = folders.slice(0, i).join("/");
      if (made.has(folder)) continue;
      made.add(folder);
      entry(folder, 0o40755, Buffer.alloc(0));
    }
    entry(name, 0o100000 | mode, Buffer.from(content));
  }
  entry("TRAILER!!!", 0, Buffer.alloc(0));
  return Buffer.concat(parts);
}

export class KernelMachine {
  readonly #child: ChildProcess;
  #said = "";
  #wake: () => void = () => {};
  /** Its status and signal, once it has ended. */
  ended: string | null = null;

  /** Starts QEMU in `space`; `more` are its arguments but for memory size, kernel and console; `by` is a command that starts it. */
  constructor(space: Namespace, folder: string, more: readonly string[], by: readonly string[] = []) {
    const args = [
      ...["-nodefaults", "-display", "none", "-no-user-config", "-cpu", "max", "-m", "384M"],
      ...["-kernel", KERNEL, "-initrd", initramfs(folder), "-append", "console=ttyS0 quiet panic=-1"],
      ...["-serial", "stdio"],
    ];
    const [program, ...words] = [...by, "qemu-system-x86_64", ...args, ...more];
    this.#child = space.spawn(program!, words, { stdio: ["pipe", "pipe", "pipe"] });
    for (const stream of [this.#child.stdout!, this.#child.stderr!])
      stream.on("data", (piece) => {
        this.#said += piece;
        this.#wake();
      });
    this.#child.stdin!.on("error", () => {});
    this.#child.once("exit", (code, signal) => {
      this.ended = `${code} ${signal}`;
      this.#wake();
    });
  }

  /** QEMU's process, or that of what started it. */
  get pid(): number {
    return this.#child.pid!;
  }

  /** Resolves when its shell listens: after a boot. */
  async ready(): Promise<void> {
    await this.#until(/E2E:ready\r?\n/, "its shell", 180_000);
  }

  /** Runs a line. What it says, and its status. */
  async run(line: string, timeout = 120_000): Promise<{ status: number; output: string }> {
    this.#child.stdin!.write(`${line}\n`);
    const { before, match } = await this.#until(/E2E:status (\d+)\r?\n/, line, timeout);
    return { status: Number(match[1]), output: before.replaceAll("\r", "") };
  }

  /** As `run`, of which nothing is expected but that it begins. */
  say(line: string): void {
    this.#child.stdin!.write(`${line}\n`);
  }

  /** Its interface is up, with the lease that it was given. */
  async online(): Promise<void> {
    await this.run("ip link set lo up; ip link set eth0 up");
    const { status, output } = await this.run("udhcpc -i eth0 -f -q -n -t 10 -T 2 -O mtu -s /lease");
    if (status !== 0) throw new Error(`no lease: ${output}`);
  }

  /** Powered off from within: the status of what started it. */
  async off(): Promise<string> {
    this.say("poweroff -f");
    await this.#until(/$never^/, "its end", 60_000).catch(() => {});
    return this.ended ?? "it runs";
  }

  async kill(): Promise<void> {
    if (this.ended !== null) return;
    const ends = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGKILL");
    await ends;
  }

  async #until(sign: RegExp, what: string, timeout: number): Promise<{ before: string; match: RegExpExecArray }> {
    return new Promise((resolve, reject) => {
      const fail = (why: string): void => {
        clearTimeout(timer);
        this.#wake = () => {};
        reject(new Error(`${what}: ${why}; it said: ${this.#said.slice(-2000)}`));
      };
      const timer = setTimeout(() => fail(`nothing after ${timeout} ms`), timeout);
      this.#wake = () => {
        const match = sign.exec(this.#said);
        if (match === null) {
          if (this.ended !== null) fail(`QEMU ended with ${this.ended}`);
          return;
        }
        clearTimeout(timer);
        this.#wake = () => {};
        const before = this.#said.slice(0, match.index);
        this.#said = this.#said.slice(match.index + match[0].length);
        resolve({ before, match });
      };
      this.#wake();
    });
  }
}
