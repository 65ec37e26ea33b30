package intercept

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/test/await"
)

// request is what a client process is to do: one connect() through raw system calls, the way an application would.
type request struct {
	Addr string
	// Again is connected to afterwards on the same socket: when Addr was refused, or dissolved after a success.
	Again string
	// FastOpen connects by sending, and Protocol 0 is TCP.
	FastOpen bool
	Protocol int
	// Mapped uses an IPv6 socket for an IPv4 address.
	Mapped, NonBlocking, Datagram bool
	Mark                          int
	Device, Source                string
}

// answer is what the client saw.
type answer struct {
	Peer, Local string
	Pending     bool
	Errno       int
	Err         string
	PID, UID    int
	Cookie      uint64
	// Greeting is what the server sent.
	Greeting string
}

func runClient(text string) answer {
	var req request
	if err := json.Unmarshal([]byte(text), &req); err != nil {
		return answer{Err: err.Error()}
	}
	ans, err := connect(req)
	ans.PID, ans.UID = os.Getpid(), os.Getuid()
	if err != nil {
		ans.Err = err.Error()
		var errno unix.Errno
		if errors.As(err, &errno) {
			ans.Errno = int(errno)
		}
	}
	return ans
}

func connect(req request) (ans answer, err error) {
	dst, err := netip.ParseAddrPort(req.Addr)
	if err != nil {
		return ans, err
	}
	fd, err := openSocket(req, dst)
	if err != nil {
		return ans, err
	}
	defer unix.Close(fd)
	ans.Cookie, _ = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if req.FastOpen {
		err = errors.Join(unix.Sendto(fd, []byte("hello"), unix.MSG_FASTOPEN, sockaddr(dst, req.Mapped)), finish(fd))
	} else {
		err = reach(fd, dst, req.Mapped)
	}
	if req.Again != "" {
		if err == nil {
			if err = disconnect(fd); err != nil {
				return ans, err
			}
		}
		err = reach(fd, netip.MustParseAddrPort(req.Again), req.Mapped)
	}
	if errors.Is(err, unix.EINPROGRESS) {
		ans.Pending = true
		err = finish(fd)
	}
	if err != nil {
		return ans, fmt.Errorf("connect: %w", err)
	}
	peer, err := unix.Getpeername(fd)
	if err != nil {
		return ans, fmt.Errorf("getpeername: %w", err)
	}
	local, err := unix.Getsockname(fd)
	if err != nil {
		return ans, fmt.Errorf("getsockname: %w", err)
	}
	ans.Peer, ans.Local = sockaddrText(peer), sockaddrText(local)
	if !req.Datagram {
		ans.Greeting, err = greeting(fd)
	}
	return ans, err
}

func openSocket(req request, dst netip.AddrPort) (int, error) {
	family, kind := unix.AF_INET, unix.SOCK_STREAM
	if dst.Addr().Is6() || req.Mapped {
		family = unix.AF_INET6
	}
	if req.Datagram {
		kind = unix.SOCK_DGRAM
	}
	if req.NonBlocking {
		kind |= unix.SOCK_NONBLOCK
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, req.Protocol)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	patience := unix.Timeval{Sec: 5}
	err = errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &patience),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience),
	)
	if req.Mark != 0 {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, req.Mark))
	}
	if req.Device != "" {
		err = errors.Join(err, unix.BindToDevice(fd, req.Device))
	}
	if req.Source != "" {
		err = errors.Join(err, unix.Bind(fd, sockaddr(netip.MustParseAddrPort(req.Source), req.Mapped)))
	}
	return fd, err
}

// finish waits for a non-blocking connect as an event loop would.
func finish(fd int) error {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	deadline := time.Now().Add(await.Patience)
	for {
		n, err := unix.Poll(poll, 1000)
		if n == 1 {
			break
		}
		if err != nil && !errors.Is(err, unix.EINTR) || time.Now().After(deadline) {
			return unix.ETIMEDOUT
		}
	}
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	return errors.Join(err, unix.SetNonblock(fd, false))
}

func greeting(fd int) (string, error) {
	buf := make([]byte, 64)
	n, err := unix.Read(fd, buf)
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Read(fd, buf)
	}
	if err != nil {
		return "", fmt.Errorf("read: %w", err)
	}
	return string(buf[:n]), nil
}

func sockaddr(addr netip.AddrPort, mapped bool) unix.Sockaddr {
	if addr.Addr().Is4() && !mapped {
		return &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
}

func sockaddrText(sa unix.Sockaddr) string {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)).String()
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)).String()
	}
	return "?"
}
