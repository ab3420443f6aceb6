// load MODE HOST …: the guest's side. Each mode prints one line of JSON (`idle` two).
//   bulk HOST up|down SECONDS STREAMS        every byte compared, and counted at both ends
//   rr HOST SECONDS                          one byte there and back on one connection
//   crr HOST SECONDS CONCURRENCY [PORT]      connect, one byte there and back, close
//   idle HOST COUNT                          opens so many; at each line on stdin: rr on one of them, then the end
//   udp-rr HOST SECONDS SIZE
//   udp-echo HOST SECONDS SIZE WINDOW
//   udp-up|udp-down HOST SECONDS SIZE WINDOW one way, with credit from the receiver
//   dns HOST SECONDS CONCURRENCY             a socket of its own for each question
#include "common.h"

static struct sockaddr_in target(const char *host, int port) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
  if (inet_pton(AF_INET, host, &a.sin_addr) != 1) die(host);
  return a;
}

// Times

static double *times;
static size_t count, room;

static void note(double seconds) {
  if (count == room) times = realloc(times, sizeof *times * (room = room ? 2 * room : 65536));
  times[count++] = seconds;
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double percentile(double p) {
  return count ? times[(size_t)(p * (count - 1))] * 1e6 : 0;
}

static void print_times(double seconds, long failed) {
  qsort(times, count, sizeof *times, by_size);
  printf("{\"count\":%zu,\"rate\":%.1f,\"p50\":%.1f,\"p99\":%.1f,\"max\":%.1f,\"failed\":%ld}\n", count,
         count / seconds, percentile(.5), percentile(.99), percentile(1), failed);
  fflush(stdout);
}

static void time_limit(int fd, double seconds) {
  struct timeval t = {(time_t)seconds, (suseconds_t)((seconds - (time_t)seconds) * 1e6)};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
}

static int dial(const char *host, int port, int type, int flags) {
  struct sockaddr_in to = target(host, port);
  int fd = socket(AF_INET, type | flags, 0), one = 1;
  if (fd < 0) return -1;
  if (type == SOCK_STREAM) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (connect(fd, (void *)&to, sizeof to) && errno != EINPROGRESS) {
    close(fd);
    return -1;
  }
  return fd;
}

// Bulk

struct stream {
  int fd, held, ended;
  uint64_t at, wrong;
  uint8_t bytes[sizeof(struct bulk_tail) + CHUNK];
};

static void check_tail(struct stream *s) {
  struct bulk_tail tail;
  memcpy(&tail, s->bytes, sizeof tail);
  if (s->held != sizeof tail || tail.bytes != s->at) s->wrong++;
  else s->wrong += tail.wrong;
  s->ended = 1;
}

/// Keeps the last bytes back, which may be the tail.
static int bulk_read(struct stream *s) {
  ssize_t n = read(s->fd, s->bytes + s->held, CHUNK);
  if (n < 0 && errno == EAGAIN) return 0;
  if (n <= 0) return check_tail(s), 1;
  int have = s->held + n, sure = have - (int)sizeof(struct bulk_tail);
  if (sure <= 0) return s->held = have, 0;
  // The read may be longer by a few bytes than what can be compared at once.
  int first = sure < CHUNK ? sure : CHUNK;
  s->wrong += differs(s->bytes, first, s->at);
  if (first < sure) s->wrong += differs(s->bytes + first, sure - first, s->at + first);
  s->at += sure;
  memmove(s->bytes, s->bytes + sure, have - sure);
  s->held = have - sure;
  return 0;
}

static int bulk(const char *host, int down, double seconds, int streams) {
  struct stream *all = calloc(streams, sizeof *all);
  int poller = epoll_create1(0), open = streams;
  struct bulk_head head = {BULK_MAGIC, down, seconds * 1e3, 0};
  for (int i = 0; i < streams; i++) {
    if ((all[i].fd = dial(host, PORT_BULK, SOCK_STREAM, 0)) < 0) die("connect");
    fcntl(all[i].fd, F_SETFL, O_NONBLOCK);
    struct epoll_event e = {.events = down ? EPOLLIN : EPOLLOUT, .data.u32 = i};
    epoll_ctl(poller, EPOLL_CTL_ADD, all[i].fd, &e);
  }
  double start = now(), until = start + seconds, last = start;
  for (int i = 0; i < streams; i++)
    if (write(all[i].fd, &head, sizeof head) != sizeof head) die("head");
  while (open > 0 && last < until + 5) {
    struct epoll_event events[64];
    int n = epoll_wait(poller, events, 64, 1000);
    double t = now();
    if (n == 0 && t > until + 5) break;
    for (int k = 0; k < n; k++) {
      struct stream *s = &all[events[k].data.u32];
      if (events[k].events & EPOLLOUT) {
        if (t < until) {
          ssize_t w = write(s->fd, noise_at(s->at), CHUNK);
          if (w > 0) s->at += w;
          else if (w < 0 && errno != EAGAIN) die("write");
          continue;
        }
        shutdown(s->fd, SHUT_WR);
        struct epoll_event e = {.events = EPOLLIN, .data.u32 = events[k].data.u32};
        epoll_ctl(poller, EPOLL_CTL_MOD, s->fd, &e);
        continue;
      }
      int done = 0;
      if (down) done = bulk_read(s);
      else {
        ssize_t r = read(s->fd, s->bytes + s->held, sizeof(struct bulk_tail) - s->held);
        if (r > 0) s->held += r;
        // The tail is the proof that all came; whether the end of the stream follows it is not for a throughput to tell.
        done = s->held == sizeof(struct bulk_tail) || r == 0 || (r < 0 && errno != EAGAIN);
        if (done) check_tail(s);
      }
      if (done) close(s->fd), open--;
    }
    last = now();
  }
  uint64_t bytes = 0, wrong = 0, failed = 0;
  for (int i = 0; i < streams; i++) {
    bytes += all[i].at;
    wrong += all[i].wrong;
    // It did not come to its end: nothing says that what came was wrong.
    failed += !all[i].ended;
  }
  printf("{\"bytes\":%lu,\"seconds\":%.4f,\"gbit\":%.4f,\"wrong\":%lu,\"failed\":%lu}\n", bytes, last - start,
         bytes * 8 / (last - start) / 1e9, wrong, failed);
  return 0;
}

// Request and response

static void rr_on(int fd, double seconds) {
  char byte = 'x';
  double start = now(), t = start;
  while (t < start + seconds) {
    if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1) die("rr");
    double u = now();
    note(u - t);
    t = u;
  }
}

