#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "runtime/interpose/real.h"

PENSTOCK_REAL(read)
PENSTOCK_REAL(readv)
PENSTOCK_REAL(write)
PENSTOCK_REAL(writev)
PENSTOCK_REAL(preadv2)
PENSTOCK_REAL(pwritev2)
PENSTOCK_REAL(recv)
PENSTOCK_REAL(recvfrom)
PENSTOCK_REAL(recvmsg)
PENSTOCK_REAL(recvmmsg)
PENSTOCK_REAL(send)
PENSTOCK_REAL(sendto)
PENSTOCK_REAL(sendmsg)
PENSTOCK_REAL(sendmmsg)
PENSTOCK_REAL(sendfile)
PENSTOCK_REAL(splice)
PENSTOCK_REAL(connect)
PENSTOCK_REAL(accept)
PENSTOCK_REAL(accept4)
PENSTOCK_REAL(close)
PENSTOCK_REAL(dup)
PENSTOCK_REAL(dup2)
PENSTOCK_REAL(dup3)
PENSTOCK_REAL(fcntl)
PENSTOCK_REAL(ioctl)
PENSTOCK_REAL(poll)
PENSTOCK_REAL(ppoll)
PENSTOCK_REAL(select)
PENSTOCK_REAL(pselect)
PENSTOCK_REAL(epoll_wait)
PENSTOCK_REAL(epoll_pwait)
PENSTOCK_REAL(epoll_pwait2)
PENSTOCK_REAL(sleep)
PENSTOCK_REAL(usleep)
PENSTOCK_REAL(nanosleep)
PENSTOCK_REAL(clock_nanosleep)
PENSTOCK_REAL(pause)
