/**
 * What somebody at a terminal does: a guest runs, `tslirp ctl` opens a forward, it is used, and the flow is seen in the
 * API, in the metrics and in a capture that tshark reads.
 */
import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { REPOSITORY } from "../support/e2e/namespace.ts";
import { describeE2e, LIBSLIRP } from "../support/e2e/requirements.ts";
import { Rig } from "../support/e2e/rig.ts";
import { ServicesProcess } from "../support/e2e/services-process.ts";
import { PROGRAM } from "../support/program.ts";

describeE2e(
  "a network that is seen and steered while it runs",
  LIBSLIRP ? ["no such thing"] : ["curl", "tshark"],
  () => {
    let rig: Rig;
    let socket: string;
    beforeAll(async () => {
      socket = join(tmpdir(), `tslirp-ctl-${process.pid}.sock`);
      rig = await Rig.online({ args: ["--api", `unix:${socket}`] });
      await ServicesProcess.start(rig.guest, { host: "0.0.0.0", ports: { http: 80 }, files: { "/hello": "hello\n" } });
    });
    afterAll(() => rig?.close());

    async function ctl(...args: string[]): Promise<string> {
      const words = [...PROGRAM, "ctl", "--api", `unix:${socket}`, ...args];
      const { code, stdout, stderr } = await rig.host.run(process.execPath, words);
      expect([code, stderr]).toEqual([0, ""]);
      return stdout;
    }

    it("a forward is added, used and seen in the API, the metrics and a capture, and removed", async () => {
      const file = join(rig.hostRig.folder, "seen.pcapng");
      await ctl("capture", "start", file, "--filter", "tcp port 80");
      expect(await ctl("publish", "add", "18080:80")).toContain("127.0.0.1:18080");
      const got = await rig.host.run("curl", ["-sS", "--max-time", "5", "http://127.0.0.1:18080/hello"]);
      expect(got).toMatchObject({ code: 0, stdout: "hello\n" });
      const metrics = await rig.host.run("curl", ["-sS", "--unix-socket", socket, "http://api/metrics"]);
      expect(metrics.stdout).toMatch(/^tslirp_flows_opened_total\{[^}]*proto="tcp"[^}]*direction="in"[^}]*\} 1$/m);
      expect(JSON.parse(await ctl("--json", "leases"))).toMatchObject([{ ip: "10.0.2.15" }]);
      expect(await ctl("capture", "stop")).toContain("seen.pcapng");
      const shark = await rig.host.run("tshark", ["-r", file, "-Y", "http", "-T", "fields", "-e", "http.request.uri"]);
      expect(shark.stdout.trim().split("\n")[0]).toBe("/hello");
      expect(readFileSync(file).includes("flow opened")).toBe(true);
      await ctl("publish", "rm", "127.0.0.1:18080");
      const gone = await rig.host.run("curl", ["-sS", "--max-time", "5", "http://127.0.0.1:18080/hello"]);
      expect(gone.code).toBe(7);
    });

    it("ctl dial is a stream to a guest's port", async () => {
      const dial = `exec '${process.execPath}' '${PROGRAM.join("' '")}' ctl --api unix:${socket} dial 10.0.2.15:80`;
      const request = "printf 'GET /hello HTTP/1.0\\r\\n\\r\\n'";
      const { stdout } = await rig.host.run("sh", ["-c", `${request} | (cd '${REPOSITORY}' && ${dial})`]);
      expect(stdout).toMatch(/^HTTP\/1\.[01] 200 OK\r\n[\s\S]*\r\n\r\nhello\n$/);
    });
  },
);
