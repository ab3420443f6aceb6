// vhost-guest TAP SOCKET: a guest's virtio-net driver and the vhost-user front end before it, in place of a machine. The
// guest's network stack is the kernel's own, behind a TAP of this namespace whose packets come with a virtio_net_hdr: so
// what the back end offers to do, checksums and segments, is left undone as a guest's card leaves it. Prints "up".
//
// The driver does as Linux' does: it sends headers in the first descriptor and the payload in others, merges receive
// buffers of a page each, and asks to be told only when it is about to sleep.
#include "common.h"
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/un.h>

enum { ENTRIES = 256, BUFFER = 4096, SLOTS = 64, SLOT = 69632, PIECE = 32768, HEADER = 12, A_TURN = 64, PARTS = 64 };
enum { RECEIVE, SEND };
enum { D_NEXT = 1, D_WRITE = 2 };
enum { GET_FEATURES = 1, SET_FEATURES, SET_OWNER, SET_MEM_TABLE = 5, SET_NUM = 8, SET_ADDR, SET_BASE };
enum { SET_KICK = 12, SET_CALL, GET_PROTOCOL = 15, SET_PROTOCOL, SET_ENABLE = 18 };
#define BIT(n) (1ull << (n))
enum { F_CSUM = 0, F_GUEST_CSUM = 1, F_GUEST_TSO4 = 7, F_HOST_TSO4 = 11, F_MERGE = 15, F_EVENT = 29, F_PROTOCOL = 30, F_1 = 32 };
#define KNOWN (BIT(F_CSUM) | BIT(F_GUEST_CSUM) | BIT(F_GUEST_TSO4) | BIT(F_HOST_TSO4) | BIT(F_MERGE) | BIT(F_EVENT) | BIT(F_PROTOCOL) | BIT(F_1))
/// Where the guest has its memory; any address but the one by which this process has it.
#define GUEST 0x80000000ull

struct descriptor {
  uint64_t address;
  uint32_t length;
  uint16_t flags, next;
};
struct available {
  uint16_t flags, index, ring[ENTRIES], used_event;
};
struct used {
  uint16_t flags, index;
  struct {
    uint32_t id, length;
  } ring[ENTRIES];
  uint16_t available_event;
};
/// A split ring in the guest's memory.
struct shared {
  struct descriptor descriptors[ENTRIES];
  struct available available;
  struct used used __attribute__((aligned(4)));
};
struct ring {
  struct shared *in;
  /// How far the driver has made available, has told so, and has taken back.
  uint16_t index, told, taken;
  int kick, call;
};
struct memory {
  struct shared rings[2] __attribute__((aligned(4096)));
  uint8_t buffers[ENTRIES][BUFFER] __attribute__((aligned(4096)));
  uint8_t slots[SLOTS][SLOT];
};

typedef struct virtio_net_hdr vnet;
enum { ETHER = 14, IP_MIN = 20, TCP_MIN = 20 };
static inline unsigned get16(const uint8_t *at) { return at[0] << 8 | at[1]; }

static struct memory *memory;
static struct ring rings[2];
static uint64_t features;
static int tap, sock;

static int has(int feature) { return features >> feature & 1; }
static uint64_t guest_address(const void *at) { return GUEST + ((const uint8_t *)at - (const uint8_t *)memory); }

// The control socket

