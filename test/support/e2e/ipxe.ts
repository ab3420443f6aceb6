/** Machines that boot from the network: QEMU's PC, without KVM, its screen on a pipe. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import type { Namespace } from "./namespace.ts";

/** UEFI's firmware and, to be booted by it, iPXE as a program, where Debian and Ubuntu keep them. */
export const OVMF = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const OVMF_VARS = "/usr/share/OVMF/OVMF_VARS_4M.fd";
export const IPXE_EFI = "/usr/lib/ipxe/snponly.efi";
const MAC = "52:54:00:e2:e0:02";

/** iPXE as QEMU ships it boots until the console says `last`; gives all it said. */
export function bootIpxe(
  host: Namespace,
  socketPath: string,
  last: string,
  timeout: number,
  extra: readonly string[] = [],
): Promise<string> {
  return boot(host, last, timeout, [...ipxePc(socketPath), ...extra]);
}

function ipxePc(socketPath: string): string[] {
  return [
    ...["-machine", "pc,accel=tcg,graphics=off", "-m", "128"],
    ...cable(socketPath),
    ...["-device", `virtio-net-pci,netdev=n0,mac=${MAC},bootindex=1`],
  ];
}

/** UEFI's own network boot, without iPXE in the card: `by` PXE or HTTP, over IPv4. */
export function bootUefi(
  host: Namespace,
  folder: string,
  socketPath: string,
  by: "PXE" | "HTTP",
  last: string,
  timeout: number,
): Promise<string> {
  const vars = join(folder, `vars-${by}.fd`);
  copyFileSync(OVMF_VARS, vars);
  const off = (what: string): string[] => ["-fw_cfg", `name=opt/org.tianocore/${what}PXESupport,string=n`];
  return boot(host, last, timeout, [
    ...["-machine", "q35,accel=tcg", "-m", "256"],
    ...["-drive", `if=pflash,format=raw,unit=0,readonly=on,file=${OVMF}`],
    ...["-drive", `if=pflash,format=raw,unit=1,file=${vars}`],
    ...off("IPv6"),
    ...(by === "HTTP" ? off("IPv4") : []),
    ...cable(socketPath),
    ...["-device", `virtio-net-pci,netdev=n0,mac=${MAC},romfile=,bootindex=1`],
  ]);
}

function cable(socketPath: string): string[] {
  return ["-netdev", `stream,id=n0,server=off,addr.type=unix,addr.path=${socketPath}`];
}

/** Runs a machine until its console says `last`; gives all it said, without the screen's control sequences. */
async function boot(host: Namespace, last: string, timeout: number, args: readonly string[]): Promise<string> {
  const machine = new Machine(host, args);
  try {
    return await machine.says((text) => text.includes(last), `"${last}"`, timeout);
  } finally {
    await machine.kill();
  }
}

/** A PC that boots as `bootIpxe`'s does, for as long as the test wants it. */
export function ipxeMachine(host: Namespace, socketPath: string, extra: readonly string[]): Machine {
  return new Machine(host, [...ipxePc(socketPath), ...extra]);
}

/** A running QEMU and what its console has said. */
export class Machine {
  readonly #child: ChildProcess;
  #said = "";
  #wake: () => void = () => {};
  #over = false;

  constructor(host: Namespace, args: readonly string[]) {
    this.#child = host.spawn(
      "qemu-system-x86_64",
      ["-nodefaults", "-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot", ...args],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    this.#child.stdout?.on("data", (piece) => {
      this.#said += piece;
      this.#wake();
    });
    this.#child.once("exit", () => {
      this.#over = true;
      this.#wake();
    });
  }

  /** What its console has said, without the screen's control sequences. */
  get text(): string {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: terminal control sequences are what is removed.
    return this.#said.replaceAll(/\x1b\[[0-9;?=]*[A-Za-z]|\r/g, "");
  }

  /** Resolves with all it has said when that is as `wanted`; rejects after `timeout` milliseconds or at the machine's end. */
  async says(wanted: (text: string) => boolean, what: string, timeout: number): Promise<string> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#wake();
    }, timeout);
    try {
      while (!wanted(this.text)) {
        if (late || this.#over) throw new Error(`the machine never said ${what}, but:\n${this.text}`);
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
      return this.text;
    } finally {
      clearTimeout(timer);
    }
  }

  async kill(): Promise<void> {
    if (this.#over) return;
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await ended;
  }
}
