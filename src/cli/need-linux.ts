/** Throws an `Error` of one line where the kernel has no namespaces: `command` is what the user typed. */
export function needLinux(command: string, platform: NodeJS.Platform = process.platform): void {
  if (platform === "linux") return;
  throw new Error(
    `${command} needs Linux, whose namespaces it is made of; this is ${platform}. serve and qemu work here`,
  );
}
