// What the services and the load generator share: time, sockets, ports, and the bytes that are sent and compared.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PORT_ECHO = 7001, PORT_BULK = 7002, PORT_UDP_ECHO = 7003, PORT_UDP_SINK = 7004, PORT_UDP_SOURCE = 7005 };
/// Datagrams of one sendmmsg or recvmmsg, and how many a receiver of a one-way stream lets pass between two credits.
enum { BATCH = 32, CREDIT_EVERY = 16, DATAGRAM = 2048 };
/// Silence after which a sender takes what is under way for lost, seconds.
#define LOST_AFTER 0.02

static inline void die(const char *what) {
  perror(what);
  exit(1);
}

static inline double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

/// Bulk data is a block of noise whose length is a prime, again and again: a byte at a wrong place is a wrong byte.
#define PERIOD 65521
#define CHUNK 131072
static uint8_t noise[PERIOD + CHUNK];

static inline void make_noise(void) {
  uint64_t x = 0x9e3779b97f4a7c15;
  for (int i = 0; i < PERIOD; i++) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    noise[i] = x >> 32;
  }
  memcpy(noise + PERIOD, noise, PERIOD);
  memcpy(noise + 2 * PERIOD, noise, CHUNK - PERIOD);
}

static inline const uint8_t *noise_at(uint64_t position) {
  return noise + position % PERIOD;
}

/// 1 when the bytes are not those of the stream at `position`.
static inline int differs(const uint8_t *bytes, size_t len, uint64_t position) {
  return memcmp(bytes, noise_at(position), len) != 0;
}

/// Opens a bulk connection. Up: the client sends noise and ends; the server answers with a `bulk_tail`. Down: the server
/// sends noise for `millis`, then a `bulk_tail`, and ends.
struct bulk_head {
  uint32_t magic, down, millis, unused;
};
struct bulk_tail {
  uint64_t bytes, wrong;
};
#define BULK_MAGIC 0x62756c6b

/// A datagram of a one-way stream; noise at `sequence` follows. Sequence 0 opens the stream; for a source it says what
/// is wanted. The receiver's `credit` goes the other way.
struct datagram {
  uint32_t magic, sequence, size, window, millis;
};
struct credit {
  uint32_t received, highest, wrong;
};
#define DATAGRAM_MAGIC 0x64617461

static inline void fill_datagram(uint8_t *at, uint32_t sequence, uint32_t size) {
  struct datagram d = {DATAGRAM_MAGIC, sequence, 0, 0, 0};
  memcpy(at, &d, sizeof d);
  memcpy(at + sizeof d, noise_at(sequence), size - sizeof d);
}

/// -1 for what is no datagram of the stream, 1 for one with wrong bytes.
static inline int check_datagram(const uint8_t *at, size_t len, uint32_t *sequence) {
  struct datagram d;
  if (len < sizeof d) return -1;
  memcpy(&d, at, sizeof d);
  if (d.magic != DATAGRAM_MAGIC) return -1;
  *sequence = d.sequence;
  return d.sequence != 0 && differs(at + sizeof d, len - sizeof d, d.sequence);
}

/// Many datagrams by one call.
struct batch {
  struct mmsghdr messages[BATCH];
  struct iovec parts[BATCH];
  struct sockaddr_in names[BATCH];
  uint8_t control[BATCH][CMSG_SPACE(sizeof(struct in_pktinfo))];
  uint8_t bytes[BATCH][DATAGRAM];
};

/// Ready to receive, or, with `size`, to send `count` datagrams of it. `to` is null on connected sockets.
static inline void prepare(struct batch *b, int count, size_t size, const struct sockaddr_in *to, int names) {
  for (int i = 0; i < count; i++) {
    b->parts[i] = (struct iovec){b->bytes[i], size};
    b->messages[i].msg_hdr = (struct msghdr){.msg_iov = &b->parts[i], .msg_iovlen = 1};
    if (to) b->names[i] = *to;
    if (to || names) b->messages[i].msg_hdr.msg_name = &b->names[i], b->messages[i].msg_hdr.msg_namelen = sizeof b->names[i];
  }
}

static inline void watch(int poller, int fd, uint32_t events, int again) {
  struct epoll_event e = {.events = events, .data.fd = fd};
  epoll_ctl(poller, again ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &e);
}

static inline void many_descriptors(void) {
  struct rlimit most;
  getrlimit(RLIMIT_NOFILE, &most);
  most.rlim_cur = most.rlim_max;
  setrlimit(RLIMIT_NOFILE, &most);
}
