/*
 * The least that a server under FUSE can do: every read, write and flush goes to the same place of a file, directly. No map, no
 * snapshots, no promises; it is no store, but the measure of what FUSE under a loop device leaves for one, in whatever
 * language. One thread, one io_uring, and rounds as our data thread's (src/block/data-loop.ts): up to eight requests are
 * read, then all that they need is submitted at once; with many of them under way it waits for four that end, or 60 us;
 * with nothing to do it goes round some more times before it sleeps.
 *
 *   pass-through FILE MOUNT-POINT
 *
 * Both are files that exist. "ready" on standard output: mounted. SIGTERM ends it, and the mount with it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { SLOTS = 128, PAYLOAD = 1 << 20, BACKGROUND = 64, NEVER_ASK_AGAIN = 0x7fffffff };
/* Of the ring: all slots' operations, their replies, and the poll fit. */
enum { ENTRIES = 512 };
enum { READS_OF_A_ROUND = 8, ROUNDS_BEFORE_SLEEP = 200, DEPTH_WORTH_PATIENCE = 12, PATIENT_COUNT = 4, PATIENCE_NS = 60000 };
/* A signal that comes just before a sleep is not seen earlier. */
enum { LONGEST_SLEEP_NS = 100000000 };
/* Files of the ring. */
enum { DATA, FUSE };
/* What a completion is of, above the slot's number. */
enum { DISK = 0, REPLY = 1 << 16, POLL = 2 << 16, KIND = ~0xffff };

struct slot {
  struct fuse_in_header in;
  union {
    struct fuse_read_in read;
    struct fuse_write_in write;
    char bytes[40];
  } arguments;
  struct fuse_out_header out;
  union {
    struct fuse_init_out init;
    struct fuse_attr_out attributes;
    struct fuse_open_out open;
    struct fuse_write_out write;
  } body;
  struct iovec request[2], reply[2];
  char *payload;
};

static struct slot slots[SLOTS];
static int free_slots[SLOTS], free_count, on_disk;
static struct io_uring ring;
static int data_file, fuse_file;
static off_t size;
static volatile sig_atomic_t stopping;

static void stop(int signal) { (void)signal, stopping = 1; }

static void fail(const char *what, int error) {
  fprintf(stderr, "pass-through: %s: %s\n", what, strerror(error));
  exit(1);
}

/* An operation on one of the ring's files, once it is prepared. */
static void queue(struct io_uring_sqe *sqe, int user_data) {
  sqe->flags |= IOSQE_FIXED_FILE;
  io_uring_sqe_set_data64(sqe, user_data);
}

static void reply(int number, int error, void *body, size_t length) {
  struct slot *slot = &slots[number];
  slot->out = (struct fuse_out_header){.len = sizeof slot->out + length, .error = error, .unique = slot->in.unique};
  slot->reply[0] = (struct iovec){&slot->out, sizeof slot->out};
  slot->reply[1] = (struct iovec){body, length};
  struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
  io_uring_prep_writev(sqe, FUSE, slot->reply, length == 0 ? 1 : 2, 0);
  queue(sqe, REPLY | number);
}

static void transfer(int number, int writes, uint64_t offset, uint32_t length) {
  struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
  if (writes) io_uring_prep_write_fixed(sqe, DATA, slots[number].payload, length, offset, 0);
  else io_uring_prep_read_fixed(sqe, DATA, slots[number].payload, length, offset, 0);
  queue(sqe, DISK | number);
  on_disk++;
}

/* Answers whether the slot is taken until a completion. */
static int serve(int number) {
  struct slot *slot = &slots[number];
  memset(&slot->body, 0, sizeof slot->body);
  switch (slot->in.opcode) {
  case FUSE_READ:
    transfer(number, 0, slot->arguments.read.offset, slot->arguments.read.size);
    return 1;
  case FUSE_WRITE:
    transfer(number, 1, slot->arguments.write.offset, slot->arguments.write.size);
    return 1;
  case FUSE_INIT:
    slot->body.init = (struct fuse_init_out){
        .major = FUSE_KERNEL_VERSION, .minor = 38, .max_write = PAYLOAD, .max_pages = PAYLOAD / 4096, .time_gran = 1,
        .flags = FUSE_ASYNC_READ | FUSE_ASYNC_DIO | FUSE_BIG_WRITES | FUSE_MAX_PAGES,
        .max_background = BACKGROUND, .congestion_threshold = BACKGROUND * 3 / 4};
    reply(number, 0, &slot->body, sizeof slot->body.init);
    return 1;
  case FUSE_GETATTR:
    slot->body.attributes = (struct fuse_attr_out){
        .attr_valid = NEVER_ASK_AGAIN,
        .attr = {.ino = 1, .size = size, .blocks = size / 512, .mode = S_IFREG | 0600, .nlink = 1, .blksize = 4096}};
    reply(number, 0, &slot->body, sizeof slot->body.attributes);
    return 1;
  case FUSE_OPEN:
    slot->body.open = (struct fuse_open_out){.open_flags = FOPEN_DIRECT_IO | FOPEN_NOFLUSH | FOPEN_PARALLEL_DIRECT_WRITES};
    reply(number, 0, &slot->body, sizeof slot->body.open);
    return 1;
  case FUSE_FSYNC: {
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    io_uring_prep_fsync(sqe, DATA, IORING_FSYNC_DATASYNC);
    queue(sqe, DISK | number);
    on_disk++;
    return 1;
  }
  case FUSE_RELEASE:
    reply(number, 0, NULL, 0);
    return 1;
  case FUSE_FORGET:
  case FUSE_BATCH_FORGET:
  case FUSE_INTERRUPT:
    return 0;
  default:
    reply(number, -ENOSYS, NULL, 0);
    return 1;
  }
}

