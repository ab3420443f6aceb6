// services: what guests reach on the host, by one epoll thread on 127.0.0.1. TCP echo and bulk, UDP echo, sink and
// source, and a DNS server on port 53 that answers every question with one address.
#include "common.h"

enum { MAX_FD = 65536 };
enum { KIND_NONE, KIND_LISTEN_ECHO, KIND_LISTEN_BULK, KIND_ECHO, KIND_BULK, KIND_UDP_ECHO, KIND_SINK, KIND_SOURCE, KIND_DNS };

struct bulk {
  struct bulk_head head;
  uint32_t got;
  uint64_t at, wrong;
  double until;
  int ended;
};
static uint8_t kinds[MAX_FD];
static struct bulk *bulks[MAX_FD];
static int poller;
static uint8_t scratch[CHUNK];
static struct batch batch;

static void add(int fd, int kind) {
  if (fd < 0 || fd >= MAX_FD) die("descriptor");
  kinds[fd] = kind;
  watch(poller, fd, EPOLLIN, 0);
}

static int open_port(int type, int port) {
  int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1, room = 4 << 20;
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_ANY)};
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (type == SOCK_DGRAM) {
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    if (port == 53) setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof one);
  }
  if (bind(fd, (void *)&at, sizeof at) || (type == SOCK_STREAM && listen(fd, 4096))) die("bind");
  return fd;
}

static void drop(int fd) {
  free(bulks[fd]);
  bulks[fd] = NULL;
  kinds[fd] = KIND_NONE;
  close(fd);
}

static void accept_all(int fd, int kind) {
  for (int i = 0; i < 64; i++) {
    int c = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
    if (c < 0) return;
    setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    add(c, kind);
    if (kind == KIND_BULK) bulks[c] = calloc(1, sizeof *bulks[c]);
  }
}

static void echo(int fd) {
  ssize_t n = read(fd, scratch, sizeof scratch);
  if (n > 0) {
    if (write(fd, scratch, n) != n) drop(fd);
  } else if (n == 0 || errno != EAGAIN) drop(fd);
}

static void bulk_readable(int fd) {
  struct bulk *b = bulks[fd];
  if (b->got < sizeof b->head) {
    ssize_t n = read(fd, (uint8_t *)&b->head + b->got, sizeof b->head - b->got);
    if (n <= 0) return n == 0 || errno != EAGAIN ? drop(fd) : (void)0;
    b->got += n;
    if (b->got < sizeof b->head) return;
    if (b->head.magic != BULK_MAGIC) return drop(fd);
    b->until = now() + b->head.millis / 1e3;
    if (b->head.down) watch(poller, fd, EPOLLOUT, 1);
    return;
  }
  ssize_t n = read(fd, scratch, sizeof scratch);
  if (n > 0) {
    b->wrong += differs(scratch, n, b->at);
    b->at += n;
  } else if (n == 0) {
    struct bulk_tail tail = {b->at, b->wrong};
    if (!b->ended && write(fd, &tail, sizeof tail) != sizeof tail) perror("tail");
    drop(fd);
  } else if (errno != EAGAIN) drop(fd);
}

static void bulk_writable(int fd) {
  struct bulk *b = bulks[fd];
  if (now() < b->until) {
    ssize_t n = write(fd, noise_at(b->at), CHUNK);
    if (n > 0) b->at += n;
    else if (n < 0 && errno != EAGAIN) drop(fd);
    return;
  }
  struct bulk_tail tail = {b->at, 0};
  if (write(fd, &tail, sizeof tail) == sizeof tail) {
    // Closing at once would answer whatever may still come with a reset.
    shutdown(fd, SHUT_WR);
    b->ended = 1;
    watch(poller, fd, EPOLLIN, 1);
  } else if (errno != EAGAIN) drop(fd);
}

static int receive(int fd) {
  prepare(&batch, BATCH, DATAGRAM, NULL, 1);
  return recvmmsg(fd, batch.messages, BATCH, MSG_DONTWAIT, NULL);
}

/// Cuts the message behind its first question and answers 10.1.2.3.
static size_t answer(uint8_t *m, size_t len) {
  static const uint8_t record[16] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 1, 2, 3};
  size_t end = 12;
  while (end < len && m[end]) end += m[end] + 1;
  end += 5;
  if (end > len || end + sizeof record > DATAGRAM) return len;
  static const uint8_t head[10] = {0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0};
  memcpy(m + 2, head, sizeof head);
  memcpy(m + end, record, sizeof record);
  return end + sizeof record;
}

/// From the address that was asked: `IP_PKTINFO` as it came says so when it goes back.
static void reply(int fd, int dns) {
  prepare(&batch, BATCH, DATAGRAM, NULL, 1);
  for (int i = 0; i < BATCH; i++) {
    batch.messages[i].msg_hdr.msg_control = batch.control[i];
    batch.messages[i].msg_hdr.msg_controllen = sizeof batch.control[i];
  }
  int n = recvmmsg(fd, batch.messages, BATCH, MSG_DONTWAIT, NULL);
  for (int i = 0; i < n; i++) {
    size_t len = batch.messages[i].msg_len;
    batch.parts[i].iov_len = dns ? answer(batch.bytes[i], len) : len;
  }
  if (n > 0) sendmmsg(fd, batch.messages, n, MSG_DONTWAIT);
}

