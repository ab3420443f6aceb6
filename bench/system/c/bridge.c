// bridge TAP SOCKET connect|listen: joins a TAP of this namespace to a UNIX stream socket, with QEMU's framing: 32 bits
// of length, big-endian, before each frame. Many frames a write one way, many a read the other. Prints "up" when joined.
#include "common.h"
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/un.h>

enum { FRAME = 65600, FRAMES_A_TURN = 64, ROOM = 1 << 19, READ = 1 << 18 };
static uint8_t to_socket[ROOM], from_socket[ROOM];
static size_t out_at, out_end, in_end;
static int tap, sock;

static int open_tap(const char *name) {
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  struct ifreq r = {.ifr_flags = IFF_TAP | IFF_NO_PI};
  strncpy(r.ifr_name, name, IFNAMSIZ - 1);
  if (fd < 0 || ioctl(fd, TUNSETIFF, &r)) die("tap");
  return fd;
}

static int open_socket(const char *path, int listening) {
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  strncpy(at.sun_path, path, sizeof at.sun_path - 1);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (!listening) {
    if (connect(fd, (void *)&at, sizeof at)) die("connect");
    return fd;
  }
  if (bind(fd, (void *)&at, sizeof at) || listen(fd, 1)) die("listen");
  return accept(fd, NULL, NULL);
}

static void send_out(void) {
  while (out_at < out_end) {
    ssize_t n = write(sock, to_socket + out_at, out_end - out_at);
    if (n > 0) out_at += n;
    else if (errno == EAGAIN) return;
    else exit(0);
  }
}

static void from_tap(void) {
  out_at = out_end = 0;
  for (int i = 0; i < FRAMES_A_TURN && out_end + 4 + FRAME <= ROOM; i++) {
    ssize_t n = read(tap, to_socket + out_end + 4, FRAME);
    if (n <= 0) break;
    uint32_t len = htonl(n);
    memcpy(to_socket + out_end, &len, 4);
    out_end += 4 + n;
  }
  send_out();
}

static void to_tap(void) {
  size_t most = ROOM - in_end < READ ? ROOM - in_end : READ, at = 0;
  ssize_t n = read(sock, from_socket + in_end, most);
  if (n == 0 || (n < 0 && errno != EAGAIN)) exit(0);
  if (n < 0) return;
  in_end += n;
  while (in_end - at >= 4) {
    uint32_t len;
    memcpy(&len, from_socket + at, 4);
    len = ntohl(len);
    if (len > FRAME) {
      fprintf(stderr, "bridge: a frame of %u bytes\n", len);
      exit(1);
    }
    if (in_end - at < 4 + len) break;
    // A TAP that takes no more loses the frame, as a cable would.
    if (len > 0 && write(tap, from_socket + at + 4, len) < 0 && errno != EAGAIN && errno != EIO) perror("tap");
    at += 4 + len;
  }
  memmove(from_socket, from_socket + at, in_end - at);
  in_end -= at;
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  signal(SIGPIPE, SIG_IGN);
  tap = open_tap(argv[1]);
  sock = open_socket(argv[2], !strcmp(argv[3], "listen"));
  if (sock < 0) die("accept");
  fcntl(sock, F_SETFL, O_NONBLOCK);
  puts("up");
  fflush(stdout);
  for (;;) {
    int waiting = out_at < out_end;
    struct pollfd p[2] = {{tap, waiting ? 0 : POLLIN, 0}, {sock, POLLIN | (waiting ? POLLOUT : 0), 0}};
    if (poll(p, 2, -1) < 0) die("poll");
    if (waiting && (p[1].revents & POLLOUT)) send_out();
    if (p[0].revents & POLLIN) from_tap();
    if (p[1].revents & (POLLIN | POLLHUP | POLLERR)) to_tap();
  }
}