static void tell(uint32_t request, const void *payload, uint32_t size, int fd) {
  uint32_t head[3] = {request, 1, size};
  struct iovec parts[2] = {{head, sizeof head}, {(void *)payload, size}};
  union {
    struct cmsghdr head;
    char room[CMSG_SPACE(sizeof(int))];
  } control = {.head = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
  memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
  struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
  if (fd >= 0) message.msg_control = &control, message.msg_controllen = sizeof control.room;
  if (sendmsg(sock, &message, 0) != (ssize_t)(sizeof head + size)) die("control socket");
}

static void tell_number(uint32_t request, uint64_t number, int fd) { tell(request, &number, sizeof number, fd); }
static void tell_state(uint32_t request, uint32_t ring, uint32_t value) { tell_number(request, (uint64_t)value << 32 | ring, -1); }

static uint64_t ask(uint32_t request) {
  struct {
    uint32_t head[3];
    uint64_t number;
  } __attribute__((packed)) reply;
  tell(request, NULL, 0, -1);
  if (recv(sock, &reply, sizeof reply, MSG_WAITALL) != sizeof reply) die("reply");
  return reply.number;
}

static void start_ring(uint32_t number) {
  struct ring *r = &rings[number];
  struct {
    uint32_t ring, flags;
    uint64_t descriptors, used, available, log;
  } at = {number, 0, (uintptr_t)r->in->descriptors, (uintptr_t)&r->in->used, (uintptr_t)&r->in->available, 0};
  tell_state(SET_NUM, number, ENTRIES);
  tell_state(SET_BASE, number, 0);
  tell(SET_ADDR, &at, sizeof at, -1);
  tell_number(SET_KICK, number, r->kick);
  tell_number(SET_CALL, number, r->call);
  tell_state(SET_ENABLE, number, 1);
}

static void share_memory(void) {
  int fd = memfd_create("guest", MFD_CLOEXEC);
  if (fd < 0 || ftruncate(fd, sizeof *memory)) die("memory");
  memory = mmap(NULL, sizeof *memory, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
  if (memory == MAP_FAILED) die("memory");
  struct {
    uint32_t count, unused;
    uint64_t guest, size, user, offset;
  } table = {1, 0, GUEST, sizeof *memory, (uintptr_t)memory, 0};
  tell(SET_MEM_TABLE, &table, sizeof table, fd);
  close(fd);
}

static void join(const char *path) {
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  strncpy(at.sun_path, path, sizeof at.sun_path - 1);
  sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(sock, (void *)&at, sizeof at)) die("connect");
  features = ask(GET_FEATURES) & KNOWN;
  if (!has(F_MERGE) || !has(F_1) || !has(F_PROTOCOL)) {
    fputs("vhost-guest: the back end lacks what is needed\n", stderr);
    exit(1);
  }
  ask(GET_PROTOCOL);
  tell_number(SET_PROTOCOL, 0, -1);
  tell(SET_OWNER, NULL, 0, -1);
  tell_number(SET_FEATURES, features, -1);
  share_memory();
  for (int i = 0; i < 2; i++) rings[i] = (struct ring){.in = &memory->rings[i], .kick = eventfd(0, EFD_NONBLOCK), .call = eventfd(0, EFD_NONBLOCK)};
}

// Rings

static void offer(struct ring *r, uint16_t head) { r->in->available.ring[r->index++ % ENTRIES] = head; }

/// What has been offered is the back end's, which is woken if it asked for that.
static void publish(struct ring *r) {
  uint16_t before = r->told;
  if (before == r->index) return;
  __atomic_store_n(&r->in->available.index, r->index, __ATOMIC_RELEASE);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  r->told = r->index;
  uint16_t event = __atomic_load_n(&r->in->used.available_event, __ATOMIC_RELAXED);
  uint16_t flags = __atomic_load_n(&r->in->used.flags, __ATOMIC_RELAXED);
  int wanted = has(F_EVENT) ? (uint16_t)(r->index - event - 1) < (uint16_t)(r->index - before) : !(flags & 1);
  uint64_t one = 1;
  if (wanted && write(r->kick, &one, sizeof one) < 0 && errno != EAGAIN) die("kick");
}

static int has_used(struct ring *r) { return __atomic_load_n(&r->in->used.index, __ATOMIC_ACQUIRE) != r->taken; }

/// Whether the driver may sleep: it wants to be woken, and nothing has come. With `wanted` 0 it does not want to, as Linux'
/// driver does not for what has been sent while there is room for more.
static int sleeps(struct ring *r, int wanted) {
  if (has(F_EVENT)) __atomic_store_n(&r->in->available.used_event, r->taken - !wanted, __ATOMIC_RELAXED);
  else __atomic_store_n(&r->in->available.flags, !wanted, __ATOMIC_RELAXED);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  return !wanted || !has_used(r);
}

static void awake(struct ring *r) {
  if (!has(F_EVENT)) __atomic_store_n(&r->in->available.flags, 1, __ATOMIC_RELAXED);
}

// Packets

static void open_tap(const char *name) {
  struct ifreq r = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
  int size = HEADER, undone = (has(F_CSUM) ? TUN_F_CSUM : 0) | (has(F_CSUM) && has(F_HOST_TSO4) ? TUN_F_TSO4 : 0);
  strncpy(r.ifr_name, name, IFNAMSIZ - 1);
  tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (tap < 0 || ioctl(tap, TUNSETIFF, &r) || ioctl(tap, TUNSETVNETHDRSZ, &size) || ioctl(tap, TUNSETOFFLOAD, undone)) die("tap");
}

/// Bytes in the first descriptor: all headers of TCP when a card sums, else all of the packet, as a driver without scatter and gather has it.
static size_t first_part(const uint8_t *packet, size_t len) {
  const uint8_t *ip = packet + HEADER + ETHER;
  if (!has(F_CSUM) || len < HEADER + ETHER + IP_MIN + TCP_MIN || get16(ip - 2) != 0x800 || ip[9] != IPPROTO_TCP) return len;
  size_t head = HEADER + ETHER + (ip[0] & 15) * 4;
  head += (packet[head + 12] >> 4) * 4;
  return head < len ? head : len;
}

static uint16_t idle_slots[SLOTS];
static int idle;

/// Sends what the TAP has. Whether there was anything.
static int from_tap(void) {
  struct ring *r = &rings[SEND];
  int sent = 0;
  for (; idle > 0 && sent < A_TURN; sent++) {
    uint16_t slot = idle_slots[idle - 1], index = slot * (ENTRIES / SLOTS);
    uint8_t *packet = memory->slots[slot];
    ssize_t len = read(tap, packet, SLOT);
    if (len <= HEADER) break;
    idle--;
    size_t at = 0, part = first_part(packet, len);
    for (uint16_t i = index;; i++, part = PIECE) {
      if (part > len - at) part = len - at;
      int more = at + part < (size_t)len;
      r->in->descriptors[i] = (struct descriptor){guest_address(packet + at), part, more ? D_NEXT : 0, i + 1};
      at += part;
      if (!more) break;
    }
    offer(r, index);
  }
  publish(r);
  return sent;
}

static int take_slots(void) {
  struct ring *r = &rings[SEND];
  int taken = 0;
  for (; has_used(r); taken++) idle_slots[idle++] = r->in->used.ring[r->taken++ % ENTRIES].id / (ENTRIES / SLOTS);
  return taken;
}

/// A TAP knows no sum that has been checked (DATA_VALID). One that is still to be done is not checked either.
static void trust(uint8_t *packet, size_t len) {
  vnet *todo = (vnet *)packet;
  const uint8_t *ip = packet + HEADER + ETHER;
  if (!(todo->flags & VIRTIO_NET_HDR_F_DATA_VALID)) return;
  todo->flags = 0;
  if (len < HEADER + ETHER + IP_MIN || get16(ip - 2) != 0x800 || (get16(ip + 6) & 0x3fff)) return;
  if (ip[9] != IPPROTO_TCP && ip[9] != IPPROTO_UDP) return;
  todo->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
  todo->csum_start = ETHER + (ip[0] & 15) * 4;
  todo->csum_offset = ip[9] == IPPROTO_TCP ? 16 : 6;
}

/// Gives the TAP what has come, and the buffers back. Whether there was anything.
static int to_tap(void) {
  struct ring *r = &rings[RECEIVE];
  int got = 0;
  for (; got < A_TURN && has_used(r); got++) {
    struct iovec parts[PARTS];
    uint16_t ids[PARTS];
    int count = 1;
    for (int i = 0; i < count; i++) {
      uint32_t id = r->in->used.ring[r->taken % ENTRIES].id, len = r->in->used.ring[r->taken % ENTRIES].length;
      r->taken++;
      ids[i] = id;
      parts[i] = (struct iovec){memory->buffers[id], len};
      if (i > 0) continue;
      count = memory->buffers[id][10] | memory->buffers[id][11] << 8;
      if (count < 1 || count > PARTS) {
        fprintf(stderr, "vhost-guest: a packet of %d buffers\n", count);
        exit(1);
      }
      trust(memory->buffers[id], len);
    }
    // A TAP that takes no more loses the packet, as a cable would.
    if (writev(tap, parts, count) < 0 && errno != EAGAIN && errno != EIO) perror("tap");
    for (int i = 0; i < count; i++) offer(r, ids[i]);
  }
  publish(r);
  return got;
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  join(argv[2]);
  open_tap(argv[1]);
  for (int i = 0; i < SLOTS; i++) idle_slots[idle++] = i;
  struct ring *r = &rings[RECEIVE];
  for (int i = 0; i < ENTRIES; i++) {
    r->in->descriptors[i] = (struct descriptor){guest_address(memory->buffers[i]), BUFFER, D_WRITE, 0};
    offer(r, i);
  }
  publish(r);
  start_ring(RECEIVE);
  start_ring(SEND);
  puts("up");
  fflush(stdout);
  for (;;) {
    awake(&rings[RECEIVE]), awake(&rings[SEND]);
    int did = take_slots();
    did += from_tap();
    did += to_tap();
    if (did || !sleeps(&rings[RECEIVE], 1) || !sleeps(&rings[SEND], idle == 0)) continue;
    struct pollfd p[4] = {{idle > 0 ? tap : -1, POLLIN, 0}, {rings[RECEIVE].call, POLLIN, 0}, {rings[SEND].call, POLLIN, 0}, {sock, POLLIN, 0}};
    if (poll(p, 4, -1) < 0) die("poll");
    uint64_t calls;
    for (int i = 1; i < 3; i++)
      if ((p[i].revents & POLLIN) && read(p[i].fd, &calls, sizeof calls) < 0 && errno != EAGAIN) die("call");
    if (p[3].revents) exit(0);
  }
}
