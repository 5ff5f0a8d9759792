/* The server of benchmarks/client/run.py: OpenAI-shaped streams on an absolute schedule, with a log that is the truth.
 *
 *     server TTFT_US ITL_US TOKENS STALL_EVERY STALL_US MODE LOG
 *
 * MODE is `stream` (one write per token) or `burst` (the whole answer in one write). A delay of 0 writes as fast as the
 * sockets take it, one token of each stream in turn. LOG is a file, or `-` for none. Prints its port; ends when standard
 * input closes, then writes the log: one line per request with its number (the digits after the first '#' in the body),
 * when its last bytes reached this machine (the kernel's stamp: that this process was not scheduled at once is no error
 * of the client), and when it was about to write each token; CLOCK_MONOTONIC in nanoseconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FD = 4096, MAX_REQUEST = 65536, MAX_CHUNK = 512 };

typedef struct {
    long id;
    int64_t received, *written;
} Record;

typedef struct {
    int active, waiting;
    int used;                        /* bytes of request read so far */
    char request[MAX_REQUEST];
    int64_t received, due;
    int token;                       /* the next one to write */
    const char *out;                 /* what a full socket has not taken yet */
    size_t left;
    char head[2048];
    Record *record;
} Stream;

static Stream *streams[MAX_FD];
static Record *records;
static size_t n_records, cap_records;
static int64_t ttft, itl, stall;
static int tokens, stall_every, burst, logging, poller, top_fd;
static char chunk[MAX_CHUNK], role[MAX_CHUNK], tail[4 * MAX_CHUNK], *whole;
static size_t chunk_len, role_len, tail_len, whole_len;
static const char HEAD[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

/* One event in a chunk of its own. */
static size_t framed(char *out, const char *choices, const char *more) {
    char event[MAX_CHUNK];
    int n = snprintf(event, sizeof event,
                     "data: {\"id\":\"chatcmpl-0123456789\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"
                     "\"model\":\"tiny\",\"choices\":[%s]%s}\n\n", choices, more);
    return (size_t)sprintf(out, "%x\r\n%s\r\n", n, event);
}

static void prepare(void) {
    role_len = framed(role, "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}", "");
    chunk_len = framed(chunk, "{\"index\":0,\"delta\":{\"content\":\" token\"},\"finish_reason\":null}", "");
    char usage[128];
    snprintf(usage, sizeof usage, ",\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":%d}", tokens);
    tail_len = framed(tail, "{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}", "");
    tail_len += framed(tail + tail_len, "", usage);
    tail_len += (size_t)sprintf(tail + tail_len, "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
    whole = malloc(sizeof HEAD + role_len + (size_t)tokens * chunk_len + tail_len);
    if (!whole) die("malloc");
    char *at = whole;
    at = (char *)memcpy(at, HEAD, sizeof HEAD - 1) + sizeof HEAD - 1;
    at = (char *)memcpy(at, role, role_len) + role_len;
    for (int i = 0; i < tokens; i++) at = (char *)memcpy(at, chunk, chunk_len) + chunk_len;
    at = (char *)memcpy(at, tail, tail_len) + tail_len;
    whole_len = (size_t)(at - whole);
}

static void drop(int fd) {
    close(fd);
    free(streams[fd]);
    streams[fd] = NULL;
}

/* True when the socket took it all. */
static int put(int fd, Stream *s, const char *data, size_t n) {
    ssize_t done = write(fd, data, n);
    if (done < 0 && errno != EAGAIN) { drop(fd); return 0; }
    size_t sent = done < 0 ? 0 : (size_t)done;
    if (sent == n) return 1;
    s->out = data + sent;
    s->left = n - sent;
    s->waiting = 1;
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.fd = fd};
    epoll_ctl(poller, EPOLL_CTL_MOD, fd, &e);
    return 0;
}

static void began(int fd, Stream *s, long id, int64_t received) {
    s->received = received;
    s->active = 1;
    s->token = 0;
    s->due = now() + ttft;
    s->record = NULL;
    if (logging) {
        if (n_records == cap_records) { fprintf(stderr, "too many requests for the log\n"); exit(1); }
        Record *r = &records[n_records++];
        *r = (Record){id, s->received, calloc((size_t)tokens, sizeof(int64_t))};
        s->record = r;
    }
    if (!burst) {
        size_t n = sizeof HEAD - 1;
        memcpy(s->head, HEAD, n);
        memcpy(s->head + n, role, role_len);
        put(fd, s, s->head, n + role_len);
    }
}

/* Write what is due; called with nothing waiting. */
static void advance(int fd, Stream *s, int64_t at) {
    if (s->due > at) return;
    if (burst) {
        int64_t t = now();
        if (s->record) for (int i = 0; i < tokens; i++) s->record->written[i] = t;
        s->active = 0;
        put(fd, s, whole, whole_len);
        return;
    }
    if (s->token < tokens) {
        int i = s->token++;
        if (s->record) s->record->written[i] = now();
        /* Absolute: what was late is not added to what follows. */
        s->due += itl + (stall_every && s->token % stall_every == 0 ? stall : 0);
        if (s->token == tokens) s->due = 0;
        put(fd, s, chunk, chunk_len);
        return;
    }
    s->active = 0;
    put(fd, s, tail, tail_len);
}

static void on_readable(int fd, Stream *s) {
    struct iovec into = {s->request + s->used, (size_t)(MAX_REQUEST - 1 - s->used)};
    char space[256];
    struct msghdr m = {.msg_iov = &into, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    ssize_t n = recvmsg(fd, &m, 0);
    int64_t received = now();
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); n > 0 && c; c = CMSG_NXTHDR(&m, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_TIMESTAMPNS) {
            struct timespec t, stamp;
            memcpy(&stamp, CMSG_DATA(c), sizeof stamp);
            clock_gettime(CLOCK_REALTIME, &t);
            received = now() - ((t.tv_sec - stamp.tv_sec) * 1000000000LL + t.tv_nsec - stamp.tv_nsec);
        }
    if (n <= 0) { if (n == 0 || errno != EAGAIN) drop(fd); return; }
    s->used += (int)n;
    s->request[s->used] = 0;
    char *body = strstr(s->request, "\r\n\r\n");
    char *length = strcasestr(s->request, "content-length:");
    if (!body) return;
    body += 4;
    long need = length && length < body ? atol(length + 15) : 0;
    if (s->request + s->used - body < need) return;
    char *mark = strchr(body, '#');
    long id = mark ? atol(mark + 1) : -1;
    s->used = 0;
    began(fd, s, id, received);
}

static int listening(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one); /* accepted sockets inherit it */
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, n) || listen(fd, 1024)) die("listen");
    getsockname(fd, (struct sockaddr *)&a, &n);
    printf("%d\n", ntohs(a.sin_port));
    fflush(stdout);
    return fd;
}