/* Answers how many came; `*more`: there may be more. */
static int read_requests(int *more) {
  int count = 0;
  while (count < READS_OF_A_ROUND && free_count > 0) {
    int number = free_slots[free_count - 1];
    ssize_t length = readv(fuse_file, slots[number].request, 2);
    if (length < 0 && (errno == EINTR || errno == ENOENT)) continue;
    if (length < 0 && errno == ENODEV) stopping = 1;
    else if (length < 0 && errno != EAGAIN) fail("a request cannot be read", errno);
    *more = length >= 0;
    if (length < 0) break;
    count++;
    if (serve(number)) free_count--;
  }
  return count;
}

static void disk_done(int number, int result) {
  struct slot *slot = &slots[number];
  on_disk--;
  if (result < 0) return reply(number, result, NULL, 0);
  if (slot->in.opcode == FUSE_FSYNC) return reply(number, 0, NULL, 0);
  if (slot->in.opcode == FUSE_READ) return reply(number, 0, slot->payload, result);
  slot->body.write.size = result;
  reply(number, 0, &slot->body, sizeof slot->body.write);
}

static int take_completions(int *polling) {
  struct io_uring_cqe *cqe;
  unsigned head, seen = 0, count = 0;
  io_uring_for_each_cqe(&ring, head, cqe) {
    seen++;
    if (cqe->user_data == LIBURING_UDATA_TIMEOUT) continue;
    int user_data = cqe->user_data, number = user_data & ~KIND;
    if ((user_data & KIND) == POLL) *polling = 0;
    else if ((user_data & KIND) == DISK) disk_done(number, cqe->res);
    else if (cqe->res < 0 && cqe->res != -ENOENT && cqe->res != -ENODEV) fail("a reply is refused", -cqe->res);
    else free_slots[free_count++] = number;
    count++;
  }
  io_uring_cq_advance(&ring, seen);
  return count;
}

static void submit_and_wait(int count, struct __kernel_timespec longest) {
  struct io_uring_cqe *first;
  int result = io_uring_submit_and_wait_timeout(&ring, &first, count, &longest, NULL);
  if (result < 0 && result != -ETIME && result != -EINTR && result != -EAGAIN && result != -EBUSY) fail("the ring", -result);
}

static void run(void) {
  int readable = 1, polling = 0;
  for (int empty = 0; !stopping;) {
    int count = readable ? read_requests(&readable) : 0;
    if (!readable && !polling) {
      struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
      io_uring_prep_poll_add(sqe, FUSE, POLLIN);
      queue(sqe, POLL);
      polling = 1;
    }
    if (count == 0 && empty >= ROUNDS_BEFORE_SLEEP) {
      submit_and_wait(1, (struct __kernel_timespec){.tv_nsec = LONGEST_SLEEP_NS});
    } else if (on_disk >= DEPTH_WORTH_PATIENCE) {
      submit_and_wait(PATIENT_COUNT, (struct __kernel_timespec){.tv_nsec = PATIENCE_NS});
    } else {
      io_uring_submit_and_get_events(&ring);
    }
    count += take_completions(&polling);
    if (!polling) readable = 1;
    empty = count > 0 ? 0 : empty + 1;
  }
}

static void make_ring(void) {
  struct io_uring_params parameters = {
      .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE, .cq_entries = 4096};
  int result = io_uring_queue_init_params(ENTRIES, &ring, &parameters);
  if (result < 0) fail("no io_uring", -result);
  char *payloads = aligned_alloc(4096, (size_t)SLOTS * PAYLOAD);
  memset(payloads, 0, (size_t)SLOTS * PAYLOAD);
  struct iovec buffer = {payloads, (size_t)SLOTS * PAYLOAD};
  if ((result = io_uring_register_buffers(&ring, &buffer, 1)) < 0) fail("the buffers cannot be registered", -result);
  if ((result = io_uring_register_files(&ring, (int[]){data_file, fuse_file}, 2)) < 0) fail("the files cannot be registered", -result);
  for (int number = 0; number < SLOTS; number++) {
    struct slot *slot = &slots[number];
    slot->payload = payloads + (size_t)number * PAYLOAD;
    /* A request's header and arguments are 80 bytes where a write's data follow; in others, the rest goes where nobody looks. */
    slot->request[0] = (struct iovec){&slot->in, sizeof slot->in + sizeof slot->arguments};
    slot->request[1] = (struct iovec){slot->payload, PAYLOAD};
    free_slots[free_count++] = number;
  }
}

int main(int count, char **words) {
  if (count != 3) return fputs("usage: pass-through FILE MOUNT-POINT\n", stderr), 2;
  data_file = open(words[1], O_RDWR | O_DIRECT | O_CLOEXEC);
  fuse_file = open("/dev/fuse", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (data_file < 0 || fuse_file < 0) fail("cannot open the file, or /dev/fuse", errno);
  size = lseek(data_file, 0, SEEK_END);
  make_ring();
  struct sigaction action = {.sa_handler = stop};
  sigaction(SIGTERM, &action, NULL);
  char options[128];
  snprintf(options, sizeof options, "fd=%d,rootmode=100000,user_id=0,group_id=0,max_read=%d", fuse_file, PAYLOAD);
  if (mount("pass-through", words[2], "fuse", 0, options) < 0) fail("cannot mount", errno);
  puts("ready"), fflush(stdout);
  run();
  if (umount2(words[2], MNT_DETACH) < 0) fail("cannot unmount", errno);
  return 0;
}
