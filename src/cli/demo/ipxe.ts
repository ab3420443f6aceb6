/**
 * The demo's guest on a machine with QEMU: iPXE, the boot ROM that comes with QEMU. It is a real TCP/IP stack with a
 * script language, so it can report its results by HTTP, and nothing needs to be read off its screen.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { reasonOf } from "../../host/reason.ts";
import type { Network } from "../../network.ts";
import { type Proofs, unlessAborted } from "./proofs.ts";
import { WEB_NAME, type World } from "./world.ts";

/** The script that the boot file chains to. */
const NEXT = "/next.ipxe";
/** How many lines make the last script a large one. */
const FILLER_LINES = 4_000;
/** iPXE solicits IPv6 routers for up to 16 s before it boots. If a router answers, iPXE is much faster than this. */
const IPV6_WAIT_MS = 5_000;

/** Resolves with false, and without results, when QEMU cannot run this guest: it has no ROM, or no `-netdev stream`. */
export async function proveWithIpxe(net: Network, world: World, proofs: Proofs, qemu: QemuRun): Promise<boolean> {
  const script = prepareScripts(world, net.config.host);
  // These listeners are there before the machine starts, so that no event is missed.
  const news = {
    lease: new Promise<{ ip: string; mac: string }>((resolve) => net.once("lease", resolve)),
    dns: new Promise<{ name: string; rcode: number }>((resolve) => net.once("dns", resolve)),
    tftp: new Promise<{ file: string; bytes: number; error: string | null }>((resolve) => net.once("tftp", resolve)),
    boot: requested(world, NEXT),
    report: requested(world, "/report"),
    done: requested(world, "/done"),
  };
  const started = performance.now();
  const machine = startQemu(qemu, await net.listen({ path: qemu.socket }));
  try {
    const alive = await unlessAborted(
      qemu.signal,
      Promise.race([news.lease.then(() => true), machine.exited.then(() => false)]),
    ).catch(() => true);
    if (!alive) {
      qemu.print(`QEMU cannot run this guest here: ${machine.said().trim() || "it ended at once"}\n`);
      return false;
    }
    const of = <T>(what: Promise<T>): Promise<T> =>
      Promise.race([
        what,
        machine.exited.then(() => Promise.reject(new Error(`QEMU ended: ${machine.said().trim()}`))),
      ]);
    await proofs.prove(
      "the machine starts, DHCP",
      async () => {
        const { ip, mac } = await of(news.lease);
        return `${ip} leased to ${mac}`;
      },
      started,
    );
    const leased = performance.now();
    await proofs.prove("TFTP", async () => {
      const { file, bytes, error } = await of(news.tftp);
      if (error !== null) throw new Error(`${file}: ${error}`);
      const waited = performance.now() - leased > IPV6_WAIT_MS;
      return `${file} read, ${bytes} bytes${waited ? "; iPXE waited for an IPv6 router first" : ""}`;
    });
    await proofs.prove("DNS", async () => {
      const { name, rcode } = await of(news.dns);
      if (rcode !== 0 || name !== WEB_NAME) throw new Error(`${name}: rcode ${rcode}`);
      return `${name} resolved`;
    });
    await proofs.prove("HTTP by name, through the NAT", async () => {
      await of(news.boot);
      return "the boot script runs and fetches another";
    });
    await proofs.prove("a closed port", async () => {
      const { searchParams } = await of(news.report);
      if (searchParams.get("refused") !== "yes") throw new Error("the connection was not refused");
      return "refused by a reset, at once";
    });
    await proofs.prove("a larger file", async () => {
      await of(news.done);
      return `script of ${script.length} bytes fetched, its last line run`;
    });
    return true;
  } finally {
    await machine.stop();
  }
}

export interface QemuRun {
  readonly program: string;
  readonly socket: string;
  readonly signal: AbortSignal;
  readonly print: (text: string) => void;
}

/** The script that iPXE reads by TFTP. It goes on by HTTP. */
export function bootScript(world: World): string {
  return `#!ipxe\nchain ${world.web}${NEXT}\n`;
}

/**
 * The scripts. iPXE's next request tells whether it got a reset; the last line of the big script shows that all of it
 * arrived.
 */
function prepareScripts(world: World, gateway: string): string {
  const filler = `${"# nothing to do on this line, it is here to be carried".padEnd(79)}\n`.repeat(FILLER_LINES);
  const big = `#!ipxe\n${filler}imgfetch ${world.web}/done\n`;
  world.pages.set(
    NEXT,
    [
      "#!ipxe",
      `imgfetch http://${gateway}:${world.refusedPort}/ && set refused no || set refused yes`,
      // biome-ignore lint/suspicious/noTemplateCurlyInString: iPXE expands this one.
      `imgfetch ${world.web}/report?refused=${"${refused}"} ||`,
      `chain ${world.web}/big.ipxe`,
      "",
    ].join("\n"),
  );
  world.pages.set("/big.ipxe", big);
  return big;
}

interface Machine {
  readonly exited: Promise<void>;
  said(): string;
  stop(): Promise<void>;
}

function startQemu({ program }: QemuRun, netdev: readonly string[]): Machine {
  const child: ChildProcess = spawn(
    program,
    [
      // Emulated: a boot ROM needs no speed, and a broken (nested) KVM hangs instead of failing.
      ...["-machine", "pc,accel=tcg", "-m", "64", "-nodefaults", "-display", "none", "-serial", "none"],
      ...["-monitor", "none", "-no-reboot", "-boot", "n"],
      ...netdev,
    ],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  let said = "";
  child.stderr?.on("data", (piece) => {
    said += piece;
  });
  const exited = new Promise<void>((resolve) => {
    child.once("close", () => resolve());
    child.once("error", (error) => {
      said += reasonOf(error);
      resolve();
    });
  });
  return {
    exited,
    said: () => said,
    stop: () => {
      child.kill("SIGKILL");
      return exited;
    },
  };
}

function requested(world: World, path: string): Promise<URL> {
  return new Promise((resolve) => {
    world.on("request", (url) => {
      if (url.pathname === path) resolve(url);
    });
  });
}