static void finish(const char *path) {
    if (logging) {
        FILE *f = fopen(path, "w");
        if (!f) die(path);
        for (size_t i = 0; i < n_records; i++) {
            fprintf(f, "%ld %lld", records[i].id, (long long)records[i].received);
            for (int k = 0; k < tokens; k++) fprintf(f, " %lld", (long long)records[i].written[k]);
            fputc('\n', f);
        }
        fclose(f);
    }
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    printf("%.6f\n", (double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec
                         + ((double)u.ru_utime.tv_usec + (double)u.ru_stime.tv_usec) / 1e6);
    exit(0);
}

int main(int argc, char **argv) {
    if (argc != 8) { fprintf(stderr, "usage: server TTFT_US ITL_US TOKENS STALL_EVERY STALL_US MODE LOG\n"); return 2; }
    ttft = atoll(argv[1]) * 1000; itl = atoll(argv[2]) * 1000; tokens = atoi(argv[3]);
    stall_every = atoi(argv[4]); stall = atoll(argv[5]) * 1000;
    burst = !strcmp(argv[6], "burst"); logging = strcmp(argv[7], "-") != 0;
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_TIMERSLACK, 1UL);
    prepare();
    if (logging) records = calloc(cap_records = 65536, sizeof *records);
    poller = epoll_create1(0);
    int server = listening(), one = 1;
    struct epoll_event e = {.events = EPOLLIN, .data.fd = server}, ready[256];
    epoll_ctl(poller, EPOLL_CTL_ADD, server, &e);
    e.data.fd = 0;
    epoll_ctl(poller, EPOLL_CTL_ADD, 0, &e);
    for (;;) {
        int64_t at = now(), next = INT64_MAX;
        for (int fd = 0; fd <= top_fd; fd++)
            if (streams[fd] && streams[fd]->active && !streams[fd]->waiting) {
                advance(fd, streams[fd], at);
                Stream *s = streams[fd];
                if (s && s->active && !s->waiting && s->due < next) next = s->due;
            }
        int64_t wait = next == INT64_MAX ? 1000000000LL : next - now();
        struct timespec limit = {wait > 0 ? wait / 1000000000LL : 0, wait > 0 ? wait % 1000000000LL : 0};
        int n = epoll_pwait2(poller, ready, 256, &limit, NULL);
        for (int i = 0; i < n; i++) {
            int fd = ready[i].data.fd;
            if (fd == 0) finish(argv[7]);
            if (fd == server) {
                int c = accept4(server, NULL, NULL, SOCK_NONBLOCK);
                if (c < 0) continue;
                if (c >= MAX_FD) { close(c); continue; }
                setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                streams[c] = calloc(1, sizeof(Stream));
                if (!streams[c]) die("calloc");
                if (c > top_fd) top_fd = c;
                struct epoll_event in = {.events = EPOLLIN, .data.fd = c};
                epoll_ctl(poller, EPOLL_CTL_ADD, c, &in);
                continue;
            }
            Stream *s = streams[fd];
            if (!s) continue;
            if (s->waiting && ready[i].events & EPOLLOUT) {
                s->waiting = 0;
                struct epoll_event in = {.events = EPOLLIN, .data.fd = fd};
                epoll_ctl(poller, EPOLL_CTL_MOD, fd, &in);
                put(fd, s, s->out, s->left);
                if (!streams[fd]) continue;
            }
            if (ready[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !s->active) on_readable(fd, s);
        }
    }
}