static struct credit sunk;
static struct sockaddr_in sink_peer;
static uint32_t uncredited;
static int sink_fd, source_fd;

static void give_credit(void) {
  sendto(sink_fd, &sunk, sizeof sunk, MSG_DONTWAIT, (void *)&sink_peer, sizeof sink_peer);
  uncredited = 0;
}

static void sink(void) {
  int n = receive(sink_fd);
  for (int i = 0; i < n; i++) {
    uint32_t sequence;
    int bad = check_datagram(batch.bytes[i], batch.messages[i].msg_len, &sequence);
    if (bad < 0) continue;
    if (sequence == 0) {
      sunk = (struct credit){0, 0, 0};
      sink_peer = batch.names[i];
      give_credit();
      continue;
    }
    sunk.received++;
    sunk.wrong += bad;
    if (sequence > sunk.highest) sunk.highest = sequence;
    if (++uncredited >= CREDIT_EVERY) give_credit();
  }
}

static struct {
  struct sockaddr_in peer;
  uint32_t sent, credited, size, window;
  double until, heard;
} source;

static void source_readable(void) {
  uint8_t m[DATAGRAM];
  struct sockaddr_in from;
  socklen_t len = sizeof from;
  ssize_t n;
  while ((n = recvfrom(source_fd, m, sizeof m, MSG_DONTWAIT, (void *)&from, &len)) > 0) {
    struct datagram d;
    struct credit c;
    if (n == sizeof d) {
      memcpy(&d, m, sizeof d);
      if (d.magic != DATAGRAM_MAGIC || d.size > 1472 || d.size < sizeof d) continue;
      source.peer = from;
      source.sent = source.credited = 0;
      source.size = d.size;
      source.window = d.window;
      source.heard = now();
      source.until = source.heard + d.millis / 1e3;
    } else if (n == sizeof c) {
      memcpy(&c, m, sizeof c);
      if (c.highest > source.credited && c.highest <= source.sent) source.credited = c.highest;
      source.heard = now();
    }
  }
}

static void source_send(void) {
  double t = now();
  if (t > source.until) {
    source.until = 0;
    return;
  }
  if (t - source.heard > LOST_AFTER) source.credited = source.sent, source.heard = t;
  while (source.sent - source.credited < source.window) {
    uint32_t room = source.window - (source.sent - source.credited);
    int count = room < BATCH ? room : BATCH;
    prepare(&batch, count, source.size, &source.peer, 0);
    for (int i = 0; i < count; i++) fill_datagram(batch.bytes[i], source.sent + 1 + i, source.size);
    int n = sendmmsg(source_fd, batch.messages, count, MSG_DONTWAIT);
    if (n > 0) source.sent += n;
    if (n < count) return;
  }
}

int main(void) {
  signal(SIGPIPE, SIG_IGN);
  many_descriptors();
  make_noise();
  poller = epoll_create1(EPOLL_CLOEXEC);
  add(open_port(SOCK_STREAM, PORT_ECHO), KIND_LISTEN_ECHO);
  add(open_port(SOCK_STREAM, PORT_BULK), KIND_LISTEN_BULK);
  add(open_port(SOCK_DGRAM, PORT_UDP_ECHO), KIND_UDP_ECHO);
  add(sink_fd = open_port(SOCK_DGRAM, PORT_UDP_SINK), KIND_SINK);
  add(source_fd = open_port(SOCK_DGRAM, PORT_UDP_SOURCE), KIND_SOURCE);
  add(open_port(SOCK_DGRAM, 53), KIND_DNS);
  puts("ready");
  fflush(stdout);
  for (;;) {
    struct epoll_event events[64];
    int n = epoll_wait(poller, events, 64, source.until > 0 ? 5 : uncredited > 0 ? 2 : -1);
    if (n == 0 && uncredited > 0) give_credit();
    for (int i = 0; i < n; i++) {
      int fd = events[i].data.fd;
      switch (kinds[fd]) {
        case KIND_LISTEN_ECHO: accept_all(fd, KIND_ECHO); break;
        case KIND_LISTEN_BULK: accept_all(fd, KIND_BULK); break;
        case KIND_ECHO: echo(fd); break;
        case KIND_BULK:
          if (events[i].events & EPOLLOUT) bulk_writable(fd);
          else bulk_readable(fd);
          break;
        case KIND_UDP_ECHO: reply(fd, 0); break;
        case KIND_DNS: reply(fd, 1); break;
        case KIND_SINK: sink(); break;
        case KIND_SOURCE: source_readable(); break;
      }
    }
    if (source.until > 0) source_send();
  }
}
