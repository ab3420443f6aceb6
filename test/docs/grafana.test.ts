/** docs/grafana.json shows what there is: each metric that it names is one that a network tells. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { Metrics } from "../../src/api/metrics.ts";
import { createNetwork } from "../../src/index.ts";

interface Dashboard {
  readonly panels: readonly { readonly title: string; readonly targets: readonly { readonly expr: string }[] }[];
  readonly templating: { readonly list: readonly { readonly query: string }[] };
}

it("each metric and label of the dashboard exists, and each metric of ours but a few is on it", async () => {
  const dashboard = JSON.parse(readFileSync("docs/grafana.json", "utf8")) as Dashboard;
  await using network = await createNetwork();
  const metrics = new Metrics(network, { process: true });
  const known = await metrics.registry.getMetricsAsJSON();
  const names = new Set(
    known.flatMap(({ name, type }) => (String(type) === "histogram" ? [`${name}_bucket`, `${name}_sum`] : [name])),
  );
  const shown = new Set<string>();
  const texts = [
    ...dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr)),
    ...dashboard.templating.list.map(({ query }) => query),
  ];
  for (const text of texts)
    for (const [name] of text.matchAll(/\b(?:tslirp|nodejs|process)_\w+/g)) {
      expect(names, text).toContain(name);
      shown.add(name.replace(/_bucket$/, ""));
    }
  const missing = known.map(({ name }) => name).filter((name) => name.startsWith("tslirp_") && !shown.has(name));
  expect(missing.toSorted()).toEqual([
    "tslirp_flow_bytes_total",
    "tslirp_flows_closed_total",
    "tslirp_forwards",
    "tslirp_leases",
    "tslirp_tcp_retransmissions_total",
    "tslirp_timers",
  ]);
  metrics.close();
});
