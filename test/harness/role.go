package harness

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary is a client when it is started with these.
const (
	connectRole     = "connect"
	lookupRole      = "lookup"
	requestVariable = "WEIR_HARNESS_REQUEST"
)

// Connect is one TCP connection, made through raw system calls in the way that an application's runtime would.
type Connect struct {
	// To is an address and port.
	To string
	// Mapped connects to an IPv4 address through an IPv6 socket.
	Mapped bool
	// NonBlocking connects as an event loop does: EINPROGRESS, poll, SO_ERROR.
	NonBlocking bool
	// Send is written first; HalfClose then ends that direction.
	Send      string
	HalfClose bool
}

// Connected is what the application saw.
type Connected struct {
	// Peer is what getpeername says, in the form of the socket's family; "" when the connection has just been reset.
	Peer string
	// Pending tells that connect() said EINPROGRESS.
	Pending bool
	// Received until the end, or until the server was silent for a second.
	Received string
	// End is how it ended: "eof", "silent", or an errno's name such as "ECONNRESET".
	End string
	// Failed is the errno's name when connect() itself failed.
	Failed string
}

func runRole(role string) int {
	if role == lookupRole {
		return lookup(os.Getenv(requestVariable))
	}
	if role != connectRole {
		fmt.Fprintf(os.Stderr, "there is no role %q\n", role)
		return 1
	}
	var c Connect
	if err := json.Unmarshal([]byte(os.Getenv(requestVariable)), &c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	out, err := connect(c)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func connect(c Connect) (out Connected, err error) {
	to, err := netip.ParseAddrPort(c.To)
	if err != nil {
		return out, err
	}
	family := unix.AF_INET
	var address unix.Sockaddr
	if to.Addr().Is6() || c.Mapped {
		family, address = unix.AF_INET6, &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	} else {
		address = &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	kind := unix.SOCK_STREAM | unix.SOCK_CLOEXEC
	if c.NonBlocking {
		kind |= unix.SOCK_NONBLOCK
	}
	fd, err := unix.Socket(family, kind, 0)
	if err != nil {
		return out, fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	err = unix.Connect(fd, address)
	if errors.Is(err, unix.EINPROGRESS) {
		out.Pending = true
		err = finish(fd)
	}
	if err != nil {
		out.Failed = errnoName(err)
		return out, nil
	}
	// A connection that was reset meanwhile has no peer any more.
	if peer, err := unix.Getpeername(fd); err == nil {
		out.Peer = addressText(peer)
	} else if !errors.Is(err, unix.ENOTCONN) {
		return out, fmt.Errorf("getpeername: %w", err)
	}
	out.Received, out.End = talk(fd, c)
	return out, nil
}

// finish waits for a connection under way.
func finish(fd int) error {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	for {
		n, err := unix.Poll(poll, int(Patience.Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil && n == 0 {
			err = unix.ETIMEDOUT
		}
		if err != nil {
			return err
		}
		code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			err = unix.Errno(code)
		}
		return err
	}
}

// talk sends and then receives until the end.
func talk(fd int, c Connect) (received, end string) {
	silence := unix.NsecToTimeval(time.Second.Nanoseconds())
	if err := errors.Join(unix.SetNonblock(fd, false), unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &silence)); err != nil {
		return "", errnoName(err)
	}
	if c.Send != "" {
		if _, err := unix.Write(fd, []byte(c.Send)); err != nil {
			return "", errnoName(err)
		}
	}
	if c.HalfClose {
		if err := unix.Shutdown(fd, unix.SHUT_WR); err != nil {
			return "", errnoName(err)
		}
	}
	var all []byte
	buf := make([]byte, 64<<10)
	for {
		switch n, err := unix.Read(fd, buf); {
		case errors.Is(err, unix.EAGAIN):
			return string(all), "silent"
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return string(all), errnoName(err)
		case n == 0:
			return string(all), "eof"
		default:
			all = append(all, buf[:n]...)
		}
	}
}

func errnoName(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return unix.ErrnoName(errno)
	}
	return err.Error()
}

func addressText(sa unix.Sockaddr) string {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)).String()
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)).String()
	}
	return "?"
}
