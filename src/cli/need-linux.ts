/**
 * Throws an `Error` of one line if the system is not Linux, which has namespaces. `command` is the word that the user
 * typed.
 */
export function needLinux(command: string, platform: NodeJS.Platform = process.platform): void {
  if (platform === "linux") return;
  throw new Error(
    `${command} needs Linux, whose namespaces it is made of; this is ${platform}. serve and qemu work here`,
  );
}
