package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What a server may do with its connections.
const (
	kindDrop  = "drop"  // accepts and closes them
	kindGreet = "greet" // sends a byte, the last of the address that the client connected to
	kindBulk  = "bulk"  // sends or takes many bytes
	kindHTTP  = "http"  // answers requests with 1 KB
)

// serving asks a server for a listener of a kind at an address; the answer is its port.
type serving struct {
	Kind, Addr string
}

// beServer listens as it is told, and accepts by a function. It ends with its input, and its connections with it.
func beServer(in io.Reader, out io.Writer, accept func(fd int) (int, error)) error {
	return answerAll(in, out, func(s serving) (any, error) {
		l, err := net.Listen("tcp4", s.Addr)
		if err != nil {
			return nil, fmt.Errorf("listen: %w", err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		switch s.Kind {
		case kindDrop, kindGreet:
			own, err := l.(*net.TCPListener).File()
			if err != nil {
				return nil, fmt.Errorf("take the listener's descriptor: %w", err)
			}
			go acceptAll(own, accept, s.Kind == kindGreet) // up to the end of the process
		case kindBulk:
			go acceptEach(l, moveBulk)
		case kindHTTP:
			go acceptEach(l, answerRequests)
		default:
			return nil, fmt.Errorf("there is no server of kind %q", s.Kind)
		}
		return port, nil
	})
}

// acceptAll accepts on a thread of its own, without the runtime's poller: the server takes as little time as can be. Connections
// that were greeted are closed some connections later, so that their clients have closed them first.
func acceptAll(l *os.File, accept func(int) (int, error), greet bool) {
	runtime.LockOSThread()
	fd := int(l.Fd())
	if unix.SetNonblock(fd, false) != nil {
		return
	}
	var open [64]int
	for n := 0; ; n++ {
		c, err := accept(fd)
		if err != nil {
			continue // it was reset before
		}
		if !greet {
			_ = rawClose(c) // nothing was written
			continue
		}
		if local, err := rawLocal(c); err == nil {
			_ = rawWrite(c, local[3:]) // whoever does not read it has gone
		}
		at := n % len(open)
		if n >= len(open) {
			_ = rawClose(open[at]) // nothing is unwritten
		}
		open[at] = c
	}
}

func acceptEach(l net.Listener, serve func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			serve(c)
		}()
	}
}

// bulkPiece is how much is read and written at a time.
const bulkPiece = 128 << 10

// moveBulk reads how many bytes the client wants, negative for how many it is going to send, and does it. What was sent is
// acknowledged with a byte.
func moveBulk(c net.Conn) {
	var head [8]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return
	}
	count := int64(binary.BigEndian.Uint64(head[:]))
	piece := make([]byte, bulkPiece)
	for ; count > 0; count -= min(count, bulkPiece) {
		if _, err := c.Write(piece[:min(count, bulkPiece)]); err != nil {
			return
		}
	}
	for count < 0 {
		n, err := c.Read(piece)
		if count += int64(n); count >= 0 {
			_, _ = c.Write(head[:1]) // the client notices by itself when it does not come
			return
		}
		if err != nil {
			return
		}
	}
}

// answerRequests answers every empty line, the end of a request without a body.
func answerRequests(c net.Conn) {
	const body = 1024
	response := []byte(fmt.Sprintf("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%s", body, strings.Repeat("x", body)))
	buf, have := make([]byte, 4096), 0
	for {
		n, err := c.Read(buf[have:])
		if err != nil {
			return
		}
		if have += n; have < 4 || string(buf[have-4:have]) != "\r\n\r\n" {
			if have == len(buf) {
				return // no client of the bench sends that
			}
			continue
		}
		have = 0
		if _, err := c.Write(response); err != nil {
			return
		}
	}
}

// now is the time that all processes of a host agree on, in nanoseconds.
func now() (int64, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0, fmt.Errorf("read the clock: %w", err)
	}
	return t.Nano(), nil
}

// spread gives the n-th of so many consecutive IPv4 addresses; over 0 is one.
func spread(first netip.AddrPort, n, over int) netip.AddrPort {
	if over < 2 {
		return first
	}
	addr := first.Addr().As4()
	at := binary.BigEndian.Uint32(addr[:]) + uint32(n%over)
	binary.BigEndian.PutUint32(addr[:], at)
	return netip.AddrPortFrom(netip.AddrFrom4(addr), first.Port())
}

// patience bounds everything that an application waits for.
const patience = 20 * time.Second
