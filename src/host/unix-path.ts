/**
 * The longest path of a UNIX socket: `sockaddr_un` has to contain it with its NUL (108 bytes on Linux, 104 elsewhere),
 * or it would be cut.
 */
export const UNIX_PATH_MAX: number = process.platform === "linux" ? 107 : 103;
