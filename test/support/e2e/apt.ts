/** A Debian repository with one package, and an apt that knows no other. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** A flat repository with one package, as `[trusted=yes] http://HOST ./` wants it; paths and files. */
export function repository(folder: string): Record<string, { file: string }> {
  const tree = join(folder, "package");
  mkdirSync(join(tree, "DEBIAN"), { recursive: true });
  mkdirSync(join(tree, "usr/share"), { recursive: true });
  writeFileSync(join(tree, "usr/share/proof"), "fetched through the sandbox\n");
  const control = ["Package: proof", "Version: 1.0", "Architecture: all", "Maintainer: nobody <nobody@debian.test>"];
  writeFileSync(join(tree, "DEBIAN/control"), [...control, "Description: a file", ""].join("\n"));
  const deb = join(folder, "proof_1.0_all.deb");
  execFileSync("dpkg-deb", ["--root-owner-group", "--build", tree, deb], { stdio: "ignore" });
  const bytes = readFileSync(deb);
  const found = ["Filename: ./proof_1.0_all.deb", `Size: ${bytes.length}`, `SHA256: ${sha256(bytes)}`];
  const packages = join(folder, "Packages");
  writeFileSync(packages, [...control, ...found, "Description: a file", "", ""].join("\n"));
  return {
    "/debian/./Packages": { file: packages },
    "/debian/Packages": { file: packages },
    "/debian/./proof_1.0_all.deb": { file: deb },
    "/debian/proof_1.0_all.deb": { file: deb },
  };
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Nothing of this machine's apt: neither its settings nor its lists, and nothing is installed. */
export function aptOptions(folder: string, host: string): string[] {
  for (const each of [
    "etc/apt.conf.d",
    "etc/preferences.d",
    "etc/sources.d",
    "state/lists/partial",
    "cache/archives/partial",
    "log",
  ])
    mkdirSync(join(folder, each), { recursive: true });
  for (const [file, text] of [
    ["status", ""],
    ["apt.conf", ""],
    ["sources.list", `deb [trusted=yes] http://${host}/debian ./\n`],
  ] as const)
    writeFileSync(join(folder, file), text);
  const options = {
    "Dir::Etc": `${folder}/etc`,
    "Dir::Etc::main": `${folder}/apt.conf`,
    "Dir::Etc::parts": `${folder}/etc/apt.conf.d`,
    "Dir::Etc::sourcelist": `${folder}/sources.list`,
    "Dir::Etc::sourceparts": `${folder}/etc/sources.d`,
    "Dir::Etc::preferencesparts": `${folder}/etc/preferences.d`,
    "Dir::State": `${folder}/state`,
    "Dir::State::status": `${folder}/status`,
    "Dir::Cache": `${folder}/cache`,
    "Dir::Log": `${folder}/log`,
    "APT::Sandbox::User": "root",
    "APT::Architecture": "amd64",
    "Acquire::http::Proxy": "DIRECT",
    "Acquire::Languages": "none",
    "Acquire::Retries": "0",
  };
  return Object.entries(options).flatMap(([key, value]) => ["-o", `${key}=${value}`]);
}
