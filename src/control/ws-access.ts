/** Who may attach by WebSocket, as users write it. */
import * as z from "zod/mini";
import { normalOrigin, type WsAccess } from "../attach/ws-access.ts";
import { ConfigError } from "./errors.ts";
import type { Shape } from "./shape.ts";

/** The clients that may attach by WebSocket. Without options: all that are not browsers. */
export interface WsAccessOptions {
  /**
   * The web pages that may connect, by origin: `https://example.org`, `*` for all, `null` for pages that are files
   * (none).
   */
  readonly origins?: readonly string[] | undefined;
  /**
   * The token that clients must show, as `?token=` or `Authorization: Bearer …`: 1 to 256 letters, digits and
   * `._~+/=-` (none).
   */
  readonly token?: string | undefined;
}

const ORIGIN =
  "expected a web page's origin like https://example.org or http://localhost:8000, * for all, or null for files";
const TOKEN = "expected a token of 1 to 256 letters, digits and ._~+/=-";

const origins = z.optional(z.readonly(z.array(z.string(ORIGIN), "expected a list of origins")));
const token = z.optional(z.string(TOKEN).check(z.regex(/^[A-Za-z0-9._~+/=-]{1,256}$/, TOKEN)));

/** Throws `ConfigError`, whose field is the name that `names` has for the option. */
export function resolveWsAccess(
  options: WsAccessOptions,
  names: { readonly origins: string; readonly token: string },
): WsAccess {
  const check = <T>(name: "origins" | "token", shape: Shape<T>, value: unknown): T => {
    const result = shape.safeParse(value);
    if (result.success) return result.data;
    throw new ConfigError(names[name], value, result.error.issues[0]!.message);
  };
  const given = check("origins", origins, options.origins) ?? [];
  return {
    origins: given.map((text) => {
      const normal = normalOrigin(text);
      if (normal === null) throw new ConfigError(names.origins, text, ORIGIN);
      return normal;
    }),
    token: check("token", token, options.token) ?? null,
  };
}
