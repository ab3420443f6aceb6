/** Advice when the system reserves a port for its administrator. */

/** The advice to append to the error's message; "" for other errors. */
export function portHint(error: unknown, platform: NodeJS.Platform = process.platform): string {
  const { code, port } = error as { readonly code?: string; readonly port?: number };
  if (code !== "EACCES" || port === undefined || port === 0) return "";
  if (platform === "win32") return "; Windows has reserved this port, or another program has it for itself";
  const lower = platform === "linux" ? ", or lower the sysctl net.ipv4.ip_unprivileged_port_start" : "";
  return port < 1024 ? `; a port below 1024 is for root: start serve as root with --user NAME${lower}` : "";
}