static int rr_report(int fd, double seconds) {
  int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  time_limit(fd, 10);
  rr_on(fd, seconds / 10);
  count = 0;
  double start = now();
  rr_on(fd, seconds);
  print_times(now() - start, 0);
  return 0;
}

static int udp_rr(const char *host, double seconds, size_t size) {
  int fd = dial(host, PORT_UDP_ECHO, SOCK_DGRAM, 0);
  uint8_t sent[DATAGRAM], got[DATAGRAM];
  long failed = 0;
  time_limit(fd, .2);
  memcpy(sent, noise, size);
  double start = now(), t = start;
  for (double measured = start + seconds / 10; t < measured + seconds;) {
    memcpy(sent, &t, sizeof t);
    send(fd, sent, size, 0);
    ssize_t n = recv(fd, got, sizeof got, 0);
    double u = now();
    if (t > measured) {
      if (n == (ssize_t)size && !memcmp(sent, got, size)) note(u - t);
      else failed++;
    } else start = u;
    t = u;
  }
  print_times(t - start, failed);
  return 0;
}

// Connections

static double began[65536];

static int crr(const char *host, double seconds, int concurrency, int port) {
  int poller = epoll_create1(0), live = 0;
  long failed = 0;
  double start = now(), until = start + seconds, t = start;
  for (;;) {
    while (live < concurrency && (t = now()) < until) {
      int fd = dial(host, port, SOCK_STREAM, SOCK_NONBLOCK);
      if (fd < 0) {
        failed++;
        until = 0; // no port is left
        break;
      }
      began[fd] = t;
      watch(poller, fd, EPOLLOUT, 0);
      live++;
    }
    if (live == 0) break;
    struct epoll_event events[64];
    int n = epoll_wait(poller, events, 64, 200);
    if (n == 0 && now() > until + 3) {
      failed += live;
      break;
    }
    for (int i = 0; i < n; i++) {
      int fd = events[i].data.fd, done = 1;
      char byte = 'x';
      if (events[i].events & EPOLLOUT) {
        if (write(fd, &byte, 1) == 1) watch(poller, fd, EPOLLIN, 1), done = 0;
        else failed++;
      } else if (read(fd, &byte, 1) == 1) note(now() - began[fd]);
      else failed++;
      if (done) close(fd), live--;
    }
  }
  print_times(now() - start, failed);
  return 0;
}

