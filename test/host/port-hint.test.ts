import { expect, it } from "vitest";
import { portHint } from "../../src/host/port-hint.ts";

it("says who may have a port below 1024, as it is on each platform, and nothing about other errors", () => {
  const error = { code: "EACCES", port: 80 };
  expect(portHint(error, "linux")).toMatch(/--user NAME, or lower the sysctl net\.ipv4\.ip_unprivileged_port_start$/);
  expect(portHint(error, "darwin")).toMatch(/--user NAME$/);
  expect(portHint(error, "win32")).toContain("reserved");
  expect(portHint({ code: "EACCES", port: 8080 }, "linux")).toBe("");
  expect(portHint({ code: "EADDRINUSE", port: 80 }, "linux")).toBe("");
  expect(portHint(new Error("x"), "linux")).toBe("");
});
