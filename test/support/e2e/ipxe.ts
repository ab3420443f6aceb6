/** A machine that boots from the network: QEMU's PC, without KVM, with iPXE as QEMU ships it, its screen on a pipe. */
import type { Namespace } from "./namespace.ts";

/** Boots until the console says `last`; gives all it said, without the screen's control sequences. */
export function bootIpxe(
  host: Namespace,
  socketPath: string,
  last: string,
  timeout: number,
  extra: readonly string[] = [],
): Promise<string> {
  const machine = host.spawn(
    "qemu-system-x86_64",
    [
      ...["-machine", "pc,accel=tcg,graphics=off", "-m", "128", "-nodefaults", "-display", "none"],
      ...["-monitor", "none", "-serial", "stdio", "-no-reboot"],
      ...["-netdev", `stream,id=n0,server=off,addr.type=unix,addr.path=${socketPath}`],
      ...["-device", `virtio-net-pci,netdev=n0,mac=52:54:00:e2:e0:02,bootindex=1`],
      ...extra,
    ],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  let said = "";
  return new Promise((resolve, reject) => {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: terminal control sequences are what is removed.
    const text = (): string => said.replaceAll(/\x1b\[[0-9;?=]*[A-Za-z]|\r/g, "");
    const timer = setTimeout(() => machine.kill("SIGKILL"), timeout);
    machine.stdout?.on("data", (piece) => {
      said += piece;
      if (text().includes(last)) machine.kill("SIGKILL");
    });
    machine.once("exit", () => {
      clearTimeout(timer);
      if (text().includes(last)) resolve(text());
      else reject(new Error(`the machine never said "${last}", but:\n${text()}`));
    });
  });
}
