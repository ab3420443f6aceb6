// The guest's segmentation offloaded to the bridge, as a NIC of today has it: fewer and larger packets for the guest's
// kernel, the same frames on the socket.
//
// Up: the TAP hands over TCP segments of up to 64 KiB and frames whose checksum is not yet complete, each behind a
// virtio_net_hdr that says what is left to do. `cut` does it: frames of the MTU with all their checksums.
// Down: `merge_frame` collects consecutive segments of one flow, as Linux' GRO does, and writes them to the TAP as one
// packet; whatever is not plainly the next segment goes as it is. A merged packet is not checked again by the kernel, so
// the checksums of what is merged are checked here, and wrong ones are counted (and never merged).
// IPv4 only: the bench's guests have no IPv6.
#pragma once
#include "common.h"
#include <linux/virtio_net.h>
#include <sys/uio.h>

typedef struct virtio_net_hdr vnet;
enum { ETHER = 14, IP_MIN = 20, TCP_MIN = 20, FLAG_FIN = 1, FLAG_PSH = 8, FLAG_ACK = 16, FLAG_CWR = 128 };

static inline unsigned get16(const uint8_t *at) { return at[0] << 8 | at[1]; }
static inline uint32_t get32(const uint8_t *at) { return (uint32_t)get16(at) << 16 | get16(at + 2); }
static inline void put16(uint8_t *at, unsigned value) { at[0] = value >> 8, at[1] = value; }
static inline void put32(uint8_t *at, uint32_t value) { put16(at, value >> 16), put16(at + 2, value); }

/// The ones' complement sum (RFC 1071) of `len` bytes and of `more`, which is one itself; in the bytes' own order.
static inline uint16_t sum(const uint8_t *at, size_t len, uint64_t more) {
  uint64_t word, total = more;
  for (; len >= 8; at += 8, len -= 8) {
    memcpy(&word, at, 8);
    total += word;
    total += total < word;
  }
  word = 0;
  memcpy(&word, at, len);
  total += word;
  total += total < word;
  total = (total & 0xffffffff) + (total >> 32);
  total = (total & 0xffffffff) + (total >> 32);
  total = (total & 0xffff) + (total >> 16);
  return (total & 0xffff) + (total >> 16);
}

/// Of the pseudo header of `ip` for `len` bytes of what it carries.
static inline uint16_t pseudo_sum(const uint8_t *ip, size_t len) {
  uint8_t rest[4] = {0, ip[9], len >> 8, len};
  return sum(ip + 12, 8, sum(rest, 4, 0));
}

static inline void put_sum(uint8_t *at, uint16_t sum) { memcpy(at, &sum, 2); }

static inline void sum_ip(uint8_t *ip) {
  put16(ip + 10, 0);
  put_sum(ip + 10, ~sum(ip, (ip[0] & 15) * 4, 0));
}

// Up

static inline uint8_t *framed(uint8_t *out, size_t len) {
  put32(out, len);
  return out + 4;
}

/// Bytes that `cut` writes at the most, for any packet of a TAP: 64 KiB in segments of TCP's least, 48 with options.
enum { PACKET = 65536 + ETHER, CUT = 1 << 18 };

/// A packet of the TAP as frames, a 32-bit length before each. How many bytes that is; 0 for what cannot be.
static size_t cut(const vnet *todo, const uint8_t *packet, size_t len, uint8_t *out) {
  if (todo->gso_type == VIRTIO_NET_HDR_GSO_NONE) {
    uint8_t *frame = framed(out, len);
    memcpy(frame, packet, len);
    if (todo->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
      // The kernel has put the pseudo header's sum where the checksum belongs. UDP's is never 0 (RFC 768).
      size_t start = todo->csum_start, at = start + todo->csum_offset;
      if (at + 2 > len) return 0;
      uint16_t checksum = ~sum(frame + start, len - start, 0);
      put_sum(frame + at, checksum ? checksum : 0xffff);
    }
    return 4 + len;
  }
  const uint8_t *ip = packet + ETHER;
  if (todo->gso_type != VIRTIO_NET_HDR_GSO_TCPV4 || todo->gso_size < 32 || len < ETHER + IP_MIN + TCP_MIN) return 0;
  size_t ip_len = (ip[0] & 15) * 4, tcp_len = (ip[ip_len + 12] >> 4) * 4, head = ETHER + ip_len + tcp_len;
  if (len <= head) return 0;
  size_t end = len - head, mss = todo->gso_size;
  uint32_t seq = get32(ip + ip_len + 4);
  unsigned id = get16(ip + 4);
  uint8_t *at = out;
  for (size_t from = 0; from < end; from += mss) {
    size_t piece = end - from < mss ? end - from : mss;
    uint8_t *frame = framed(at, head + piece), *my_ip = frame + ETHER, *tcp = my_ip + ip_len;
    memcpy(frame, packet, head);
    memcpy(frame + head, packet + head + from, piece);
    put16(my_ip + 2, ip_len + tcp_len + piece);
    put16(my_ip + 4, id++);
    sum_ip(my_ip);
    put32(tcp + 4, seq + from);
    // What ends or hurries belongs to the last byte; that the window was reduced is said once.
    if (from + piece < end) tcp[13] &= ~(FLAG_FIN | FLAG_PSH);
    if (from > 0) tcp[13] &= ~FLAG_CWR;
    put16(tcp + 16, 0);
    put_sum(tcp + 16, ~sum(tcp, tcp_len + piece, pseudo_sum(my_ip, tcp_len + piece)));
    at = frame + head + piece;
  }
  return at - out;
}

