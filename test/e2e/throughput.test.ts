/** iperf3 both ways. Not a benchmark: that the tool people reach for first works, at a rate that no fault would leave. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { describeE2e } from "../support/e2e/requirements.ts";
import { OUTSIDE, Rig } from "../support/e2e/rig.ts";

const FLOOR_BITS = 100e6;

describeE2e("iperf3 in a Linux guest", ["iperf3"], () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.online();
    const server = rig.host.spawn("iperf3", ["--server", "--forceflush"], { stdio: ["ignore", "pipe", "inherit"] });
    await new Promise((resolve) => server.stdout?.once("data", resolve));
  });
  afterAll(() => rig?.close());

  for (const [direction, ...flags] of [
    ["up, one stream"],
    ["down, one stream", "--reverse"],
    ["up, eight streams", "--parallel", "8"],
    ["down, eight streams", "--reverse", "--parallel", "8"],
  ] as const) {
    it(`TCP ${direction}`, async () => {
      const result = await rig.guest.run("iperf3", ["--client", OUTSIDE, "--time", "1", "--json", ...flags]);
      expect(result.code, result.stdout).toBe(0);
      expect(JSON.parse(result.stdout).end.sum_received?.bits_per_second, result.stdout).toBeGreaterThan(FLOOR_BITS);
    });
  }

  it("UDP up and down at 5 Mbit/s loses next to nothing", async () => {
    for (const flags of [[], ["--reverse"]]) {
      const args = ["--client", OUTSIDE, "--udp", "--bitrate", "5M", "--length", "1400", "--time", "1", "--json"];
      const result = await rig.guest.run("iperf3", [...args, ...flags]);
      expect(result.code, result.stdout).toBe(0);
      expect(JSON.parse(result.stdout).end.sum.lost_percent).toBeLessThan(5);
    }
  });
});
