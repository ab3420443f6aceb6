/** What the end-to-end tests need of the machine, and how they say that it is not there. */
import { execFileSync } from "node:child_process";
import { accessSync, existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { describe } from "vitest";

/** "tslirp", or "libslirp": the same tests against QEMU's own user network, to know which of them describe both. */
export const BACKEND: "tslirp" | "libslirp" = process.env.E2E_BACKEND === "libslirp" ? "libslirp" : "tslirp";

/** "At once", of a machine that has much else to do: well below the five seconds and more that who is not told waits. */
export const AT_ONCE_MS = 4_000;

const BASE_TOOLS = ["qemu-system-x86_64", "ip", "setpriv", "busybox"];
/** What QEMU loads for a virtio card by itself, where Debian and Ubuntu keep it. */
export const IPXE_ROM = "/usr/lib/ipxe/qemu/efi-virtio.rom";

/** What is missing, in words; empty when all is there. */
function missing(needs: readonly string[]): string {
  if (process.platform !== "linux") return "Linux";
  const folders = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/sbin"];
  const lacking = [...BASE_TOOLS, ...needs].filter((need) =>
    need.startsWith("/") ? !existsSync(need) : !folders.some((folder) => existsSync(join(folder, need))),
  );
  if (lacking.length > 0) return lacking.join(", ");
  if (process.getuid?.() !== 0) return "root (for network namespaces)";
  if (!namespacesWork()) return "network namespaces with /dev/net/tun";
  return "";
}

function namespacesWork(): boolean {
  try {
    accessSync("/dev/net/tun");
    execFileSync("unshare", ["-n", "true"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

/**
 * A suite with real guests. Where the machine lacks `needs` (program names, or paths of files) it is skipped and its
 * name says why; in CI (`CI=true`) it fails instead, since there nothing may be missing.
 */
export function describeE2e(name: string, needs: readonly string[], body: () => void): void {
  const lack = missing(needs);
  if (lack === "") {
    describe(`${name} (${BACKEND})`, body);
  } else if (process.env.CI === "true") {
    describe(name, (_suite) => {
      throw new Error(`${name}: this machine lacks ${lack}`);
    });
  } else {
    process.stderr.write(`SKIPPED ${name}: this machine lacks ${lack}\n`);
    describe.skip(`${name} [SKIPPED: lacks ${lack}]`, body);
  }
}

/** True where libslirp is the back-end: `it.skipIf(LIBSLIRP)("… (libslirp: why it does not)", …)`. */
export const LIBSLIRP: boolean = BACKEND === "libslirp";

/** Whether a program can be run like that here. */
export function works(program: string, ...args: string[]): boolean {
  try {
    execFileSync(program, args, { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}
