/** An SSH server of our own in a guest, which lets root in with a key made for it. */
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import path from "node:path";
import type { Guest } from "./guest.ts";

/** Starts it on port 22; gives the file of the private key that is let in. */
export function startSshd(guest: Guest, folder: string): string {
  const keys = { host: path.join(folder, "host_key"), user: path.join(folder, "user_key") };
  for (const key of Object.values(keys)) execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", key]);
  // Where it separates its privileges.
  mkdirSync("/run/sshd", { recursive: true });
  const options = {
    HostKey: keys.host,
    AuthorizedKeysFile: `${keys.user}.pub`,
    StrictModes: "no",
    UsePAM: "no",
    PidFile: "none",
    PermitRootLogin: "prohibit-password",
    // A bash of the first level reads the user's .bashrc, which may wait for anything.
    SetEnv: "SHLVL=1",
  };
  const args = Object.entries(options).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
  guest.spawn("/usr/sbin/sshd", ["-D", "-e", "-f", "/dev/null", "-p", "22", ...args], { stdio: "ignore" });
  return keys.user;
}
