/** The web page: a few files without secrets. The requests that the page makes need the token. */
import { readFileSync } from "node:fs";
import type { FastifyInstance } from "fastify";

const FILES: Readonly<Record<string, readonly [file: string, type: string]>> = {
  "/": ["index.html", "text/html; charset=utf-8"],
  "/style.css": ["style.css", "text/css; charset=utf-8"],
  ...Object.fromEntries(
    ["app", "api", "asks", "flows", "forwards", "line", "networks", "packets", "plot", "table", "words"].map((name) => [
      `/${name}.js`,
      [`${name}.js`, "text/javascript; charset=utf-8"] as const,
    ]),
  ),
};
/** The page may load nothing from other origins and nothing inline, and no other page may frame it. */
const POLICY = "default-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/** Whether a request is for the page itself, which needs no token. */
export function isPage(url: string): boolean {
  return Object.hasOwn(FILES, url.split("?")[0]!);
}

export function addPage(app: FastifyInstance): void {
  for (const [url, [file, type]] of Object.entries(FILES)) {
    const text = readFileSync(new URL(`page/${file}`, import.meta.url));
    app.get(url, { schema: { hide: true } }, async (_request, reply) =>
      reply
        .type(type)
        .header("content-security-policy", POLICY)
        .header("x-content-type-options", "nosniff")
        .header("referrer-policy", "no-referrer")
        .header("cache-control", "no-cache")
        .send(text),
    );
  }
}
