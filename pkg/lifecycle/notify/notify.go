// Package notify speaks systemd's notification protocol (sd_notify(3)): a service tells its supervisor that it is ready.
//
// It owns both ends: weir tells, and weirctl, which starts private daemons, listens. No state besides the socket.
package notify

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
)

// Environment is the variable that names the supervisor's socket.
const Environment = "NOTIFY_SOCKET"

// Messages of the protocol.
const (
	Ready    = "READY=1"
	Stopping = "STOPPING=1"
)

// Send tells the supervisor a message; without one it does nothing.
func Send(message string) error {
	path := os.Getenv(Environment)
	if path == "" {
		return nil
	}
	if strings.HasPrefix(path, "@") { // abstract socket
		path = "\x00" + path[1:]
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("reach supervisor: %w", err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(message)); err != nil {
		return fmt.Errorf("notify supervisor: %w", err)
	}
	return nil
}

// Listener is a supervisor's end.
type Listener struct {
	conn *net.UnixConn
}

// Listen makes the socket at path, which must not exist.
func Listen(path string) (*Listener, error) {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("listen for notifications: %w", err)
	}
	return &Listener{conn}, nil
}

// Wait returns when the service has sent the message, or ctx ended.
func (l *Listener) Wait(ctx context.Context, message string) error {
	stop := context.AfterFunc(ctx, func() { l.conn.Close() })
	defer stop()
	buf := make([]byte, 4096)
	for {
		n, err := l.conn.Read(buf)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("read notification: %w", err)
		}
		for line := range strings.SplitSeq(string(buf[:n]), "\n") {
			if line == message {
				return nil
			}
		}
	}
}

// Close removes the socket.
func (l *Listener) Close() error { return l.conn.Close() }
