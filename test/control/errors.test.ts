/** What an error says of the value that was wrong. */
import { inspect } from "node:util";
import { describe, expect, it, test } from "vitest";
import { ConfigError } from "../../src/control/errors.ts";
import { resolveOptions } from "../../src/control/options.ts";
import { parseProxy } from "../../src/control/proxy-rules.ts";
import { resolveWsAccess } from "../../src/control/ws-access.ts";

function thrown(act: () => unknown): ConfigError {
  try {
    act();
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return error as ConfigError;
  }
  throw new Error("nothing was thrown");
}

describe("a proxy's password is in no error, shown or inspected", () => {
  test.each([
    ["socks4://user:secret@192.0.2.1", "socks4://***@192.0.2.1"],
    ["*.test=ftp://user:secret@192.0.2.1", "ftp://***@192.0.2.1"],
    ["socks5://user:secret@", "socks5://***@"],
    ["socks5://user:se/cret@h:1", "socks5://***@h:1"],
    ["socks5://user:se@cret@h:1/x", "socks5://***@h:1/x"],
    ["socks5://user:%zzsecret@h:1", "socks5://***@h:1"],
    ["socks5//user:secret@h:1080", "***@h:1080"],
    ["user:secret@h:1080", "***@h:1080"],
    ["socks5://user:secret", "socks5://user:***"],
    ["http://h:80/secret?x", "http://h:80/secret?x"],
  ])("%s", (text, shown) => {
    const error = thrown(() => parseProxy(text));
    expect(error.message).toContain(shown);
    for (const told of [error.message, inspect(error), error.named("--proxy").message, String(error.value)])
      expect(told).not.toMatch(text.startsWith("http://h") ? /never/ : /secret|se@|se\/|cret/);
  });
  it("of a list or an object neither", () => {
    const proxy = { proxy: "socks5://user:secret@h", more: 1 };
    for (const wrong of [proxy, [proxy], ["socks5://user:secret@h", 3]]) {
      const error = thrown(() => resolveOptions({ proxy: wrong as never }));
      expect(error.message + inspect(error)).not.toContain("secret");
    }
  });
});

it("nor is a token", () => {
  const names = { origins: "--ws-origin", token: "--ws-token" };
  const error = thrown(() => resolveWsAccess({ token: "my secret" }, names));
  expect(error.message + inspect(error)).not.toContain("secret");
});