static int idle(const char *host, int wanted) {
  int poller = epoll_create1(0), started = 0, open = 0, live = 0, last = -1;
  long failed = 0;
  char line[16];
  double start = now();
  while (open + failed < wanted && now() - start < 40) {
    while (live < 64 && started < wanted) {
      int fd = dial(host, PORT_ECHO, SOCK_STREAM, SOCK_NONBLOCK);
      started++;
      if (fd < 0) failed++;
      else watch(poller, fd, EPOLLOUT, 0), live++;
    }
    struct epoll_event events[64];
    int n = epoll_wait(poller, events, 64, 1000);
    for (int i = 0; i < n; i++) {
      int fd = events[i].data.fd;
      char byte = 'x';
      if ((events[i].events & EPOLLOUT) && write(fd, &byte, 1) == 1) {
        watch(poller, fd, EPOLLIN, 1);
        continue;
      }
      live--;
      epoll_ctl(poller, EPOLL_CTL_DEL, fd, NULL);
      if (!(events[i].events & EPOLLOUT) && read(fd, &byte, 1) == 1) open++, last = fd;
      else failed++, close(fd);
    }
  }
  double seconds = now() - start;
  printf("{\"open\":%d,\"failed\":%ld,\"rate\":%.1f}\n", open, failed + live, open / seconds);
  fflush(stdout);
  if (!fgets(line, sizeof line, stdin) || last < 0) return 0;
  fcntl(last, F_SETFL, 0);
  rr_report(last, 1);
  return fgets(line, sizeof line, stdin) == NULL;
}

// Datagrams

static struct batch batch;

static int udp_echo(const char *host, double seconds, size_t size, int window) {
  int fd = dial(host, PORT_UDP_ECHO, SOCK_DGRAM, 0), credit = 1, first = 1;
  uint64_t sent = 0, got = 0, wrong = 0;
  double start = now(), t;
  while ((t = now()) < start + seconds) {
    while (credit > 0) {
      int k = credit < BATCH ? credit : BATCH;
      prepare(&batch, k, size, NULL, 0);
      for (int i = 0; i < k; i++) fill_datagram(batch.bytes[i], sent + i + 1, size);
      int n = sendmmsg(fd, batch.messages, k, 0);
      if (n <= 0) break;
      sent += n;
      credit -= n;
    }
    struct pollfd p = {fd, POLLIN, 0};
    if (poll(&p, 1, LOST_AFTER * 1e3) == 0) {
      credit = first ? 1 : window;
      continue;
    }
    prepare(&batch, BATCH, DATAGRAM, NULL, 0);
    int n = recvmmsg(fd, batch.messages, BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < n; i++) {
      uint32_t sequence;
      wrong += check_datagram(batch.bytes[i], batch.messages[i].msg_len, &sequence) != 0;
    }
    if (n <= 0) continue;
    got += n;
    // The first one opens the flow: a peer may lose what comes while it does.
    credit += first ? window : n;
    first = 0;
  }
  printf("{\"count\":%lu,\"rate\":%.1f,\"wrong\":%lu}\n", got, got / (now() - start), wrong);
  return 0;
}

static void print_stream(uint64_t received, uint64_t sent, double seconds, size_t size, uint64_t wrong) {
  printf("{\"count\":%lu,\"rate\":%.1f,\"mbit\":%.2f,\"lost\":%.3f,\"wrong\":%lu}\n", received, received / seconds,
         received * size * 8 / seconds / 1e6, sent > received ? 100. * (sent - received) / sent : 0, wrong);
}

static int udp_up(const char *host, double seconds, size_t size, uint32_t window) {
  int fd = dial(host, PORT_UDP_SINK, SOCK_DGRAM, 0), open = 0;
  uint32_t sent = 0, acked = 0;
  struct datagram head = {DATAGRAM_MAGIC, 0, size, window, 0};
  struct credit c, latest = {0, 0, 0};
  for (int i = 0; i < 50 && !open; i++) {
    struct pollfd p = {fd, POLLIN, 0};
    send(fd, &head, sizeof head, 0);
    open = poll(&p, 1, 100) > 0 && recv(fd, &c, sizeof c, 0) == sizeof c;
  }
  if (!open) return puts("{\"error\":\"no answer\"}"), 0;
  double start = now(), heard = start, t;
  while ((t = now()) < start + seconds) {
    uint32_t left = window - (sent - acked);
    if (left > 0) {
      int k = left < BATCH ? left : BATCH;
      prepare(&batch, k, size, NULL, 0);
      for (int i = 0; i < k; i++) fill_datagram(batch.bytes[i], sent + i + 1, size);
      int n = sendmmsg(fd, batch.messages, k, 0);
      if (n > 0) sent += n;
    }
    int full = sent - acked >= window;
    struct pollfd p = {fd, POLLIN, 0};
    if (poll(&p, 1, full ? LOST_AFTER * 1e3 : 0) > 0) {
      while (recv(fd, &c, sizeof c, MSG_DONTWAIT) == sizeof c) {
        if (c.highest > acked && c.highest <= sent) acked = c.highest;
        if (c.received > latest.received) latest = c;
      }
      heard = now();
    } else if (full && now() - heard > LOST_AFTER) acked = sent, heard = now();
  }
  print_stream(latest.received, sent > window ? sent - window : sent, now() - start, size, latest.wrong);
  return 0;
}

