/** A process that has nothing to do does nothing: on a battery each wake-up counts. */
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, it } from "vitest";
import { arpRequest, Command, prefixed, temporaryFolder } from "./command.ts";

const WINDOW_MS = 3_000;
/** V8 looks at its heap every eight seconds until that has settled, and a router advertises itself three times at first. */
const WINDOWS = 8;

/** How often the process's own thread has gone to sleep. */
function sleeps(pid: number): number {
  return Number(/^voluntary_ctxt_switches:\s*(\d+)/m.exec(fs.readFileSync(`/proc/${pid}/status`, "utf8"))![1]);
}

it.skipIf(process.platform !== "linux")(
  "serve with an idle guest, API, forward and rules does not wake up at all",
  async () => {
    const folder = temporaryFolder();
    const [at, rules] = [path.join(folder, "n.sock"), path.join(folder, "rules")];
    fs.writeFileSync(rules, "default allow\n");
    const args = ["--listen", `unix:${at}`, "--api", `unix:${path.join(folder, "a.sock")}`, "--rules", rules];
    // As npm starts it, too.
    const env = { XDG_RUNTIME_DIR: folder, npm_lifecycle_event: "start" };
    const serve = new Command([...args, "--hostfwd", "tcp:127.0.0.1:0-:22"], env);
    try {
      await serve.printed(/-netdev/);
      const guest = net.connect(at);
      guest.write(prefixed(arpRequest()));
      await new Promise((resolve) => guest.once("data", resolve));
      guest.resume();
      const counts: number[] = [];
      for (let i = 0; i < WINDOWS && counts.at(-1) !== 0; i++) {
        const before = sleeps(serve.child.pid!);
        await sleep(WINDOW_MS);
        counts.push(sleeps(serve.child.pid!) - before);
      }
      expect(counts.at(-1), `wake-ups in windows of ${WINDOW_MS / 1000} s: ${counts}`).toBe(0);
      guest.destroy();
    } finally {
      await serve.stop();
      fs.rmSync(folder, { recursive: true });
    }
  },
);
