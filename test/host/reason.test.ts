import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import { expect, it } from "vitest";
import { portHint, reasonOf, wordsOf } from "../../src/host/reason.ts";

it("says who may have a port below 1024, as it is on each platform, and nothing about other errors", () => {
  const error = { code: "EACCES", port: 80 };
  expect(portHint(error, "linux")).toMatch(/--user NAME, or lower the sysctl net\.ipv4\.ip_unprivileged_port_start$/);
  expect(portHint(error, "darwin")).toMatch(/--user NAME$/);
  expect(portHint(error, "win32")).toContain("reserved");
  expect(portHint({ code: "EACCES", port: 8080 }, "linux")).toBe("");
  expect(portHint({ code: "EADDRINUSE", port: 80 }, "linux")).toBe("");
  expect(portHint(new Error("x"), "linux")).toBe("");
});

it("puts what the system refuses into words without its codes and calls, and leaves other errors as they are", async () => {
  const failed = async (emitter: NodeJS.EventEmitter): Promise<string> => reasonOf((await once(emitter, "error"))[0]);
  const thrown = (act: () => void): string => {
    try {
      act();
    } catch (error) {
      return reasonOf(error);
    }
    return "";
  };
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  expect(await failed(net.createServer().listen(port, "127.0.0.1"))).toBe("another program has this port");
  server.close();
  await once(server, "close");
  expect(await failed(net.connect(port, "127.0.0.1"))).toBe("nobody listens there");
  expect(await failed(net.createServer().listen(0, "192.0.2.77"))).toBe("this machine has no such address");
  expect(await failed(net.connect("/nowhere/x.sock"))).toBe("there is no such socket");
  expect(await failed(spawn("no-such-program-here"))).toBe("there is no program no-such-program-here");
  expect(thrown(() => fs.readFileSync("/nowhere/x"))).toBe("there is no such file or folder");
  expect(thrown(() => fs.readFileSync("/"))).toBe("it is a folder");
  expect(reasonOf(new Error("the disk is slower than the network"))).toBe("the disk is slower than the network");
  expect(reasonOf("what was thrown is no error")).toBe("what was thrown is no error");
  expect(wordsOf("ENOSPC")).toBe("no space left on device");
  expect(wordsOf("EUNHEARDOF")).toBe("EUNHEARDOF");
});