static int udp_down(const char *host, double seconds, size_t size, uint32_t window) {
  int fd = dial(host, PORT_UDP_SOURCE, SOCK_DGRAM, 0);
  struct datagram head = {DATAGRAM_MAGIC, 0, size, window, seconds * 1e3};
  struct credit c = {0, 0, 0};
  uint32_t uncredited = 0;
  double start = 0, last = 0, until = now() + seconds + 1, asked = 0, t;
  while ((t = now()) < until && (last == 0 || t - last < .3)) {
    if (c.received == 0 && t - asked > .1) send(fd, &head, sizeof head, 0), asked = t;
    struct pollfd p = {fd, POLLIN, 0};
    if (poll(&p, 1, 5) <= 0) {
      if (uncredited) send(fd, &c, sizeof c, 0), uncredited = 0;
      continue;
    }
    prepare(&batch, BATCH, DATAGRAM, NULL, 0);
    int n = recvmmsg(fd, batch.messages, BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < n; i++) {
      uint32_t sequence;
      int bad = check_datagram(batch.bytes[i], batch.messages[i].msg_len, &sequence);
      if (bad < 0) continue;
      if (c.received++ == 0) start = t;
      c.wrong += bad;
      if (sequence > c.highest) c.highest = sequence;
      if (++uncredited >= CREDIT_EVERY) send(fd, &c, sizeof c, 0), uncredited = 0;
    }
    last = now();
  }
  print_stream(c.received, c.highest, last > start ? last - start : seconds, size, c.wrong);
  return 0;
}

static int dns(const char *host, double seconds, int concurrency) {
  int poller = epoll_create1(0), live = 0;
  unsigned id = 0;
  long failed = 0;
  double start = now(), until = start + seconds, t;
  for (;;) {
    while (live < concurrency && (t = now()) < until) {
      uint8_t q[64] = {0};
      int fd = dial(host, 53, SOCK_DGRAM, SOCK_NONBLOCK);
      if (fd < 0) die("socket");
      id++;
      q[0] = id >> 8, q[1] = id, q[2] = 1, q[5] = 1;
      int len = 13 + (q[12] = snprintf((char *)q + 13, 16, "n%u", id));
      memcpy(q + len, "\5bench\4test\0\0\1\0\1", 17);
      began[fd] = t;
      watch(poller, fd, EPOLLIN, 0);
      send(fd, q, len + 17, 0);
      live++;
    }
    if (live == 0) break;
    struct epoll_event events[64];
    int n = epoll_wait(poller, events, 64, 100);
    for (int i = 0; i < n; i++) {
      int fd = events[i].data.fd;
      uint8_t a[DATAGRAM];
      ssize_t len = recv(fd, a, sizeof a, MSG_DONTWAIT);
      if (len > 12 && (a[3] & 15) == 0 && a[7] == 1) note(now() - began[fd]);
      else failed++;
      close(fd), live--, began[fd] = 0;
    }
    if (n > 0) continue;
    t = now();
    for (int fd = 0; fd < 4096; fd++)
      if (began[fd] > 0 && t - began[fd] > .5) close(fd), live--, failed++, began[fd] = 0;
  }
  print_times(now() - start, failed);
  return 0;
}

int main(int argc, char **argv) {
  if (argc < 4) return 2;
  const char *mode = argv[1], *host = argv[2];
  double seconds = atof(argv[3]);
  int a = argc > 4 ? atoi(argv[4]) : 0, b = argc > 5 ? atoi(argv[5]) : 0;
  signal(SIGPIPE, SIG_IGN);
  many_descriptors();
  make_noise();
  if (!strcmp(mode, "bulk") && argc == 6) return bulk(host, !strcmp(argv[3], "down"), atof(argv[4]), b);
  if (!strcmp(mode, "rr")) {
    int fd = dial(host, PORT_ECHO, SOCK_STREAM, 0);
    return fd < 0 ? 1 : rr_report(fd, seconds);
  }
  if (!strcmp(mode, "crr")) return crr(host, seconds, a, b ? b : PORT_ECHO);
  if (!strcmp(mode, "idle")) return idle(host, atoi(argv[3]));
  if (!strcmp(mode, "udp-rr")) return udp_rr(host, seconds, a);
  if (!strcmp(mode, "udp-echo")) return udp_echo(host, seconds, a, b);
  if (!strcmp(mode, "udp-up")) return udp_up(host, seconds, a, b);
  if (!strcmp(mode, "udp-down")) return udp_down(host, seconds, a, b);
  if (!strcmp(mode, "dns")) return dns(host, seconds, a);
  return 2;
}