// Down

enum { SEGMENTS = 64 };
static struct {
  /// The first segment's frame, then the others' payloads; before them a place for the virtio_net_hdr.
  struct iovec parts[1 + SEGMENTS];
  int count;
  uint8_t *frame;
  size_t head, payload, mss;
  uint32_t next;
  /// Nothing can follow: shorter than the others, pushed, or no segment that may be merged at all.
  int closed;
} merged;

/// Segments whose IP or TCP checksum was wrong.
static unsigned long wrong_sums;

/// Writes what has been collected, in one piece. Frames stay where they are until then.
static void flush_merged(int tap) {
  vnet h = {0};
  if (merged.count > 1) {
    uint8_t *ip = merged.frame + ETHER, *tcp = ip + IP_MIN;
    size_t len = merged.head - ETHER - IP_MIN + merged.payload;
    h = (vnet){VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_TCPV4, merged.head, merged.mss, ETHER + IP_MIN, 16};
    put16(ip + 2, IP_MIN + len);
    sum_ip(ip);
    put_sum(tcp + 16, pseudo_sum(ip, len));
  }
  merged.parts[0] = (struct iovec){&h, sizeof h};
  // A TAP that takes no more loses the frame, as a cable would.
  if (merged.count > 0 && writev(tap, merged.parts, 1 + merged.count) < 0 && errno != EAGAIN && errno != EIO)
    perror("tap");
  merged.count = 0;
}

/// Bytes of payload of a TCP segment that is in one piece, with right checksums; 0 for any other frame.
static size_t payload_of(const uint8_t *frame, size_t len) {
  const uint8_t *ip = frame + ETHER, *tcp = ip + IP_MIN;
  if (len < ETHER + IP_MIN + TCP_MIN || get16(frame + 12) != 0x800 || ip[0] != 0x45 || ip[9] != IPPROTO_TCP) return 0;
  size_t total = get16(ip + 2), tcp_len = (tcp[12] >> 4) * 4;
  if (ETHER + total > len || (get16(ip + 6) & 0x3fff) || tcp_len < TCP_MIN || total < IP_MIN + tcp_len) return 0;
  if (sum(ip, IP_MIN, 0) != 0xffff || sum(tcp, total - IP_MIN, pseudo_sum(ip, total - IP_MIN)) != 0xffff) {
    // The guest's kernel is to find it, too.
    wrong_sums++;
    return 0;
  }
  return total - IP_MIN - tcp_len;
}

/// Whether a segment's headers are what the first one's would be after what has been collected.
static int follows(const uint8_t *frame, size_t payload) {
  const uint8_t *first = merged.frame;
  size_t tcp = ETHER + IP_MIN, head = tcp + (frame[tcp + 12] >> 4) * 4;
  if (merged.count == 0 || merged.closed || merged.count == SEGMENTS || head != merged.head) return 0;
  if (payload > merged.mss || head - ETHER + merged.payload + payload > 65535 || get32(frame + tcp + 4) != merged.next)
    return 0;
  // The identification of a datagram that is never to be fragmented means nothing (RFC 6864).
  if (!(first[ETHER + 6] & 0x40) && get16(frame + ETHER + 4) != ((get16(first + ETHER + 4) + merged.count) & 0xffff))
    return 0;
  return !memcmp(frame, first, ETHER + 2) &&            // addresses, type, IP version, type of service
         !memcmp(frame + ETHER + 6, first + ETHER + 6, 4) && // flags, time to live, protocol
         !memcmp(frame + ETHER + 12, first + ETHER + 12, 12) && // addresses and ports
         !memcmp(frame + tcp + 8, first + tcp + 8, 5) && // acknowledgement, length of the header
         !memcmp(frame + tcp + 14, first + tcp + 14, 2) && // window
         !memcmp(frame + tcp + 18, first + tcp + 18, head - tcp - 18); // urgent pointer and options
}

/// A frame of the peer, for the guest. It may not be changed or moved before `flush_merged`.
static void merge_frame(int tap, uint8_t *frame, size_t len) {
  size_t payload = payload_of(frame, len), tcp = ETHER + IP_MIN;
  int mergeable = payload > 0 && (frame[tcp + 13] & ~FLAG_PSH) == FLAG_ACK;
  int pushed = mergeable && (frame[tcp + 13] & FLAG_PSH);
  if (mergeable && follows(frame, payload)) {
    merged.parts[1 + merged.count++] = (struct iovec){frame + merged.head, payload};
    merged.payload += payload;
    merged.next += payload;
    merged.frame[tcp + 13] |= frame[tcp + 13];
    merged.closed = pushed || payload < merged.mss;
    return;
  }
  flush_merged(tap);
  merged.parts[1] = (struct iovec){frame, len};
  merged.count = 1;
  merged.frame = frame;
  merged.closed = !mergeable || pushed;
  if (!mergeable) return;
  merged.head = tcp + (frame[tcp + 12] >> 4) * 4;
  merged.mss = merged.payload = payload;
  merged.next = get32(frame + tcp + 4) + payload;
  // Padding behind the datagram would become payload of a merged one.
  merged.parts[1].iov_len = merged.head + payload;
}
