// bridge TAP SOCKET connect|listen [offload]: joins a TAP of this namespace to a UNIX stream socket, with QEMU's framing:
// 32 bits of length, big-endian, before each frame. Many frames a write one way, many a read the other. Prints "up" when
// joined. With `offload` it does the segmentation and the checksums of the namespace's kernel (offload.h), and prints
// "wrong checksum" for each segment from the socket that has one.
#include "offload.h"
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/un.h>

enum { FRAME = 65600, FRAMES_A_TURN = 64, ROOM = 1 << 19, READ = 1 << 18 };
static uint8_t to_socket[ROOM], from_socket[ROOM];
static size_t out_at, out_end, in_end;
static int tap, sock, offload;

static int open_tap(const char *name) {
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  struct ifreq r = {.ifr_flags = IFF_TAP | IFF_NO_PI | (offload ? IFF_VNET_HDR : 0)};
  strncpy(r.ifr_name, name, IFNAMSIZ - 1);
  if (fd < 0 || ioctl(fd, TUNSETIFF, &r)) die("tap");
  if (offload && ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4)) die("offload");
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

/// One packet of the TAP, to be cut to frames. Bytes of them; 0 when there is none.
static size_t take_packet(uint8_t *out) {
  static uint8_t packet[sizeof(vnet) + PACKET];
  ssize_t n = read(tap, packet, sizeof packet);
  vnet todo;
  if (n <= (ssize_t)sizeof todo) return 0;
  memcpy(&todo, packet, sizeof todo);
  size_t len = cut(&todo, packet + sizeof todo, n - sizeof todo, out);
  if (len == 0) die("a packet that cannot be cut");
  return len;
}

/// One frame of the TAP, with its length. Bytes of both; 0 when there is none.
static size_t take_frame(uint8_t *out) {
  ssize_t n = read(tap, out + 4, FRAME);
  if (n <= 0) return 0;
  put32(out, n);
  return 4 + n;
}

static void from_tap(void) {
  size_t most = offload ? CUT : 4 + FRAME;
  out_at = out_end = 0;
  for (int i = 0; i < FRAMES_A_TURN && out_end + most <= ROOM; i++) {
    size_t len = offload ? take_packet(to_socket + out_end) : take_frame(to_socket + out_end);
    if (len == 0) break;
    out_end += len;
  }
  send_out();
}

static void tell_wrong_sums(void) {
  static unsigned long told;
  if (told == wrong_sums) return;
  for (; told < wrong_sums; told++) puts("wrong checksum");
  fflush(stdout);
}

static void to_tap(void) {
  size_t most = ROOM - in_end < READ ? ROOM - in_end : READ, at = 0;
  ssize_t n = read(sock, from_socket + in_end, most);
  if (n == 0 || (n < 0 && errno != EAGAIN)) exit(0);
  if (n < 0) return;
  in_end += n;
  while (in_end - at >= 4) {
    uint32_t len = get32(from_socket + at);
    if (len > FRAME) {
      fprintf(stderr, "bridge: a frame of %u bytes\n", len);
      exit(1);
    }
    if (in_end - at < 4 + len) break;
    // A TAP that takes no more loses the frame, as a cable would.
    if (offload) merge_frame(tap, from_socket + at + 4, len);
    else if (len > 0 && write(tap, from_socket + at + 4, len) < 0 && errno != EAGAIN && errno != EIO) perror("tap");
    at += 4 + len;
  }
  if (offload) {
    flush_merged(tap);
    tell_wrong_sums();
  }
  memmove(from_socket, from_socket + at, in_end - at);
  in_end -= at;
}

int main(int argc, char **argv) {
  if (argc != 4 && argc != 5) return 2;
  offload = argc == 5;
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
