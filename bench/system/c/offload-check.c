// offload-check cut|merge: offload.h for its test, without a TAP. Standard input and output are records, a 32-bit length
// before each.
//   cut    each record a virtio_net_hdr and a packet; out come the frames
//   merge  each record a frame, all of one read; out comes what the TAP would get, each behind its virtio_net_hdr
#include "offload.h"

static uint8_t input[1 << 20], frames[CUT], packet[sizeof(vnet) + PACKET];

static void put_out(const uint8_t *bytes, size_t len) {
  if (fwrite(bytes, 1, len, stdout) != len) die("output");
}

/// What has been written to the other end of a socket that keeps each write apart.
static void drain(int tap) {
  ssize_t n;
  while ((n = recv(tap, packet, sizeof packet, MSG_DONTWAIT)) > 0) {
    uint8_t len[4];
    put32(len, n);
    put_out(len, 4);
    put_out(packet, n);
  }
}

int main(int argc, char **argv) {
  int taps[2], merging = argc == 2 && !strcmp(argv[1], "merge");
  if (argc != 2 || socketpair(AF_UNIX, SOCK_SEQPACKET, 0, taps)) return 2;
  size_t end = fread(input, 1, sizeof input, stdin);
  for (size_t at = 0, len; at + 4 <= end; at += 4 + len) {
    len = get32(input + at);
    if (at + 4 + len > end) return 2;
    if (merging) {
      merge_frame(taps[0], input + at + 4, len);
      drain(taps[1]);
      continue;
    }
    vnet todo;
    memcpy(&todo, input + at + 4, sizeof todo);
    put_out(frames, cut(&todo, input + at + 4 + sizeof todo, len - sizeof todo, frames));
  }
  flush_merged(taps[0]);
  drain(taps[1]);
  fprintf(stderr, "%lu", wrong_sums);
  return 0;
}
