/**
 * Makes a Linux for v86 of Debian's own packages: `node linux-image.mjs FOLDER` leaves `vmlinuz` and `initrd.gz` there.
 *
 * The kernel (`linux-image-686`) and `busybox-static` are Debian's for i386. apt fetches them and checks their signatures, by
 * lists of its own in FOLDER: nothing is installed, and the system's architectures stay as they are. The initial RAM disk is
 * BusyBox, the driver of the emulated card, and a script that gets a lease, resolves a name and fetches a page.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { gzipSync } from "node:zlib";

const folder = path.resolve(process.argv[2] ?? "linux");
const scratch = path.join(folder, "packages");
mkdirSync(path.join(scratch, "lists/partial"), { recursive: true });
mkdirSync(path.join(scratch, "cache/archives/partial"), { recursive: true });
writeFileSync(path.join(scratch, "status"), "");
const config = path.join(scratch, "apt.conf");
writeFileSync(
  config,
  `APT::Architecture "i386"; APT::Architectures { "i386"; }; APT::Sandbox::User "";
Dir::State "${scratch}"; Dir::State::Lists "${scratch}/lists"; Dir::State::status "${scratch}/status"; Dir::Cache "${scratch}/cache";
`,
);
const run = (program, ...args) =>
  execFileSync(program, args, { cwd: scratch, env: { ...process.env, APT_CONFIG: config }, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });

try {
  run("apt-get", "update", "-qq");
} catch {
  // One of several archives may have nothing for i386; what is missing is told below.
}
const [, kernel] = /Depends: (linux-image-\S+)/.exec(run("apt-cache", "depends", "linux-image-686")) ?? [];
if (kernel === undefined) {
  console.error("apt knows no linux-image-686: expected a Debian whose archive has i386 packages");
  process.exit(1);
}
run("apt-get", "download", "-qq", kernel, "busybox-static");
const root = path.join(scratch, "root");
for (const file of readdirSync(scratch).filter((name) => name.endsWith(".deb")))
  run("dpkg-deb", "-x", path.join(scratch, file), root);
const version = kernel.slice("linux-image-".length);
const drivers = path.join(root, `lib/modules/${version}/kernel/drivers/net/ethernet/8390`);

const INIT = `#!/bin/busybox sh
/bin/busybox mkdir -p /proc /etc
/bin/busybox --install /bin
mount -t proc proc /proc
insmod /8390.ko && insmod /ne2k-pci.ko
ip link set eth0 up
udhcpc -q -n -t 20 -i eth0 -s /lease
echo "Linux $(uname -r) asks for http://www.v86.test/done"
wget -q -O - "http://www.v86.test/done?ip=$(ip -4 -o addr show eth0 | sed 's|.*inet ||; s|/.*||')"
exec sh
`;
const LEASE = `#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add $ip/$mask dev $interface
ip route add default via $router
for each in $dns; do echo "nameserver $each"; done > /etc/resolv.conf
`;
const files = [
  ["bin", null, 0o40755],
  ["bin/busybox", readFileSync(path.join(root, "bin/busybox")), 0o100755],
  ["8390.ko", readFileSync(path.join(drivers, "8390.ko")), 0o100644],
  ["ne2k-pci.ko", readFileSync(path.join(drivers, "ne2k-pci.ko")), 0o100644],
  ["lease", Buffer.from(LEASE), 0o100755],
  ["init", Buffer.from(INIT), 0o100755],
  ["TRAILER!!!", null, 0],
];
writeFileSync(path.join(folder, "vmlinuz"), readFileSync(path.join(root, `boot/vmlinuz-${version}`)));
writeFileSync(path.join(folder, "initrd.gz"), gzipSync(archive(files)));
rmSync(scratch, { recursive: true });
console.log(`Linux ${version} is in ${folder}: node serve.mjs 0 ${folder}`);

/** An archive as the kernel unpacks it (cpio's "newc"). */
function archive(entries) {
  return Buffer.concat(
    entries.flatMap(([name, content, mode], i) => {
      const bytes = content ?? Buffer.alloc(0);
      const fields = [i + 1, mode, 0, 0, 1, 0, bytes.length, 0, 0, 0, 0, name.length + 1, 0];
      const head = Buffer.from(`070701${fields.map((n) => n.toString(16).padStart(8, "0")).join("")}${name}\0`);
      return [head, bytes].flatMap((part) => [part, Buffer.alloc(-part.length & 3)]);
    }),
  );
}
